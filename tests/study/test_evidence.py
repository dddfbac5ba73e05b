"""A study that stops by itself, with jobs that a test invents: what is run, in which order, and when it ends."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sweep.engines import Jobs, finished
from trustmm.report.page.evidence import evidence_page
from trustmm.report.runs.looks import read_looks
from trustmm.statistics.sequential import Reading
from trustmm.store.sweep_folder import LOOKS
from trustmm.study import evidence
from trustmm.study.evidence import Cell, Comparison, Found, comparisons_of, leave
from trustmm.study.evidence_options import EvidenceOptions
from trustmm.study.space import parse_space
from trustmm.sweep.engine import Outcome
from trustmm.sweep.launch import JobsFailed, SweepLauncher

PARAMS = {"corruption.eta": "0,0.4", "rectifier": "none,mr"}
Value = Callable[[dict[str, Any], int], float]


JOB = {"content_digest": "3abb15", "environment": {"blas": "Haswell", "host": "one"}, "inputs": []}


def study(
    monkeypatch: pytest.MonkeyPatch,
    value: Value,
    seconds: float = 1.0,
    params: Any = PARAMS,
    job: Callable[[dict[str, Any], int], dict[str, Any]] = lambda cell, seed: {},
    **options: Any,
) -> tuple[list[Comparison], list[list[tuple[Cell, int]]], EvidenceOptions, Any, Found]:
    """Comparisons at their end, and the jobs of every round; `job` says what else a result.json has."""
    wanted = EvidenceOptions(params=params, looks=[3, 4, 6, 8], **options)
    rounds = []

    def run(jobs: Sequence[tuple[Cell, int]], space: Any, options: Any, launcher: Any, found: Found) -> None:
        rounds.append(list(jobs))
        for cell, seed in jobs:
            found.values[cell, seed], found.seconds[cell, seed] = value(dict(cell), seed), seconds
            found.jobs[cell, seed] = JOB | job(dict(cell), seed)

    monkeypatch.setattr(evidence, "_run", run)
    space = parse_space(wanted.params, [])
    comparisons = comparisons_of(space, wanted)
    when = evidence.looks(wanted.looks, np.random.default_rng(0), num_draws=20_000)
    evidence._rounds(comparisons, space, wanted, when, None, found := Found())  # type: ignore[arg-type]
    return comparisons, rounds, wanted, when, found


def noisy(gains: dict[Any, float]) -> Value:
    """A gain by eta, and noise of 0.001 in the paired difference."""

    def value(cell: dict[str, Any], seed: int) -> float:
        noise = np.random.default_rng([seed, round(100 * float(cell["corruption.eta"]))]).standard_normal(2)
        gain = gains[cell["corruption.eta"]] + 0.001 * noise[1] if cell["rectifier"] == "mr" else 0.0
        return 0.05 + 0.01 * noise[0] + gain

    return value


def test_only_the_undecided_comparison_gets_more_seeds_and_base_cells_are_run_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    comparisons, rounds, *_ = study(monkeypatch, noisy({0: 0.0009, 0.4: 0.05}), futility=0.0)
    ended = {each.label: (each.ended, each.taken) for each in comparisons}
    assert ended["corruption.eta=0.4 rectifier=mr"] == ("better", 1)
    assert ended["corruption.eta=0 rectifier=mr"][1] > 1
    assert len(rounds[0]) == 12
    assert all(dict(cell)["corruption.eta"] == 0 for cell, _ in sum(rounds[1:], []))
    jobs = sum(rounds, [])
    assert len(set(jobs)) == len(jobs)


def test_a_base_is_shared_by_all_that_are_compared_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"corruption.eta": "0.4,0.5", "rectifier": "none,mr,mr_row_norm"}
    comparisons, rounds, *_ = study(monkeypatch, noisy({0.4: 0.05, 0.5: 0.05}), params=params)
    assert len(comparisons) == 4
    assert len(rounds[0]) == 18


def test_a_loss_an_equal_and_a_hopeless_comparison_end_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    (nought, damaged), *_ = study(monkeypatch, noisy({0: 0.0, 0.4: -0.05}), margin=0.5)
    assert (nought.ended, damaged.ended) == ("equivalent", "worse")
    (nought, _), *_ = study(monkeypatch, noisy({0: 0.0, 0.4: 0.05}), margin=0.0, futility=0.5)
    assert nought.ended == "futile"
    assert nought.taken < 4


def test_the_most_promising_per_second_of_its_next_look_is_served_first(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = noisy({0: 0.0009, 0.4: 0.0018})
    comparisons, rounds, *_ = study(monkeypatch, gains, futility=0.0, margin=0.0, max_jobs=14)
    assert [len(jobs) for jobs in rounds] == [12, 2]
    assert {dict(cell)["corruption.eta"] for cell, _ in rounds[1]} == {0.4}
    slow = {0: 1.0, 0.4: 1000.0}
    found = Found({}, {key: slow[dict(key[0])["corruption.eta"]] for key in rounds[0]})
    for each, chance in zip(comparisons, (0.2, 0.8), strict=True):
        each.reading, each.ended, each.taken = replace(some_reading(), chance=chance), "", 1
    options = EvidenceOptions(looks=[3, 4], max_jobs=14)
    (chosen,) = evidence._affordable(comparisons, found, options)
    assert dict(chosen.row)["corruption.eta"] == 0
    assert comparisons[1].ended == "budget spent"


def test_hours_are_those_of_jobs_and_a_look_that_would_exceed_them_is_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = noisy({0: 0.0009, 0.4: 0.0009})
    for hours, jobs in ((11, 12), (13.9, 12), (14, 14), (16, 16), (1000, 24)):
        options = {"futility": 0.0, "margin": 0.0, "alpha": 1e-6, "max_hours": hours}
        comparisons, rounds, *_ = study(monkeypatch, value, seconds=3600, **options)
        assert sum(map(len, rounds)) == jobs if jobs < 24 else sum(map(len, rounds)) == 32
        assert ("budget spent" in {each.ended for each in comparisons}) == (hours < 1000)


def some_reading() -> Reading:
    return Reading("undecided", estimate=0.1, t=1.0, low=-1.0, high=1.0, p=0.5, e=1.0, chance=0.5)


def test_holm_leaves_room_for_what_waited_and_the_verdict_is_that_of_its_strongest_look() -> None:
    def ended(p: float, path: list[tuple[float, float]], end: str = "") -> Comparison:
        lines = [{"p": least, "estimate": estimate} for least, estimate in path]
        reading = replace(some_reading(), p=p, estimate=path[-1][1])
        return Comparison((), (), (), "", reading=reading, ended=end, path=lines)

    strong = ended(0.001, [(0.001, 0.3)], "better")
    turned = ended(0.02, [(0.2, 0.1), (0.02, 0.2), (0.02, -0.001)])
    spent, hopeless = ended(0.025, [(0.025, -0.2)], "budget spent"), ended(0.026, [(0.026, 0.2)], "futile")
    evidence._settle(all_of_them := [strong, turned, spent, hopeless], EvidenceOptions(alpha=0.08))
    assert [each.ended for each in all_of_them] == ["better", "better", "worse", "better"]
    assert [each.path[-1]["p_holm"] for each in all_of_them] == pytest.approx([0.004, 0.06, 0.06, 0.06])
    evidence._settle(alone := [ended(0.2, [(0.2, 0.1)]), spent], EvidenceOptions(alpha=0.05))
    assert alone[0].ended == ""


def test_no_round_is_started_beyond_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    comparisons, rounds, *_ = study(monkeypatch, noisy({0: 0.0009, 0.4: 0.0009}), futility=0.0, max_jobs=13)
    assert sum(map(len, rounds)) == 12
    assert {each.ended for each in comparisons} == {"budget spent"}
    comparisons, rounds, *_ = study(monkeypatch, noisy({0: 0.0, 0.4: 0.0}), max_jobs=5)
    assert rounds == []


def test_a_comparison_whose_job_failed_ends_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    value = noisy({0: 0.05, 0.4: 0.05})
    missing = ((("corruption.eta", 0), ("rectifier", "mr")), 1)
    take = Found.obstacle

    def obstacle(self: Found, comparison: Comparison, seeds: int) -> str:
        self.values.pop(missing, None)
        return take(self, comparison, seeds)

    monkeypatch.setattr(Found, "obstacle", obstacle)
    (failed, fine), *_ = study(monkeypatch, value)
    assert (failed.ended, fine.ended) == ("failed", "better")


def test_every_look_is_a_line_behind_the_options_and_the_table_has_every_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    comparisons, _, options, when, found = study(monkeypatch, noisy({0: 0.0009, 0.4: 0.05}), futility=0.0)
    note = leave(comparisons, options, when, tmp_path, evidence_page, found)
    head, *lines = [json.loads(line) for line in (tmp_path / LOOKS).read_text().splitlines()]
    assert head["looks"] == [3, 4, 6, 8]
    assert len(lines) == sum(each.taken for each in comparisons)
    wanted = {"comparison", "seeds", "difference", "estimate", "t", "low", "high", "p", "p_holm", "e", "seconds"}
    assert wanted <= lines[-1].keys()
    assert head["nominal"] == when.nominal(0.05 / 2)
    assert all(each.label in note and each.ended in note for each in comparisons)
    assert (tmp_path / "evidence.png").stat().st_size > 1000


def test_lines_are_json_for_any_reader_and_the_last_look_says_how_a_comparison_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Differences without any spread have an infinite t; a comparison may end after its last look, by the budget."""

    def value(cell: dict[str, Any], seed: int) -> float:
        gain = 0.001 * seed * (-1) ** seed if cell["corruption.eta"] == 0 else 0.01
        return 0.5 + gain * (cell["rectifier"] == "mr")

    comparisons, _, options, when, found = study(monkeypatch, value, max_jobs=12, margin=0.0, futility=0.0)
    leave(comparisons, options, when, tmp_path, evidence_page, found)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    _, *lines = [
        json.loads(line, parse_constant=refuse) for line in (tmp_path / LOOKS).read_text(encoding="utf-8").splitlines()
    ]
    assert [(line["ended"], line["t"] is None) for line in lines] == [("budget spent", False), ("better", True)]
    (study_read,) = read_looks(tmp_path)
    assert study_read.paths == {line["comparison"]: ([line], line["ended"]) for line in lines}
    assert (study_read.metric, study_read.nominal) == ("recall@10", when.nominal(0.025))
    (tmp_path / LOOKS).write_text("{}\n{}\n", encoding="utf-8")
    assert read_looks(tmp_path) == []


@dataclass
class Engine(Jobs):
    """An engine whose jobs are functions; of the sweep it also has the end."""

    ends: list[tuple[str, str]] = field(default_factory=list)

    def finish(self, status: str, note: str) -> None:
        self.ends.append((status, note))


class Launcher(SweepLauncher):
    """As the pool's and Slurm's, with that engine."""

    def __init__(self, jobs: Engine) -> None:
        self.sweep = jobs  # type: ignore[assignment]

    def executor(self, num_tasks: int | None = None) -> Any:
        return self.sweep

    def prepare(self, overrides: Any, first_number: int = 0) -> Any:
        return self.sweep.prepare(overrides, first_number)


def test_any_engine_runs_a_study_a_failure_is_said_and_the_same_command_mends_it_and_decides_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(evidence, "looks", partial(evidence.looks, num_draws=20_000))
    value = noisy({0: 0.0, 0.4: 0.05})

    def made(values: dict[str, str]) -> dict[str, Any]:
        cell = {"corruption.eta": float(values["corruption.eta"]), "rectifier": values["rectifier"]}
        cell["corruption.eta"] = cell["corruption.eta"] or 0
        return JOB | {"seconds": 2.0, "test": {"recall@10": value(cell, int(values["seed"])), "ndcg@10": 0.0}}

    broken = True

    def objective(values: dict[str, str]) -> Outcome:
        fails = broken and values["seed"] == "2" and values["corruption.eta"] == "0" and values["rectifier"] == "mr"
        return Outcome("FAILED", "no memory") if fails else finished(recall_at_10=0.1)

    jobs = Engine(tmp_path, objective, slots=12, made=made)
    options = EvidenceOptions(params=PARAMS, looks=[3, 4, 6], margin=0.3)
    run = partial(evidence.run_evidence, options, [], tmp_path, Launcher(jobs), None, evidence_page)
    said = r"1 of 2 comparisons could not be made: corruption\.eta=0 rectifier=mr: failed"
    with pytest.raises(JobsFailed, match=said):
        run()
    assert (jobs.ends[0][0], len(jobs.started)) == ("FAILED", 12)
    broken = False
    first = [(each.label, each.ended, each.taken) for each in run()]
    assert dict((label, end) for label, end, _ in first) == {
        "corruption.eta=0 rectifier=mr": "equivalent",
        "corruption.eta=0.4 rectifier=mr": "better",
    }
    assert (jobs.ends[1][0], len(jobs.started)) == ("FINISHED", 13)
    assert "equivalent" in jobs.ends[1][1]
    lines = (tmp_path / LOOKS).read_text(encoding="utf-8")
    assert [(each.label, each.ended, each.taken) for each in run()] == first
    assert len(jobs.started) == 13
    assert (tmp_path / LOOKS).read_text(encoding="utf-8") == lines


def test_jobs_whose_data_differ_though_their_options_agree_are_not_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def job(cell: dict[str, Any], seed: int) -> dict[str, Any]:
        other = cell["rectifier"] == "mr" and cell["corruption.eta"] == 0.4 and seed == 2
        return {"content_digest": "747bc6"} if other else {}

    value = noisy({0: 0.05, 0.4: 0.05})
    comparisons, _, options, when, found = study(monkeypatch, value, job=job)
    assert [(each.ended, each.taken) for each in comparisons] == [("better", 1), ("data differ", 0)]
    note = leave(comparisons, options, when, tmp_path, evidence_page, found)
    assert "corruption.eta=0.4 rectifier=mr: data differ" in note
    params = {"dataset.content": "0,0.5", "corruption.eta": "0,0.4"}
    two_data = EvidenceOptions(params=params, compare="dataset.content", base=0)
    assert all(each.of_data for each in comparisons_of(parse_space(params, []), two_data))


def test_every_comparison_says_the_environments_of_both_sides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def job(cell: dict[str, Any], seed: int) -> dict[str, Any]:
        there = cell["rectifier"] == "mr" and cell["corruption.eta"] == 0.4
        return {"environment": {"blas": "SkylakeX", "host": "two"}} if there else {}

    comparisons, _, options, when, found = study(monkeypatch, noisy({0: 0.05, 0.4: 0.05}), job=job)
    note = leave(comparisons, options, when, tmp_path, evidence_page, found)
    rows = {line.split(" | ")[0].strip("| "): line.strip(" |").split(" | ")[-1] for line in note.splitlines()}
    assert rows["corruption.eta=0 rectifier=mr"] == "A"
    assert rows["corruption.eta=0.4 rectifier=mr"] == "B vs A"
    assert "Environment B: blas SkylakeX (3 jobs on two)" in note
    head, *lines = [json.loads(line) for line in (tmp_path / LOOKS).read_text().splitlines()]
    assert len(head["environments"]) == 2
    assert {line["environment"] for line in lines} == {"A", "B vs A"}


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        ({**PARAMS, "seed": "0,1"}, {}, "remove seed from"),
        ({"corruption.eta": "0,0.4"}, {}, "compare=rectifier must be a key that varies, one of: corruption.eta"),
        (PARAMS, {"base": "trust"}, "base=trust must be one of at least two values of rectifier"),
    ],
)
def test_a_study_that_compares_nothing_is_refused(params: Any, options: Any, message: str) -> None:
    wanted = EvidenceOptions(params=params, **options)
    with pytest.raises(ValueError, match=message):
        comparisons_of(parse_space(params, []), wanted)


def test_impossible_options_name_their_key() -> None:
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.alpha"):
        evidence.check_options(EvidenceOptions(alpha=2))
    with pytest.raises(ValueError, match=r"hydra\.sweeper\.sided"):
        evidence.check_options(EvidenceOptions(sided=3))
