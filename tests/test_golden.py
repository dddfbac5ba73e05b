"""Numbers of short toy jobs, so that a refactor that moves them is seen. `make golden` rewrites them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from trustmm.cli.run import build_stages
from trustmm.job import run_job
from trustmm.options.config import config_folder, register
from trustmm.store.cache import Cache

GOLDEN = Path(__file__).parent / "golden"
BACKBONES = sorted(path.stem for path in (config_folder() / "backbone").glob("*.yaml"))
DAMAGE = {
    "clean": ("rectifier=none",),
    "repaired": ("rectifier=mr", "corruption.eta=0.3", "corruption.eta_e=0.1"),
}
TOY = (
    "dataset.num_users=200",
    "dataset.num_items=120",
    "dataset.num_interactions=1600",
    "dataset.categories=true",
    "training.epochs=3",
    "training.batch_size=256",
    "prior.epochs=3",
    "rectifier.projection.epochs=3",
    "tracking=none",
)


def toy_job(*overrides: str) -> dict[str, Any]:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        config = compose("config", overrides=[*TOY, *overrides])
    job, read_data, _ = build_stages(config)
    result = run_job(read_data(), job, cache=Cache(None), on_epoch=lambda *epoch: None)
    return {
        "users": len(result.test.users),
        "losses": [dict(epoch.losses) for epoch in result.history],
        "recall": [epoch.valid["recall@10"] for epoch in result.history],
        "test": {name: result.test.means[name] for name in ("recall@10", "recall@50", "hit@20")},
    }


def assert_close(found: dict[str, Any], expected: dict[str, Any], rtol: float) -> None:
    one_hit = 1 / expected["users"] + 1e-9
    assert found["users"] == expected["users"]
    for mine, recorded in zip(found["losses"], expected["losses"], strict=True):
        assert mine.keys() == recorded.keys()
        np.testing.assert_allclose([mine[name] for name in recorded], list(recorded.values()), rtol=rtol)
    np.testing.assert_allclose(found["recall"], expected["recall"], atol=one_hit)
    np.testing.assert_allclose(
        [found["test"][name] for name in expected["test"]], list(expected["test"].values()), atol=one_hit
    )


def rewrite(path: Path, found: dict[str, Any]) -> None:
    """Write the numbers where they moved by more than another processor moves them."""
    try:
        assert_close(found, json.loads(path.read_text(encoding="utf-8")), rtol=1e-5)
    except (AssertionError, FileNotFoundError):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_toy_job_gives_the_recorded_numbers(backbone: str, damage: str, request: pytest.FixtureRequest) -> None:
    found = toy_job(f"backbone={backbone}", *DAMAGE[damage])
    path = GOLDEN / f"{backbone}_{damage}.json"
    if request.config.getoption("--rewrite-golden"):
        rewrite(path, found)
    assert_close(found, json.loads(path.read_text(encoding="utf-8")), rtol=1e-4)
