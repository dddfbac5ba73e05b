"""The pool with workers that need no data: what it does with ends of every kind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.report.conftest import make_summary
from trustmm.store.job_folder import write_result
from trustmm.sweep.engine import Outcome, Task
from trustmm.sweep.pool.placement import Placement
from trustmm.sweep.pool.pool import PoolExecutor, _Worker, pool
from trustmm.sweep.worker import Assignment, death

WORKERS = """
import os, resource, signal, sys, time
from trustmm.process.signals import Terminated, termination_as_exception
from trustmm.sweep.engine import Outcome
from trustmm.sweep.worker import leave_outcome, work


def run(assignment):
    what = assignment.task.overrides[0]
    if what == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        sys.stdout = open(1, "w", closefd=False)  # with a buffer, whatever PYTHONUNBUFFERED says
        print("what no file takes any more")
        return work(assignment, None)
    pid = assignment.task.folder / "pid"
    pid.write_text(str(os.getpid()))
    print("this goes to the log")
    outcome = Outcome("FINISHED", what, os.environ.get("CUDA_VISIBLE_DEVICES"))
    try:
        with termination_as_exception():
            globals()[what]()
    except Terminated as end:
        outcome = Outcome("KILLED", str(end))
    leave_outcome(assignment, outcome)
    return outcome


def quick():
    import torch
    assert torch.get_num_threads() == 2 == int(os.environ["OMP_NUM_THREADS"])


def patient():
    time.sleep(300)


def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(300)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def leaves():
    os._exit(3)
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """From options to a pool whose workers do what the first override of their task says."""
    (tmp_path / "pool_workers.py").write_text(WORKERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("pool_workers", None)
    import pool_workers

    def new(slots=(None, None), **options):
        def assignment(task):
            return Assignment(task, "", {}, None, tmp_path / "sweep")

        placement = Placement(list(slots), 2)
        preload = ("torch", "trustmm.sweep.pool.pool")
        return PoolExecutor(assignment, pool_workers.run, placement, preload=preload, **options)

    return new


@pytest.fixture
def task(tmp_path):
    def new(number, what):
        return Task(number, (what,), f"job{number}", tmp_path / f"job{number}")

    return new


def wait_for_pid(task):
    path = task.folder / "pid"
    until = time.monotonic() + 120
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return int(path.read_text())


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_end_becomes_an_outcome_and_the_others_go_on(make, task):
    whats = ["quick", "killed", "leaves", "quick", "quick"]
    with make() as executor:
        assert executor.slots == 2
        for number, what in enumerate(whats):
            executor.submit(task(number, what))
        ended = dict(executor.wait() for _ in whats)
        assert executor.wait(0) is None
    outcomes = [ended[task(number, what)] for number, what in enumerate(whats)]
    assert [outcome.status for outcome in outcomes] == ["FINISHED", "FAILED", "FAILED", "FINISHED", "FINISHED"]
    assert outcomes[1].reason == "killed (signal 9), possibly out of memory"
    assert outcomes[2].reason == "its process ended with status 3 and left no result"
    assert (task(0, "").folder / "job.log").read_text().startswith("this goes to the log\n")


def test_a_job_that_can_write_nothing_more_says_so_and_names_the_file(make, task, tmp_path):
    """As on a full disk: not a byte of its result, its outcome, or its log."""
    with make() as executor:
        executor.submit(task(0, "full"))
        _, outcome = executor.wait()
    file = tmp_path / "sweep" / "outcomes" / "job0.json"
    said = f"could not write {file}, which would say why: is the disk full? make room, repeat the command"
    assert outcome == Outcome("FAILED", said)


def test_each_job_sees_the_gpu_of_its_slot(make, task):
    with make(slots=["3", "5"]) as executor:
        for number in range(2):
            executor.submit(task(number, "quick"))
        assert {executor.wait()[1].run_id for _ in range(2)} == {"3", "5"}


def test_a_timeout_ends_a_job_and_says_so_and_a_deaf_one_is_killed(make, task):
    with make(timeout=0.5, grace=0.5) as executor:
        executor.submit(task(0, "patient"))
        executor.submit(task(1, "deaf"))
        ended = dict(executor.wait() for _ in range(2))
    assert list(ended.values()) == [Outcome("KILLED", "timeout: ran longer than 0.5 s")] * 2


def test_stop_ends_one_job_running_or_waiting_and_leaves_the_others(make, task):
    with make(slots=[None]) as executor:
        running, waiting, last = task(0, "patient"), task(1, "patient"), task(2, "quick")
        for each in (running, waiting, last):
            executor.submit(each)
        wait_for_pid(running)
        executor.stop(waiting, "not promising")
        executor.stop(running, "pruned")
        ended = dict(executor.wait() for _ in range(3))
    assert ended[running] == Outcome("KILLED", "pruned")
    assert ended[waiting] == Outcome("KILLED", "not promising")
    assert ended[last].status == "FINISHED"
    assert not (waiting.folder / "pid").exists()


def test_leaving_the_pool_ends_its_workers_and_their_outcomes_can_still_be_read(make, task):
    first, second = task(0, "patient"), task(1, "patient")
    executor = make(slots=[None])
    with suppress(KeyboardInterrupt), executor:
        executor.submit(first)
        executor.submit(second)
        pid = wait_for_pid(first)
        raise KeyboardInterrupt
    assert not is_alive(pid)
    assert executor.wait(0) == (first, Outcome("KILLED", "the sweep was interrupted"))
    assert executor.wait(0) is None


def test_a_second_interrupt_kills_at_once(make, task):
    deaf = task(0, "deaf")
    executor = make(slots=[None], grace=300)
    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt), executor:
            executor.submit(deaf)
            pid = wait_for_pid(deaf)
            time.sleep(0.2)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 200
    assert not is_alive(pid)


def test_workers_of_a_dead_fork_server_end_and_a_new_one_takes_over(make, task):
    from multiprocessing import forkserver

    with make(slots=[None]) as executor:
        executor.submit(task(0, "patient"))
        pid = wait_for_pid(task(0, ""))
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        lost, outcome = executor.wait()
        executor.submit(task(1, "quick"))
        assert executor.wait()[1].status == "FINISHED"
    assert lost == task(0, "patient")
    assert outcome.status != "FINISHED"
    assert not is_alive(pid)


class Fragile:
    """A process whose fork server dies under it, a few times."""

    def __init__(self, deaths, error):
        self.deaths, self.error = deaths, error

    def start(self):
        self.deaths -= 1
        if self.deaths >= 0:
            raise self.error


@pytest.mark.parametrize("error", [EOFError("unexpected EOF"), BrokenPipeError(32, "x"), ConnectionRefusedError()])
def test_a_fork_server_that_dies_while_it_is_asked_is_replaced(make, error, caplog):
    executor = make()
    executor._fork(Fragile(2, error))
    assert caplog.messages == ["the fork server has ended, starting another"] * 2
    with pytest.raises(ChildProcessError, match="the fork server cannot be started or ends at once"):
        executor._fork(Fragile(3, error))


def test_a_job_whose_log_cannot_be_made_fails_with_its_path(make, task, tmp_path):
    (tmp_path / "job0").touch()
    with make(slots=[None]) as executor:
        executor.submit(task(0, "quick"))
        _, outcome = executor.wait()
    assert outcome == Outcome("FAILED", f"FileExistsError: [Errno 17] File exists: '{tmp_path}/job0'")


@pytest.mark.parametrize(("status", "expected"), [(0, "FINISHED"), (1, "FAILED")])
def test_a_finished_job_without_room_for_its_outcome_is_finished(status, expected, make, task, monkeypatch):
    summary = make_summary(0.1, {}) | {"job_id": "job0"}
    write_result(task(0, "").folder, summary, {})
    process = SimpleNamespace(pid=2**22 + 1, exitcode=status, close=lambda: None)
    executor = make()
    worker = _Worker(task(0, ""), process, SimpleNamespace(close=lambda: None), None, None)
    executor._running.append(worker)
    executor._reap(worker)
    (_, outcome), *_ = executor._ended
    assert outcome.status == expected
    assert outcome.valid == (summary["valid"] if status == 0 else {})


@pytest.mark.slow
def test_what_the_fork_server_imports_asks_nothing_of_cuda_and_starts_no_thread():
    code = (
        "import torch, threading\n"
        "def touched(*arguments): raise AssertionError('CUDA was touched before the fork')\n"
        "torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = touched\n"
        "import trustmm.sweep.pool.preload, mlflow.tracking, trustmm.report.page.job\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "import sys\n"
        "sys.excepthook(EOFError, EOFError('a controller that was killed'), None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "EOFError" not in done.stderr


def test_death_names_the_signal():
    assert death(-signal.SIGSEGV, Path("x")) == "killed (signal 11, Segmentation fault)"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n_workers", 0, "hydra.launcher.n_workers must be"),
        ("n_workers", "all", "hydra.launcher.n_workers must be"),
        ("gpus", 99, "hydra.launcher.gpus must be at most "),
        ("timeout", -1, "hydra.launcher.timeout must be"),
    ],
)
def test_options_are_checked_by_name(key, value, message):
    options = {"n_workers": "auto", "jobs_per_gpu": 1, "gpus": "auto", "threads": "auto", "timeout": None, "grace": 1.0}
    make = partial(pool, lambda task: None, lambda assignment: None, tracked=False, num_tasks=4)
    assert make(options=options).slots >= 1
    with pytest.raises(ValueError, match=message):
        make(options=options | {key: value})


def test_jobs_take_no_more_threads_than_the_user_gave_openmp(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("trustmm.sweep.pool.pool.usable_cpus", lambda: 8)
    options = {"n_workers": 2, "jobs_per_gpu": 1, "gpus": 0, "threads": "auto", "timeout": None, "grace": 1.0}
    assert (
        pool(
            lambda task: None, lambda assignment: None, tracked=False, num_tasks=None, options=options
        ).placement.threads
        == 1
    )
