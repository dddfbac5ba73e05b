"""A study: steady, resumable, refusing what would mix two questions."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.engines import Epochs, Jobs, finished, read
from trustmm.study.command import variants
from trustmm.study.options import CMAES, Median, StudyOptions
from trustmm.study.question import StudyError, open_study
from trustmm.study.search import run_study
from trustmm.study.space import parse_space
from trustmm.sweep.engine import Outcome

LINE = {"x": "interval(0,1)", "y": "interval(-1,1)"}


def hill(values: dict[str, str]) -> Outcome:
    x, y = float(values["x"]), float(values["y"])
    return finished(recall_at_10=1 - (x - 0.3) ** 2 - y**2, ndcg_at_10=x)


def study_of(jobs: Jobs, params: dict[str, str] = LINE, arguments: tuple[str, ...] = (), **options: Any) -> Any:
    asked = StudyOptions(**({"n_trials": 12} | options))
    space, folder = parse_space(params, arguments), jobs.folder / "study"
    study = open_study(asked, space, folder)
    run_study(study, asked, space, folder, jobs, jobs.start)
    return study


def asked(study: Any, *states: str) -> list[dict[str, Any]]:
    return [t.params for t in study.get_trials() if t.state.name in (states or ("COMPLETE",))]


class DyingController(BaseException):
    """kill -9, as far as a test in one process can have it."""


def dies_after(
    count: int, objective: Callable[[dict[str, str]], Outcome] = hill
) -> Callable[[dict[str, str]], Outcome]:
    calls = 0

    def run(values: dict[str, str]) -> Outcome:
        nonlocal calls
        calls += 1
        if calls > count:
            raise DyingController
        return objective(values)

    return run


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", pytest.param("gp", marks=pytest.mark.slow), "cmaes"])
def test_sampler_finds_its_way_within_the_space_and_the_budget(sampler: str, tmp_path: Path) -> None:
    params = LINE | {"k": "int(interval(5,50))", "lr": "tag(log, interval(0.001,1))", "mode": "choice(a,b)"}
    jobs = Jobs(tmp_path, hill)
    study = study_of(jobs, params, sampler=sampler, n_trials=14)
    trials = study.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 14
    for number, (task, trial) in enumerate(zip(jobs.started, trials, strict=True)):
        values = read(task.overrides)
        assert task.number == trial.number == number
        assert 0 <= float(values["x"]) <= 1
        assert -1 <= float(values["y"]) <= 1
        assert 5 <= int(values["k"]) <= 50
        assert 0.001 <= float(values["lr"]) <= 1
        assert values["mode"] in ("a", "b")
        assert trial.user_attrs["job_id"] == task.job_id
        assert trial.value == pytest.approx(hill(values).valid["recall@10"])
    assert len({task.job_id for task in jobs.started}) > 10


def test_steady_state_keeps_every_slot_busy_and_tells_at_once(tmp_path: Path) -> None:
    told: list[int] = []
    jobs = Jobs(tmp_path, hill, slots=3, order=lambda waiting: waiting - 1)
    jobs.record = lambda task, outcome: told.append((task.number, len(jobs.started)))  # type: ignore[assignment,func-returns-value]
    study = study_of(jobs, n_trials=9, parallel=3)
    assert jobs.most == 3
    assert len(asked(study)) == 9
    assert [started for _, started in told] == [3, 4, 5, 6, 7, 8, 9, 9, 9], "a slot was left empty while one job ran on"
    assert [number for number, _ in told] == [2, 3, 4, 5, 6, 7, 8, 1, 0]


def test_one_worker_and_a_seed_ask_the_same_trials(tmp_path: Path) -> None:
    first, second = (asked(study_of(Jobs(tmp_path / name, hill), seed=3, n_trials=16)) for name in ("a", "b"))
    other = asked(study_of(Jobs(tmp_path / "c", hill), seed=4, n_trials=16))
    assert first == second
    assert first != other


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_interrupted_study_goes_on_with_the_trials_it_would_have_had(sampler: str, tmp_path: Path) -> None:
    whole = asked(study_of(Jobs(tmp_path / "whole", hill), sampler=sampler, n_trials=16))
    for count in (3, 9):
        with pytest.raises(DyingController):
            study_of(Jobs(tmp_path / "torn", dies_after(count)), sampler=sampler, n_trials=16)
    study = study_of(Jobs(tmp_path / "torn", hill), sampler=sampler, n_trials=16)
    assert asked(study) == whole
    assert [trial.state.name for trial in study.get_trials()].count("FAIL") == 2
    assert len({str(params) for params in whole}) == 16


def test_total_of_trials_counts_earlier_sessions_and_a_finished_study_starts_no_engine(tmp_path: Path) -> None:
    study_of(Jobs(tmp_path, hill), n_trials=5)
    more = Jobs(tmp_path, hill)
    assert len(asked(study_of(more, n_trials=8))) == 8
    assert len(more.started) == 3
    none = Jobs(tmp_path, hill)
    none.start = lambda num_tasks: pytest.fail("nothing was left to run")  # type: ignore[method-assign]
    study_of(none, n_trials=8)


def test_failed_trials_are_survived_up_to_the_limit_and_do_not_count(tmp_path: Path) -> None:
    def fails(values: dict[str, str]) -> Outcome:
        return Outcome("FAILED", "out of memory") if float(values["x"]) > 0.6 else hill(values)

    study = study_of(Jobs(tmp_path / "few", fails), sampler="random", n_trials=6, max_failures=50)
    states = [trial.state.name for trial in study.get_trials()]
    assert states.count("COMPLETE") == 6
    assert 0 < states.count("FAIL") < 50
    failed = next(trial for trial in study.get_trials() if trial.state.name == "FAIL")
    assert failed.user_attrs["error"] == "out of memory"
    with pytest.raises(
        StudyError, match=r"more than hydra.sweeper.max_failures=0 trials failed:\n  trial \d FAILED: out"
    ):
        study_of(Jobs(tmp_path / "none", fails), sampler="random", n_trials=20, max_failures=0)


def test_failures_of_an_earlier_command_are_forgiven(tmp_path: Path) -> None:
    def fails(values: dict[str, str]) -> Outcome:
        return Outcome("KILLED", "killed (signal 9)")

    with pytest.raises(StudyError):
        study_of(Jobs(tmp_path, fails), max_failures=2)
    assert len(asked(study_of(Jobs(tmp_path, hill), n_trials=4, max_failures=0))) == 4


def test_grid_asks_every_cell_once_and_ends_the_study(tmp_path: Path) -> None:
    params = {"x": "0,0.5,1", "y": "range(-1,1)", "mode": "choice(a,b)"}
    jobs = Jobs(tmp_path, hill, slots=2)
    study = study_of(jobs, params, sampler="grid", n_trials=500)
    cells = {tuple(task.overrides) for task in jobs.started}
    assert len(jobs.started) == len(cells) == 12
    assert len(asked(study)) == 12
    jobs = Jobs(tmp_path, hill)
    study_of(jobs, params, sampler="grid", n_trials=None)
    assert jobs.started == []


def test_interrupted_grid_runs_what_is_missing_or_failed(tmp_path: Path) -> None:
    params = {"x": "0,0.25,0.5,0.75,1", "y": "0"}
    seen: list[str] = []

    def once(values: dict[str, str]) -> Outcome:
        seen.append(values["x"])
        return Outcome("FAILED", "once") if values["x"] == "0.25" and seen.count("0.25") == 1 else hill(values)

    with pytest.raises(DyingController):
        study_of(Jobs(tmp_path, dies_after(3, once)), params, sampler="grid", n_trials=None)
    study = study_of(Jobs(tmp_path, once), params, sampler="grid", n_trials=None)
    assert sorted(t["x"] for t in asked(study)) == [0, 0.25, 0.5, 0.75, 1]
    assert sorted(seen) == ["0", "0.25", "0.25", "0.5", "0.75", "1"]


def test_grid_over_an_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a grid cannot enumerate x=interval\(0,1\); list values, e.g. x=0,1"):
        study_of(Jobs(tmp_path, hill), sampler="grid")


def test_same_values_run_once_and_are_told_again(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, hill, slots=4)
    study = study_of(jobs, {"x": "0,1", "y": "0"}, sampler="random", n_trials=10)
    assert len(asked(study)) == 10
    assert len(jobs.started) == 2
    by_value = {(trial.params["x"], trial.value) for trial in study.get_trials()}
    assert len(by_value) == 2


@pytest.mark.parametrize(
    ("params", "options", "said"),
    [
        (LINE | {"x": "interval(0,2)"}, {}, r"x was interval\(0,1\), is interval\(0,2\)"),
        (LINE | {"x": "tag(log, interval(0.1,1))"}, {}, r"x was interval\(0,1\), is tag\(log, interval\(0.1,1\)\)"),
        ({"x": "interval(0,1)", "y": "0"}, {}, r"y was interval\(-1,1\), is fixed"),
        (LINE | {"z": "a,b"}, {}, r"z was fixed, is choice\(a,b\)"),
        (LINE, {"metric": "ndcg@10"}, r"metric was recall@10, is ndcg@10"),
        (LINE, {"direction": "minimize"}, r"direction was maximize, is minimize"),
        (LINE | {"other": "1"}, {}, r"trial 2 would be another job today"),
    ],
)
def test_changed_question_is_refused_with_what_changed(
    params: dict[str, str], options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    study_of(Jobs(tmp_path, hill), n_trials=3)
    with pytest.raises(ValueError, match="asked another question before: " + said):
        study_of(Jobs(tmp_path, hill), params, n_trials=6, **options)
    assert len(asked(study_of(Jobs(tmp_path, hill), n_trials=4))) == 4


def test_changed_code_is_refused(tmp_path: Path) -> None:
    study_of(Jobs(tmp_path, hill), n_trials=3)
    with pytest.raises(ValueError, match=r"trial 2 would be another job today \(.* became .*\): code: 1, now 2"):
        study_of(Jobs(tmp_path, hill, code="2"), n_trials=6)


def test_values_that_cannot_run_are_found_before_the_first_trial(tmp_path: Path) -> None:
    jobs = Jobs(tmp_path, hill, refused=lambda values: "x must be below 1" if float(values["x"]) >= 1 else "")
    with pytest.raises(ValueError, match="x must be below 1"):
        study_of(jobs)
    assert jobs.started == []


@pytest.mark.parametrize("metric", ["test/recall@10", "test_recall@10", "loss", "best_valid/recall@10", "recall"])
def test_only_validation_metrics_may_be_optimised(metric: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a validation metric such as recall@10.*test metrics are .* never"):
        study_of(Jobs(tmp_path, hill), metric=metric)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"sampler": "bayes"},
            "hydra.sweeper.sampler must be tpe or random or qmc or grid or gp or cmaes, got 'bayes'",
        ),
        ({"pruner": "mean"}, "hydra.sweeper.pruner must be none or median or successive_halving, got 'mean'"),
        ({"direction": "up"}, "hydra.sweeper.direction must be maximize or minimize, got 'up'"),
        ({"direction": ["maximize", "minimize"]}, "lists of the same length"),
        ({"n_trials": 0}, "hydra.sweeper.n_trials must be at least 1, got 0"),
        ({"n_trials": None}, "hydra.sweeper.n_trials must be given"),
        ({"importance": "shap"}, "hydra.sweeper.importance must be fanova or ped_anova, got 'shap'"),
        ({"metric": ["recall@10", "ndcg@10"], "pruner": "median"}, "hydra.sweeper.pruner must be none with several"),
        ({"metric": ["recall@10", "ndcg@10"], "sampler": "cmaes"}, "cmaes supports one objective"),
        ({"storage": "nowhere"}, "cannot use hydra.sweeper.storage="),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        study_of(Jobs(tmp_path, hill), **options)


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match="needs the package cmaes: pip install cmaes; or use hydra.sweeper.sampler=tpe"
    ):
        study_of(Jobs(tmp_path, hill), sampler="cmaes", cmaes=CMAES())


def test_metric_that_jobs_do_not_have_is_refused_before_one_starts_and_those_there_are_are_named(
    tmp_path: Path,
) -> None:
    jobs = Jobs(tmp_path, hill)
    with pytest.raises(ValueError, match="no validation metric 'recall@7', only recall@10, ndcg@10;"):
        study_of(jobs, metric="recall@7")
    assert not jobs.started


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    study = study_of(Jobs(tmp_path, hill), metric=["recall@10", "ndcg@10"], direction=["maximize", "minimize"])
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert all(len(trial.values) == 2 for trial in study.get_trials())
    assert study.best_trials


@pytest.mark.parametrize("pruner", ["median", "successive_halving"])
def test_hopeless_trials_are_stopped_by_their_validation_values(pruner: str, tmp_path: Path) -> None:
    jobs = Epochs(tmp_path, hill, curve=lambda values, epoch: float(values["x"]) * (epoch + 1), num_epochs=9)
    options: dict[str, Any] = {"median": Median(n_startup_trials=3, n_warmup_steps=2), "sampler": "random"}
    study = study_of(jobs, pruner=pruner, n_trials=12, **options)
    by_state: dict[str, list[float]] = {"COMPLETE": [], "PRUNED": []}
    for trial in study.get_trials():
        by_state[trial.state.name].append(trial.params["x"])
    assert len(by_state["COMPLETE"]) + len(by_state["PRUNED"]) == 12
    assert by_state["PRUNED"]
    assert max(by_state["COMPLETE"]) > max(by_state["PRUNED"])
    for trial in study.get_trials():
        if trial.state.name == "PRUNED":
            assert trial.user_attrs["pruned"].startswith("pruned at epoch ")
            assert jobs.stopped[trial.number] == trial.user_attrs["pruned"]
            assert 2 <= max(trial.intermediate_values) < 8
        else:
            assert list(trial.intermediate_values) == list(range(9))


def test_second_controller_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    import socket
    import time

    study = study_of(Jobs(tmp_path, hill), n_trials=2)
    beat = {"host": socket.gethostname(), "pid": 1, "time": time.time()}
    study.set_user_attr("controller", beat)
    with pytest.raises(ValueError, match=f"already has a controller: process 1 on {socket.gethostname()}"):
        study_of(Jobs(tmp_path, hill), n_trials=4)
    for gone in ({"pid": 2**22 + 1}, {"time": time.time() - 3600}, {"host": "elsewhere", "time": time.time() - 3600}):
        study.set_user_attr("controller", beat | gone)
        study_of(Jobs(tmp_path, hill), n_trials=4)
    study.set_user_attr("controller", beat | {"host": "elsewhere"})
    with pytest.raises(ValueError, match="process 1 on elsewhere"):
        study_of(Jobs(tmp_path, hill), n_trials=5)


def test_journal_survives_a_line_torn_by_a_kill(tmp_path: Path) -> None:
    study_of(Jobs(tmp_path, hill), n_trials=3)
    journal = tmp_path / "study" / "study.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code":4,"worker')
    assert len(asked(study_of(Jobs(tmp_path, hill), n_trials=5))) == 5


def test_parallel_order_is_said_to_matter_and_serial_is_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    study_of(Jobs(tmp_path / "one", hill), n_trials=3)
    assert "depends on the order in which they end" not in caplog.text
    study_of(Jobs(tmp_path / "two", hill, slots=2), n_trials=3)
    assert "2 trials run in parallel: what tpe proposes next depends on the order in which they end" in caplog.text


def test_options_are_not_shared_between_studies() -> None:
    first, second = StudyOptions(), StudyOptions()
    assert replace(first, params={"x": "1,2"}).params != second.params
    assert first.tpe is not second.tpe


def test_each_repeats_the_study_with_the_same_budget_and_the_command_line_may_narrow_it(tmp_path: Path) -> None:
    options = StudyOptions(params=dict(LINE), each={"rectifier": "none,mr"})
    base, repaired = variants(options, ["corruption.eta=0.2"], tmp_path)
    assert base.space.fixed == ("corruption.eta=0.2", "rectifier=none")
    assert repaired.space.fixed == ("corruption.eta=0.2", "rectifier=mr")
    assert base.space.axes == repaired.space.axes
    assert base.options.n_trials == repaired.options.n_trials
    assert base.folder != repaired.folder
    assert base.options.study_name != repaired.options.study_name
    (only,) = variants(options, ["rectifier=mr"], tmp_path)
    assert only.space.fixed == ("rectifier=mr",)
    (single,) = variants(StudyOptions(params=dict(LINE)), [], tmp_path)
    assert (single.label, single.folder) == ("", tmp_path)
    (named,) = variants(StudyOptions(params=dict(LINE), study_name="second"), [], tmp_path)
    assert named.folder == tmp_path / "second"


def test_a_question_nobody_has_answered_may_be_corrected(tmp_path: Path) -> None:
    def fails(values: dict[str, str]) -> Outcome:
        return Outcome("FAILED", "x must be in [0, 1]")

    with pytest.raises(StudyError):
        study_of(Jobs(tmp_path, fails), LINE | {"x": "interval(0,2)"}, max_failures=0)
    study = study_of(Jobs(tmp_path, hill), n_trials=2)
    assert len(asked(study)) == 2


def test_a_first_point_that_fails_is_not_asked_for_ever(tmp_path: Path) -> None:
    def fails(values: dict[str, str]) -> Outcome:
        return Outcome("FAILED", "no")

    jobs = Jobs(tmp_path, fails)
    with pytest.raises(StudyError):
        study_of(jobs, sampler="qmc", max_failures=3)
    study = open_study(StudyOptions(n_trials=12, sampler="qmc"), parse_space(LINE, ()), tmp_path / "study")
    assert len({str(params) for params in asked(study, "FAIL")}) == 4


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/elsewhere", ".hidden", "a/b"])
def test_name_of_a_study_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hydra.sweeper.study_name must be a folder name"):
        study_of(Jobs(tmp_path, hill), study_name=name)


def test_label_of_a_variant_is_one_folder(tmp_path: Path) -> None:
    options = StudyOptions(n_trials=1, params={"x": "interval(0,1)"}, each={"experiment": "tuned/a,tuned/b"})
    assert [variant.folder.relative_to(tmp_path).parts for variant in variants(options, [], tmp_path)] == [
        ("experiment=tuned_a",),
        ("experiment=tuned_b",),
    ]


def test_a_sampler_that_learns_asks_in_rounds_however_many_slots_there_are(tmp_path: Path) -> None:
    learning, drawing, bounded = (Jobs(tmp_path / name, hill, slots=64) for name in ("tpe", "random", "own"))
    study_of(learning, sampler="tpe", n_trials=30)
    study_of(drawing, sampler="random", n_trials=30)
    study_of(bounded, sampler="random", n_trials=30, parallel=4)
    assert (learning.most, drawing.most, bounded.most) == (6, 30, 4)


def test_a_combination_that_fails_in_preparation_is_told_failed_and_not_asked_again(tmp_path: Path) -> None:
    def refuses(values: dict[str, str]) -> str:
        return "x and y do not go together" if (values["x"], values["y"]) == ("2", "1") else ""

    params = {"x": "choice(1,2,3)", "y": "choice(1,2,3)"}
    for _ in range(2):
        jobs = Jobs(tmp_path, lambda values: finished(recall_at_10=float(values["x"])))
        jobs.refused = refuses
        study = study_of(jobs, params, sampler="grid", n_trials=None)
    assert len(asked(study)) == 8
    failed = [trial for trial in study.get_trials() if trial.state.name == "FAIL"]
    assert {trial.user_attrs["error"] for trial in failed} == {"x and y do not go together"}
    assert len(failed) == 2, "once in each session"
    assert not asked(study, "RUNNING", "WAITING")


def test_lease_is_renewed_while_the_engine_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustmm.study.storage.LEASE_SECONDS", 0.4)
    ages: list[float] = []

    class Slow(Jobs):
        def wait(self, timeout: float | None = None) -> Any:
            time.sleep(0.6)  # a slow scontrol
            study = open_study(StudyOptions(n_trials=2), parse_space(LINE, ()), self.folder / "study")
            ages.append(time.time() - study.user_attrs["controller"]["time"])
            return super().wait(timeout)

    study_of(Slow(tmp_path, hill), n_trials=2)
    assert max(ages) < 0.4


def test_choices_that_need_their_quotes_keep_them() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    space = parse_space({}, ["dataset.root=choice('/a,b (v1)','/c','it\\'s')"])
    (axis,) = space.axes
    words = [word for cell in space.cells() for word in space.overrides(cell)]
    values = [override.value() for override in OverridesParser.create().parse_overrides(words)]
    assert values == ["/a,b (v1)", "/c", "it's"]
    assert axis.choices[1] == "/c"


def test_a_sampler_changed_half_way_is_named_and_its_importances_warn(tmp_path: Path) -> None:
    from trustmm.study.summary import describe_study, make_report

    study_of(Jobs(tmp_path, hill), sampler="random", n_trials=6)
    options = StudyOptions(n_trials=12, sampler="tpe")
    study = study_of(Jobs(tmp_path, hill), sampler="tpe", n_trials=12)
    report = make_report(study, options, parse_space(LINE, ()), tmp_path / "study", complete=True)
    assert report.sampler == "tpe, seed 0 (changed during the study; other trials are from random)"
    text = describe_study(report, ["trustmm"])
    assert "changed during the study; other trials are from random" in text
    assert "Warning: trials of random and tpe are mixed" in text
