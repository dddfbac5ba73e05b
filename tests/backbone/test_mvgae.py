"""MVGAE against the public reference implementation with items in their place, and its product of experts."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.backbone.oracle import Arrays, Options, OracleTests, Part
from trustmm.backbone.base import Backbone
from trustmm.backbone.mvgae import MVGAE, Gaussians, _divergence, _product

VIEWS = {"v": "visual", "t": "textual", "c": "collaborative"}
BLOCKS = {"4": "mean", "5": "log_variance"}


class TestOracle(OracleTests):
    files = ("mvgae",)
    variants = ("", "_frozen")
    frozen = ("collaborative", "*.preference")

    def names_of(self, o: Options) -> Mapping[str, str | Part]:
        names: dict[str, str | Part] = {"collaborative": "item_ID"}
        blocks = {str(number): str(number) for number in range(1, o["n_layers"] + 1)} | BLOCKS
        for short, view in VIEWS.items():
            tower = f"towers.{view}"
            names |= {f"{short}_gcn.preference": f"{tower}.preference_UC", f"{short}_gcn.MLP": f"{tower}.projection"}
            for number, block in blocks.items():
                weight = Part(f"{tower}.convolutions.{block}.weight", transposed=True)
                names |= {
                    f"{short}_gcn.conv_embed_{number}.weight": weight,
                    f"{short}_gcn.conv_embed_{number}.bias": f"{tower}.convolutions.{block}.bias",
                    f"{short}_gcn.g_layer{number}": f"{tower}.mixes.{block}",
                    f"{short}_gcn.linear_layer{number}": f"{tower}.skips.{block}",
                }
        return names

    def draws_of(self, model: Any, drawn: Arrays) -> Mapping[str, Any]:
        views = {f"noise_{view}": drawn[f"noise_{short}"] for short, view in (VIEWS | {"joint": "joint"}).items()}
        for name, mask in drawn.items():
            kind, short, *number = name.split("_")
            if kind == "keep":
                views[f"keep_{VIEWS[short]}_{BLOCKS.get(number[0], number[0])}"] = mask
        return views

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            MVGAE,
            embedding_dim=o["embedding_size"],
            latent_dim=o["dim_latent"],
            num_layers=o["n_layers"],
            dropout=0.1,
            beta=o["beta"],
            trainable_tables=True,
        )


@pytest.mark.parametrize("name", ["collaborative", "joint"])
def test_a_modality_with_the_name_of_a_view_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"a modality must not be called '{name}'"):
        MVGAE.check_fit(["visual", name])


def test_an_expert_with_a_tiny_variance_decides() -> None:
    sure = Gaussians(torch.full((2, 3), 4.0), torch.full((2, 3), -12.0))
    vague = Gaussians(torch.full((2, 3), -1.0), torch.full((2, 3), 9.0))
    found = _product([sure, vague])
    assert_close(found.mean, sure.mean, rtol=1e-4, atol=0)
    assert_close(found.log_variance, sure.log_variance, rtol=1e-3, atol=0)


def test_divergence_from_the_standard_normal_is_bounded_in_the_variance() -> None:
    zeros = torch.zeros(4, 3)
    assert_close(_divergence(Gaussians(zeros, zeros)), torch.tensor(0.0))
    assert_close(_divergence(Gaussians(zeros + 2, zeros)), torch.tensor(6.0))
    assert_close(_divergence(Gaussians(zeros, zeros + 50)), _divergence(Gaussians(zeros, zeros + 10)))
