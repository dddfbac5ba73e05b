"""How a machine is divided among jobs."""

import pytest

from trustmm.sweep.pool.placement import Placement, asked_threads, place, visible_gpus


def divide(**changes):
    plan = {"n_workers": "auto", "jobs_per_gpu": 1, "threads": "auto", "gpus": [], "num_cpus": 8}
    return place(**(plan | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Placement([None] * 8, 1)),
        ({"n_workers": 2}, Placement([None, None], 4)),
        ({"n_workers": 3}, Placement([None] * 3, 2)),
        ({"n_workers": 16}, Placement([None] * 16, 1)),
        ({"num_tasks": 1}, Placement([None], 1)),
        ({"n_workers": 2, "num_tasks": 1}, Placement([None], 4)),
        ({"hide": True, "n_workers": 2}, Placement(["", ""], 4)),
        ({"gpus": ["0", "1"]}, Placement(["0", "1"], 4)),
        ({"gpus": ["0", "1"], "jobs_per_gpu": 2}, Placement(["0", "1", "0", "1"], 2)),
        ({"gpus": ["0", "1"], "n_workers": 1}, Placement(["0"], 8)),
        ({"gpus": ["0"], "n_workers": 4}, Placement(["0"], 8)),
        ({"gpus": ["3", "5"], "jobs_per_gpu": 2, "num_tasks": 3}, Placement(["3", "5", "3"], 2)),
        ({"threads": 2}, Placement([None] * 8, 2)),
        ({"n_workers": 2, "most_threads": 3}, Placement([None, None], 3)),
        ({"n_workers": 4, "most_threads": 3}, Placement([None] * 4, 2)),
        ({"n_workers": 2, "most_threads": 1, "threads": 4}, Placement([None, None], 4)),
    ],
)
def test_places_never_exceed_gpus_or_jobs_and_share_the_cores(changes, expected):
    assert divide(**changes) == expected


def test_gpus_are_those_that_the_environment_allows(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-8f1")
    assert visible_gpus() == ["3", "GPU-8f1"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]


@pytest.mark.parametrize(("given", "bound"), [("3", 3), (" 1 ", 1), ("0", None), ("", None), ("4,2", None)])
def test_threads_are_bounded_by_what_the_user_gave_openmp(monkeypatch, given, bound):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert asked_threads() == bound


def test_every_named_slice_of_a_gpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)  # CUDA counts one slice, whatever is named
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a, MIG-b")
    assert visible_gpus() == ["MIG-a", "MIG-b"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert visible_gpus() == ["3"]
