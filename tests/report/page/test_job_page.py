"""The page of one job."""

from pathlib import Path

import pytest

from trustmm.report.page.job import draw_job
from trustmm.store.job_folder import Stored


@pytest.mark.parametrize("losses", [{}, {"bpr": 0.5}])
def test_a_model_without_a_loss_is_drawn_without_a_warning(losses: dict[str, float], tmp_path: Path) -> None:
    stored = Stored(tmp_path, {"best_epoch": 0, "diagnostics": {}})
    epochs = [{"stage": "backbone", "epoch": 0, "losses": losses, "valid": {"recall@10": 0.1}}]
    draw_job(stored, epochs)  # warnings are errors here
    assert (tmp_path / "history.png").stat().st_size > 5000
