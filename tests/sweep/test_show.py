"""What somebody who watches a sweep sees."""

import io
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from trustmm.store.job_folder import Stored, last_epoch
from trustmm.store.pivot import pivot
from trustmm.store.sweep_folder import FinishedCell
from trustmm.sweep import launch, show
from trustmm.sweep.engine import Outcome, Task, run_labels
from trustmm.sweep.show import duration, outcome_table, say_end, show_sweep, state_of, time_left

LINE = "test recall@10=0.1000 ndcg@10=0.0500 result="
NUMBERS = {"recall@10": 0.1, "ndcg@10": 0.05}


def tasks_in(folder: Path, number: int) -> list[Task]:
    return [Task(n, ("backbone=bpr", f"seed={n}"), f"job{n}", folder / f"job{n}") for n in range(number)]


def stored(task: Task) -> Stored:
    return Stored(task.folder, {"test": NUMBERS})


def write_history(folder: Path, *epochs: dict[str, Any], end: str = "\n") -> None:
    folder.mkdir()
    lines = [json.dumps({"stage": "backbone", "valid": {"recall@10": 0.1}, **epoch}) for epoch in epochs]
    (folder / "history.jsonl").write_text("\n".join(lines) + end)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


class Engine:
    """Two jobs at a time; nothing ends during the first wait."""

    slots = 2

    def __init__(self) -> None:
        self.running: list[Task] = []
        self.waits = 0

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *reason: object) -> None:
        pass

    def submit(self, task: Task) -> None:
        self.running.append(task)

    def wait(self, timeout: float | None = None) -> tuple[Task, Outcome] | None:
        self.waits += 1
        return None if self.waits == 1 else (self.running.pop(0), Outcome("FINISHED"))


def test_a_sweep_says_what_it_will_do_what_runs_and_how_long_it_takes_and_every_result_once(
    tmp_path: Path, said: Callable[[], list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tasks_in(tmp_path, 3)
    write_history(tmp_path / "job1", {"epoch": 6, "valid": {"recall@10": 0.0512}})
    known = {"job0": Outcome("FINISHED")}
    sweep: Any = SimpleNamespace(
        folder=Path("outputs/sweeps/abc"),
        reuse=lambda task: known.get(task.job_id),
        record=lambda task, outcome: None,
        stored=stored,
    )
    monkeypatch.setattr(show.SweepView, "seconds", 60.0)
    engine: Any = Engine()
    launch.run_all(lambda number: engine, tasks, sweep)
    assert said() == [
        "3 jobs: 1 reused, 2 to run, 2 at a time; in outputs/sweeps/abc",
        "job 1 of 3 reused: seed=0",
        "seed=1: epoch 6, valid recall@10 0.0512; seed=2: starts",
        "job 2 of 3 finished: seed=1 (about 60 s left)",
        "job 3 of 3 finished: seed=2",
        "3 of 3 jobs finished, 60 s",
    ]
    assert capsys.readouterr().out.splitlines() == [f"{LINE}{task.folder}/result.json" for task in tasks]


def test_a_terminal_has_a_bar_with_the_time_left_and_a_line_per_running_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tasks_in(tmp_path, 3)
    write_history(tmp_path / "job1", {"epoch": 6, "valid": {"recall@10": 0.0512}})
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(show, "Console", lambda **options: console)
    monkeypatch.setattr(show.SweepView, "seconds", 600.0)
    with show_sweep(tasks) as view:
        view.begin(tmp_path, 0, 1)
        view.watch(lambda: tasks[1:2])
        view(tasks[0], Outcome("FAILED", "no memory"), None, reused=False)
        shown = Console(file=io.StringIO(), width=100)
        shown.print(*view._bars.get_renderables())
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert "jobs, 1 failed" in text
    assert "1/3" in text
    assert "about 20 min left" in text
    assert "  seed=1: epoch 6, valid recall@10 0.0512" in text


def test_state_of_a_job_is_its_last_whole_line_with_the_stage_where_it_is_not_the_backbone(tmp_path: Path) -> None:
    write_history(tmp_path / "job0", {"epoch": 0, "stage": "prior"}, {"epoch": 1, "stage": "prior"})
    write_history(tmp_path / "job1", {"epoch": 0}, {"epoch": 1}, end="")
    (tmp_path / "job2").mkdir()
    (tmp_path / "job2" / "history.jsonl").write_text("nonsense\n")
    states = [state_of(task) for task in tasks_in(tmp_path, 4)]
    assert states == ["prior epoch 1, valid recall@10 0.1000", "epoch 0, valid recall@10 0.1000", "starts", "starts"]


def test_the_end_of_a_long_history_is_enough(tmp_path: Path) -> None:
    write_history(tmp_path / "job0", *({"epoch": epoch, "rest": "x" * 1000} for epoch in range(100)))
    last = last_epoch(tmp_path / "job0")
    assert last is not None
    assert last["epoch"] == 99


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (12000, "3 h 20 min")]
)
def test_durations_have_the_unit_that_one_reads(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_time_left_follows_the_pace_so_far_and_says_nothing_before_it_is_known() -> None:
    assert time_left(60, 2, 6) == "about 2 min left"
    assert time_left(60, 0, 6) == time_left(60, 6, 6) == ""


def rows(number: int) -> list[FinishedCell]:
    made = {"environment": {"host": "here"}, "inputs": []}
    return [FinishedCell(f"eta={n} seed=0", None, made | {"test": {"recall@10": n / 100}}) for n in range(number)]


def test_the_end_has_the_best_in_bold_and_where_to_look_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "summary.png").touch()
    say_end(tmp_path, pivot(rows(2)), ["http://127.0.0.1:5000/#/x"])
    text = capsys.readouterr().err
    for word in ("0.0100", f"folder  {tmp_path}", "figure", f"report  trustmm report {tmp_path} --out", "#/x"):
        assert word in text
    table = outcome_table(
        replace(pivot(rows(2)), axis="", columns=[""], values={("a", ""): [0.1], ("b", ""): [0.3]}, lines="ab")
    )
    assert [str(cell.style) for cell in table.columns[1]._cells] == ["", "bold"]  # type: ignore[union-attr]


def test_one_result_needs_no_table_and_a_long_one_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say_end(tmp_path, pivot(rows(1)), [])
    assert "recall@10" not in capsys.readouterr().err
    named = [replace(row, cell=f"name=n{number} seed=0") for number, row in enumerate(rows(45))]
    say_end(tmp_path, pivot(named), [])
    text = capsys.readouterr().err
    assert "n39" in text
    assert "n40" not in text
    assert "and 5 more lines in" in text


def test_names_of_runs_are_as_short_as_they_can_be_and_all_different(tmp_path: Path) -> None:
    words = [
        ("dataset=baby", f"rectifier={name}", f"corruption.eta={eta}", f"seed={seed}", f"corruption.seed={seed}")
        for name in ("none", "mr")
        for eta in (0, 0.2)
        for seed in (0, 1)
    ]
    tasks = [Task(number, cell, str(number), tmp_path) for number, cell in enumerate(words)]
    labels = list(run_labels(tasks).values())
    assert labels[0] == "no rectifier eta=0 seed=0 corruption.seed=0"
    assert labels[-1] == "mr eta=0.2 seed=1 corruption.seed=1"
    assert len(set(labels)) == len(tasks)
    assert list(run_labels(tasks[:1]).values()) == [""]
