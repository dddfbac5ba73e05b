"""What a job is called in the tracking store."""

from collections.abc import Mapping

import pytest
from omegaconf import OmegaConf

from tests.options.test_build import composed
from trustmm.run.cell import LABELS, build_cell, plain_config, public_config

CHOICES = dict.fromkeys(LABELS, "none") | {"backbone": "freedom", "rectifier": "mr"}


@pytest.mark.parametrize(
    ("overrides", "choices", "name"),
    [
        (["corruption.eta=0.2"], {}, "eta0.2-mr-freedom-s0-baby"),
        (["corruption.kind=normal", "seed=3"], {}, "normal-mr-freedom-s3-baby"),
        (["corruption.eta_e=-0.1", "edit.op=prune"], {"edit": "both"}, "etae-0.1-mr-prune_both-freedom-s0-baby"),
        (["+corruption.eta_of.visual=0.4"], {"rectifier": "none"}, "visual0.4-freedom-s0-baby"),
    ],
)
def test_name_of_a_run_tells_its_cell(overrides: list[str], choices: Mapping[str, str], name: str) -> None:
    chosen = CHOICES | choices
    selected = [f"{group}={chosen[group]}" for group in ("backbone", "rectifier", "edit")]
    config = OmegaConf.create(OmegaConf.to_container(composed(*selected, *overrides)))
    assert build_cell(config, chosen).name("baby") == name


def test_what_others_may_read_holds_no_password() -> None:
    config = composed("tracking.uri=postgresql://me:hunter2@host/db")
    assert "hunter2" in str(plain_config(config))
    assert "hunter2" not in str(public_config(config))
    assert public_config(config)["tracking"]["uri"] == "postgresql://***@host/db"
