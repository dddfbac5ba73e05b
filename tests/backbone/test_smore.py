"""SMORE's filter as a matrix is the filter of the paper, at widths with and without a Nyquist frequency."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from trustmm.backbone.smore import _SpectralGate


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_gate_of_the_filtered_signal_is_the_spectral_formula(width: int) -> None:
    rng = np.random.default_rng(0)
    gate = _SpectralGate(width, rng).double()
    id_ID, signal_ID = (torch.from_numpy(rng.standard_normal((5, width))) for _ in range(2))
    spectrum_IC = torch.fft.rfft(signal_ID, norm="ortho") * torch.view_as_complex(gate.filter_1C2)
    expected = id_ID * torch.sigmoid(gate.gate(torch.fft.irfft(spectrum_IC, n=width, norm="ortho")))
    assert_close(gate(id_ID, signal_ID), expected)
