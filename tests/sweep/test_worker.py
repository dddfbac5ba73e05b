"""What a worker is told, and what it leaves."""

import errno
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trustmm.cli.pages import job_page
from trustmm.sweep.engine import Outcome, Task
from trustmm.sweep.worker import Assignment, forget_outcome, leave_outcome, read_outcome, reason_of, work


@pytest.fixture
def assignment(tmp_path):
    task = Task(3, ("seed=1", "rectifier=mr"), "abc", tmp_path / "outputs" / "abc")
    return Assignment(task, "seed: 1\n", {"rectifier": "mr"}, "parent", tmp_path / "sweep", {"options": {"k": 1}})


def test_assignment_survives_json(assignment):
    assert Assignment.from_json(assignment.to_json()) == assignment


def test_outcome_is_read_as_it_was_left_and_absent_before_and_after(assignment):
    assert read_outcome(assignment) is None
    outcome = Outcome("FINISHED", "", "run", {"recall@10": 0.25})
    leave_outcome(assignment, outcome)
    assert read_outcome(assignment) == outcome
    forget_outcome(assignment)
    forget_outcome(assignment)
    assert read_outcome(assignment) is None


def test_a_job_that_cannot_be_built_is_a_failed_outcome_and_no_exception(assignment):
    outcome = work(assignment, job_page)
    assert outcome.status == "FAILED"
    assert "dataset must be one of the options" in outcome.reason
    assert read_outcome(assignment) == outcome


def test_a_disk_without_room_for_the_outcome_ends_in_no_traceback(assignment, monkeypatch):
    def full(assignment, outcome):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trustmm.sweep.worker.leave_outcome", full)
    assert work(assignment, job_page).status == "FAILED"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"dataset_digest": "3abb15"}, "; data: 3abb15, now 747bc6"),
        ({"code_digest": "c0de"}, "; code: c0de, now beef"),
        ({"options": {"backbone": {"k": 5}}}, "; option backbone.k: 5, now 10"),
    ],
)
def test_a_job_that_changed_meanwhile_names_what_changed_and_both_values(assignment, monkeypatch, part, expected):
    here = {"job_id": "other", "options": {"backbone": {"k": 10}}, "dataset_digest": "747bc6", "code_digest": "beef"}
    monkeypatch.setattr("trustmm.run.cell.build_cell", lambda *_: None)
    monkeypatch.setattr("trustmm.run.cell.identity_facts", lambda cell, digest: here)
    monkeypatch.setattr("trustmm.sweep.worker._read", lambda cell, *_: SimpleNamespace(identity=None))
    reason = work(replace(assignment, identity=here | {"job_id": "abc"} | part), job_page).reason
    assert reason == f"this job has changed since the sweep was prepared; repeat the command{expected}"


def _too_much_for_torch():
    torch.empty(2**60)


def _too_much_for_numpy():
    np.empty(2**50)


@pytest.mark.parametrize("allocate", [_too_much_for_torch, _too_much_for_numpy])
def test_out_of_memory_is_named_whoever_says_so(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert reason_of(caught.value).startswith("out of memory (")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory (CUDA out of memory."),
        (MemoryError(), "out of memory"),
        (ValueError("rectifier.k must be at most 40,\n got 41"), "rectifier.k must be at most 40, got 41"),
        (KeyError("visual"), "KeyError: 'visual'"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_reason_is_one_line(error, reason):
    assert reason_of(error).startswith(reason)
    assert "\n" not in reason_of(error)


def test_paths_of_an_assignment_are_paths(assignment):
    back = Assignment.from_json(assignment.to_json())
    assert isinstance(back.task.folder, Path)
    assert back.outcome_file == assignment.sweep_folder / "outcomes" / "abc.json"
