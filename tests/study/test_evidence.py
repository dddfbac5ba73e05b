"""A study that stops by itself, with jobs that a test invents: what is run, in which order, and when it ends."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trustmm.report.page.evidence import evidence_page
from trustmm.study import evidence
from trustmm.study.evidence import LINES, Cell, Comparison, Found, comparisons_of, leave
from trustmm.study.evidence_options import EvidenceOptions
from trustmm.study.space import parse_space

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
    head, *lines = [json.loads(line) for line in (tmp_path / LINES).read_text().splitlines()]
    assert head["looks"] == [3, 4, 6, 8]
    assert len(lines) == sum(each.taken for each in comparisons)
    assert {"comparison", "seeds", "difference", "estimate", "low", "high", "p", "e", "seconds"} <= lines[0].keys()
    assert all(each.label in note and each.ended in note for each in comparisons)
    assert (tmp_path / "evidence.png").stat().st_size > 1000


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
    head, *lines = [json.loads(line) for line in (tmp_path / LINES).read_text().splitlines()]
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
