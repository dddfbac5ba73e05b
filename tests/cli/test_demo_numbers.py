"""The demo as a user ran it: its numbers, not only its exit status. CI names the folders of two demos, one of them made
as on another processor.
"""

import os
from pathlib import Path

import pandas as pd
import pytest

from trustmm.cli.demo import ETAS, SEEDS, STUDIES
from trustmm.report.runs.read import Runs, read_sweeps

pytestmark = pytest.mark.demo
RECALL = "test/recall@10"
REPAIRS = ("none", "mr", "trust")
ARITHMETIC = 0.01
"""What the last digits of a product may move in a mean recall of 0.35, by training on from there."""


@pytest.fixture(scope="module")
def demos() -> list[dict[str, Runs]]:
    folders = [Path(name) for name in os.environ.get("DEMO_OUTPUTS", "").split(":") if name]
    if not folders:
        pytest.skip("DEMO_OUTPUTS names no folder of a demo")
    return [{name: read_sweeps([folder / "sweeps" / name]) for name in STUDIES} for folder in folders]


def mean(runs: Runs, rectifier: str, eta: float = 0.0) -> float:
    table = runs.table
    return float(table[(table["rectifier"] == rectifier) & (table["corruption.eta"] == eta)][RECALL].mean())


def test_every_job_finished(demos: list[dict[str, Runs]]) -> None:
    for demo in demos:
        assert len(demo["demo"].table) == len(REPAIRS) * len(ETAS) * len(SEEDS)
        assert len(demo["demo_null"].table) == len(REPAIRS) * len(SEEDS)
        assert not any([*runs.failures, *runs.absent] for runs in demo.values())


def test_wrong_features_cost_and_noise_helps_nobody(demos: list[dict[str, Runs]]) -> None:
    for demo in demos:
        assert 0.2 < mean(demo["demo"], "none", 0.4) < mean(demo["demo"], "none", 0.0) < 0.6
        assert mean(demo["demo_null"], "none") < mean(demo["demo"], "none", 0.0)


def test_the_repair_brings_wrong_features_nearer_to_the_clean_ones(demos: list[dict[str, Runs]]) -> None:
    for demo in demos:
        table = demo["demo"].table
        worst = table[(table["rectifier"] == "mr") & (table["corruption.eta"] == max(ETAS))]
        for modality in worst.iloc[0]["modalities"]:
            before, after = (
                worst[f"diagnostics/{modality}/touched/{state}_to_clean"].astype(float).mean()
                for state in ("observed", "rectified")
            )
            assert after > before + 0.05


def test_another_processor_runs_the_same_jobs_to_the_same_table(demos: list[dict[str, Runs]]) -> None:
    first, *others = demos
    for other in others:
        for name in STUDIES:
            mine, theirs = (runs[name].table.set_index("job_id") for runs in (first, other))
            assert set(mine.index) == set(theirs.index)
            kernels = [{environment["blas"] for environment in table["environment"]} for table in (mine, theirs)]
            assert kernels[0].isdisjoint(kernels[1]), "both demos ran on the same kernels"
            cells = ["rectifier", "corruption.eta"]
            means = [table.groupby(cells)[RECALL].mean() for table in (mine, theirs)]
            pd.testing.assert_series_equal(*means, rtol=0, atol=ARITHMETIC)
