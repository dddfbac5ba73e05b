"""SMORE: modalities filtered and fused in the frequency domain, with a fused item graph."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trustmm.backbone.initialise import linear
from trustmm.backbone.side_information import SideInformation
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.sparse import elementwise_max
from trustmm.options.checks import Count, NonNegative, Positive, Share

# Shapes: those of `side_information`; M modalities, C = D // 2 + 1 frequencies.


class SMORE(SideInformation):
    r"""Spectral modality fusion (Ong & Khong, WSDM 2025, https://arxiv.org/abs/2412.14978).

    .. math::
        F_m &= \mathcal F(W_m X_m + b_m), \qquad
        h_m = \mathcal F^{-1}(F_m \odot c_m), \qquad h_f = \mathcal F^{-1}(\textstyle\prod_m F_m \odot c_f), \\
        y_\ast &= G_\ast \bigl(E_i \odot \sigma(V_\ast h_\ast + v_\ast)\bigr), \qquad e_\ast = [\hat R y_\ast ; y_\ast],
        \qquad G_f = \textstyle\max_m G_m, \\
        \mathrm{side} &= \tfrac{1}{M + 1} \Bigl(\sigma(P_f Z + p_f) \odot e_f + \textstyle\sum_m \sigma(P_m Z + p_m)
        \odot \operatorname{softmax}_D\bigl(A_m \tanh(B_m e_f + b'_m)\bigr) \odot e_m\Bigr), \\
        s_{ui} &= \langle (Z + \mathrm{side})_u, (Z + \mathrm{side})_i \rangle

    with :math:`\mathcal F` the orthonormal real Fourier transform along the width, Z the LightGCN mean, :math:`G_m`
    the normalised cosine graph of the input features (the maximum is over the entries present) and :math:`\hat R`
    the user-item block of the normalised adjacency. Dropout acts on the preferences (those with P). The contrast
    pulls side to Z for the batch's users and positives.

    Deviations: features are trainable, as in the public reference, unless `trainable_features` is false.

    Args:
        train: messages over its propagation edges; at least one modality.
        rng: stream for the initial weights.
        neighbours: search for the item graphs, built once from the input features.
        embedding_dim: width D of everything.
        num_layers: depth of the user-item propagation.
        k: neighbours of an item in a modality that `k_of` does not name.
        k_of: neighbours by modality name; names that the data lack are ignored.
        dropout: of the preferences, in training.
        cl: weight of the contrast.
        temperature: of the contrast.
        reg: weight of the squared norms of the batch's final rows.
        trainable_features: treat the features as parameters that start at the input.
    """

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: Count,
        num_layers: Count,
        k: Count,
        k_of: Mapping[str, Count],
        dropout: Share,
        cl: NonNegative,
        temperature: Positive,
        reg: NonNegative,
        trainable_features: bool,
    ) -> None:
        super().__init__(
            train,
            rng=rng,
            neighbours=neighbours,
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            k_of={m: k_of.get(m, k) for m in train.features},
            cl=cl,
            temperature=temperature,
            reg=reg,
            trainable_features=trainable_features,
        )
        self.dropout = dropout
        self.gates = nn.ModuleDict({m: _SpectralGate(embedding_dim, rng) for m in self.features})
        self.preferences = nn.ModuleDict({m: linear(embedding_dim, embedding_dim, rng) for m in self.features})
        self.queries = nn.ModuleDict({m: _query(embedding_dim, rng) for m in self.features})
        self.fusion_gate = _SpectralGate(embedding_dim, rng)
        self.fusion_preference = linear(embedding_dim, embedding_dim, rng)
        self.fusion_graph = elementwise_max([self.item_graphs[m] for m in self.features])

    def item_views(self) -> list[Tensor]:
        """Views y of all items, (I, D) for each modality, then the fused one: a batch's users reach most items."""
        id_ID = self.node_ND[self.num_users :]
        signals = {name: self.projections[name](features) for name, features in self.features.items()}
        views = [self.item_graphs[m] @ self.gates[m](id_ID, signal_ID) for m, signal_ID in signals.items()]
        spectra = [torch.fft.rfft(signal_ID, dim=1, norm="ortho") for signal_ID in signals.values()]
        fused_ID = torch.fft.irfft(functools.reduce(torch.mul, spectra), n=self.embedding_dim, dim=1, norm="ortho")
        return [*views, self.fusion_graph @ self.fusion_gate(id_ID, fused_ID)]

    def side(self, mean_RD: Tensor, views: Sequence[Tensor]) -> Tensor:
        """What the views, (R, D) each, add to the collaborative rows."""
        *views, fused_RD = views
        parts = [self._preference("fusion", self.fusion_preference, mean_RD) * fused_RD]
        for name, view_RD in zip(self.features, views, strict=True):
            aggregated_RD = self.queries[name](fused_RD).softmax(dim=1) * view_RD
            parts.append(self._preference(name, self.preferences[name], mean_RD) * aggregated_RD)
        return torch.stack(parts).mean(dim=0)

    def _preference(self, name: str, layer: nn.Module, mean_RD: Tensor) -> Tensor:
        return self.drop(f"keep_{name}", torch.sigmoid(layer(mean_RD)), self.dropout)


class _SpectralGate(nn.Module):
    """Filter c and gate V of one modality, or of their fusion."""

    def __init__(self, width: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.filter_1C2 = nn.Parameter(torch.from_numpy(rng.standard_normal((1, width // 2 + 1, 2), dtype=np.float32)))
        self.gate = linear(width, width, rng)

    def forward(self, id_ID: Tensor, signal_ID: Tensor) -> Tensor:
        """Id embeddings (I, D) gated by the filtered signal (I, D).

        A filter is linear in the signal: applied to the unit vectors, it becomes a matrix, and joins the gate's.
        """
        width = signal_ID.shape[1]
        unit_DC = torch.fft.rfft(torch.eye(width, dtype=signal_ID.dtype, device=signal_ID.device), norm="ortho")
        filter_DD = torch.fft.irfft(unit_DC * torch.view_as_complex(self.filter_1C2), n=width, norm="ortho")
        return id_ID * torch.sigmoid(F.linear(signal_ID, self.gate.weight @ filter_DD.T, self.gate.bias))


def _query(width: int, rng: np.random.Generator) -> nn.Sequential:
    return nn.Sequential(linear(width, width, rng), nn.Tanh(), linear(width, width, rng, bias=False))
