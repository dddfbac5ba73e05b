"""Verdicts follow the rules and never say more than the runs show."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.report.conftest import Sweep, curves
from trustmm.report.evidence.claims import CLAIMS
from trustmm.report.evidence.published import facts
from trustmm.report.evidence.verdict import above, below, every, most, settle, some_above, within
from trustmm.report.runs.read import read_sweeps
from trustmm.report.table.claims import claim_tables
from trustmm.statistics.seeds import Interval, over_seeds

NOISES = (-0.15, -0.1, -0.05, 0, 0.05, 0.1, 0.15)


def verdicts(sweep: Sweep) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Verdict by claim: of the paper's data, and of these data."""
    paper, *local = claim_tables(read_sweeps([sweep.folder]))
    names = dict(zip(CLAIMS, (row[-2] for row in paper.rows), strict=True))
    return names, {row[0]: row[-3] for table in local for row in table.rows if row[0]}


def gap(seed: int) -> float:
    return 0.0001 * (seed - 2)


def figure2(backbone: str, eta: float, rectifier: str, seed: int) -> float:
    """What the paper says: FREEDOM falls, VBPR hardly, the repair gains more the more is wrong."""
    lost = {"freedom": 0.06, "vbpr": 0.01}[backbone] * eta
    return 0.07 - lost + gap(seed) + (0.001 + 0.01 * eta + gap(seed) / 10) * (rectifier == "mr")


def test_every_claim_of_the_file_is_checked() -> None:
    assert list(CLAIMS) == list(facts()["claims"])


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ([(0.1, 0.2), (0.1, 0.3)], "supported"),
        ([(0.1, 0.2), (-0.1, 0.3)], "undecided"),
        ([(0.1, 0.2), (-0.3, -0.1)], "not supported"),
    ],
)
def test_every_must_hold(effects: list[tuple[float, float]], verdict: str) -> None:
    made = [above("x", Interval((low + high) / 2, low, high, 0.01, 5)) for low, high in effects]
    assert every(made) == verdict


def test_one_of_many_must_survive_holm() -> None:
    found = [above("x", Interval(0.1, 0.001, 0.2, 0.04, 5)), above("y", over_seeds([0.1, -0.1]))]
    assert some_above(found[:1]) == "supported"
    assert some_above(found) == "undecided"


def test_most_is_more_than_half() -> None:
    low, high = below("x", Interval(-1, -2, -0.5, 0.01, 5)), below("x", Interval(1, 0.5, 2, 0.01, 5))
    unknown = below("x", Interval(0, -1, 1, 1, 5))
    assert most([low, low, unknown]) == "supported"
    assert most([low, unknown]) == "undecided"
    assert most([low, high]) == "not supported"


def test_equivalence_needs_the_whole_interval_inside() -> None:
    assert within("x", Interval(0, -0.01, 0.01, 1, 5), 0.02).holds
    assert not within("x", Interval(0, -0.03, 0.01, 1, 5), 0.02).holds
    assert within("x", Interval(0.05, 0.03, 0.07, 0, 5), 0.02).opposed


def test_few_seeds_and_missing_cells_limit_every_verdict() -> None:
    good = [above("x", Interval(1, 0.5, 2, 0.01, 3))]
    assert settle("supported", good, min_seeds=5, complete=True) == ("undecided", "3 of 5 seeds")
    assert settle("not supported", good, min_seeds=5, complete=True)[0] == "undecided"
    assert settle("supported", good, min_seeds=3, complete=False) == ("not measured", "cells missing")
    assert settle("supported", [], min_seeds=3, complete=True)[0] == "not measured"


def test_paper_claims_on_paper_data_are_supported_where_the_runs_show_it(new_sweep: Callable[[str], Sweep]) -> None:
    sweep = new_sweep("both")
    for dataset in ("baby", "sports"):
        curves(sweep, figure2, dataset=dataset)
    paper, local = verdicts(sweep)
    assert [paper[name] for name in ("rect_above", "widens", "vbpr_flat")] == ["supported"] * 3
    assert paper["clean"] == "not measured"  # two of five backbones
    assert local["clean"] == "supported"


def test_one_seed_leaves_everything_undecided(sweep: Sweep) -> None:
    for dataset in ("baby", "sports"):
        curves(sweep, figure2, dataset=dataset, seeds=(0,))
    paper, local = verdicts(sweep)
    assert {paper["rect_above"], paper["widens"], paper["vbpr_flat"], local["clean"]} == {"undecided"}


@pytest.mark.parametrize("dataset", ["synthetic", "sports_attr"])
def test_other_data_say_nothing_about_the_paper(sweep: Sweep, dataset: str) -> None:
    curves(sweep, figure2, dataset=dataset)
    paper, local = verdicts(sweep)
    assert set(paper.values()) == {"not measured", "no verdict"}
    assert local["rect_above"] == "supported"


def test_opposite_effect_is_not_supported(sweep: Sweep) -> None:
    curves(sweep, lambda *cell: 0.14 - figure2(*cell), dataset="baby", etas=(0, 0.2, 0.5))
    paper, local = verdicts(sweep)
    assert paper["rect_above"] == "not supported"  # one cell that contradicts "every" is enough
    assert local["widens"] == "not supported"


def test_knobs_are_chosen_by_validation_and_tau_is_an_equivalence(sweep: Sweep) -> None:
    for seed in range(5):
        for lam in (0, 0.3, 0.5, 0.6, 1):
            sweep.add(0.05 + lam * (1 - lam) / 100 + gap(seed), eta=0.2, rectifier="mr", lam=lam, seed=seed)
        for tau in (0.05, 0.2, 0.5):
            sweep.add(0.0525 - 0.003 * (tau == 0.5) + gap(seed), eta=0.2, rectifier="mr", tau=tau, seed=seed)
    _, local = verdicts(sweep)
    assert (local["lambda"], local["tau"]) == ("supported", "supported")


def ablation(sweep: Sweep, values: Mapping[str, float]) -> None:
    for seed in range(5):
        for name, value in values.items():
            hubs = {"visual/hub_gini": 0.01, "visual/hub_gini_row_norm": 0.4 + gap(seed)} if name == "mr" else {}
            noise = gap(seed) * (1.1 if name == "mr" else 1)
            sweep.add(value + noise, eta=0.2, rectifier=name, seed=seed, diagnostics=hubs)


def test_ablation_and_hubness(sweep: Sweep) -> None:
    ablation(sweep, {"none": 0.05, "mr": 0.06, "mr_row_norm": 0.055, "mr_all_pairs": 0.065})
    _, local = verdicts(sweep)
    names = ("sinkhorn", "small_loss", "base_worst", "hubness")
    assert [local[name] for name in names] == ["supported", "not supported", "supported", "supported"]


def edits(sweep: Sweep, gain: Callable[[str, str, float], float], **fixed: Any) -> None:
    for seed in range(5):
        for noise in NOISES:
            base = {"backbone": "mgcn", "eta_e": noise, "seed": seed, **fixed}
            sweep.add(0.06 + gap(seed), **base)
            for op in ("complete", "prune"):
                for mode in ("train_only", "graph_only", "both"):
                    value = 0.06 + gap(seed) * 1.2 + gain(op, mode, noise)
                    edited = value + 0.002 + gap(seed) / 10
                    sweep.add(value, edit=mode, op=op, edited=edited, **base)


def test_edge_editing_claims(sweep: Sweep) -> None:
    size = {"train_only": 2, "graph_only": 1, "both": 4}
    edits(sweep, lambda op, mode, noise: 0.002 * size[mode] * (1 - 20 * abs(noise)), dataset="baby")
    paper, local = verdicts(sweep)
    names = ("edit_clean", "edit_noise", "edit_volatile", "edit_compound", "filter_artefact")
    assert [paper[name] for name in names] == ["supported"] * 5
    assert [local[name] for name in names] == ["supported"] * 5


def test_only_images_wrong(sweep: Sweep) -> None:
    for seed in range(5):
        for rectifier in ("none", "mr"):
            gain = (0.007 + gap(seed) / 10) * (rectifier == "mr")
            sweep.add(0.05 + gain, dataset="baby", eta_of={"visual": 0.2}, rectifier=rectifier, seed=seed)
    assert verdicts(sweep)[0]["plus_0007"] == "supported"


def test_other_options_are_kept_apart(sweep: Sweep) -> None:
    for rate in (0.001, 0.01):
        curves(sweep, figure2, etas=(0, 0.2), learning_rate=rate)
    _, local = claim_tables(read_sweeps([sweep.folder]))
    labels = {row[1] for row in local.rows if row[0] == "rect_above"}
    assert labels == {"synthetic training.learning_rate=0.001", "synthetic training.learning_rate=0.01"}


def test_a_claim_about_every_cell_falls_by_one_that_stays_after_the_correction() -> None:
    low = Interval(-0.1, -0.199, -0.001, 0.049, 5)
    assert every([above("x", low)]) == "not supported"
    assert every([above("x", low), above("y", over_seeds([0.1, 0.1, 0.2]))]) == "undecided"


def test_a_claim_about_most_cells_is_not_refuted_by_a_few(sweep: Sweep) -> None:
    for seed in range(5):
        for noise in (0, 0.05):
            base = {"dataset": "baby", "backbone": "mgcn", "eta_e": noise, "seed": seed}
            sweep.add(0.05 + gap(seed), **base)
            sweep.add(0.06 + noise + gap(seed) * 1.1, edit="train_only", op="prune", **base)
    paper, local = verdicts(sweep)
    assert (paper["edit_noise"], local["edit_noise"]) == ("not measured", "not supported")


def test_small_losses_within_the_margin_do_not_refute_part_of_table_2(sweep: Sweep) -> None:
    for seed in range(5):
        for rectifier in ("none", "mr"):
            loss = (0.0005 + gap(seed) / 100) * (rectifier == "mr")
            sweep.add(0.07 + gap(seed) - loss, dataset="baby", rectifier=rectifier, seed=seed)
    assert verdicts(sweep)[0]["clean"] == "not measured"


def test_other_settings_do_not_spoil_a_verdict(sweep: Sweep) -> None:
    for dataset in ("baby", "sports"):
        curves(sweep, figure2, dataset=dataset)
    for seed in range(5):
        for rectifier in ("none", "mr"):
            value = 0.05 - (0.01 + gap(seed)) * (rectifier == "mr")
            sweep.add(value, dataset="baby", eta=0.2, rectifier=rectifier, learning_rate=0.5, seed=seed)
    assert verdicts(sweep)[0]["rect_above"] == "supported"


def test_a_search_on_the_same_data_takes_no_claim_away(new_sweep: Callable[[str], Sweep]) -> None:
    study, search = new_sweep("study"), new_sweep("search")
    for dataset in ("baby", "sports"):
        curves(study, figure2, dataset=dataset)
    for trial in range(8):
        search.add(0.1, dataset="baby", eta=0.2, rectifier="mr", lam=0.1 * trial, learning_rate=0.001 * (trial + 1))
    (search.folder / "study.md").write_text("# study\n", encoding="utf-8")
    paper, *_ = claim_tables(read_sweeps([study.folder, search.folder]))
    assert dict(zip(CLAIMS, (row[-2] for row in paper.rows), strict=True))["rect_above"] == "supported"


def test_too_many_settings_are_said(sweep: Sweep) -> None:
    for rate in range(1, 9):
        sweep.add(0.1, dataset="baby", learning_rate=0.001 * rate)
    paper, *_ = claim_tables(read_sweeps([sweep.folder]))
    assert "Left out: baby, with more than 6 settings" in paper.caption


def test_an_option_of_one_rectifier_keeps_the_others_in_every_setting(sweep: Sweep) -> None:
    ablation(sweep, {"none": 0.05, "mr": 0.06, "mr_row_norm": 0.055, "mr_all_pairs": 0.04})
    before = verdicts(sweep)[1]
    for seed in range(5):
        sweep.add(0.061 + gap(seed), eta=0.2, rectifier="mr", rho=0.8, seed=seed)
    _, *local = claim_tables(read_sweeps([sweep.folder]))
    rows = [row for row in local[0].rows if row[0] == "small_loss"]
    assert before["small_loss"] == "supported"
    assert [(row[1], row[-3]) for row in rows] == [
        ("synthetic rectifier.rho=0.8", "supported"),
        ("synthetic rectifier.rho=estimate", "supported"),
    ]


def test_lam_without_common_seeds_is_not_measured_and_no_crash(sweep: Sweep) -> None:
    for seed, lam in ((0, 0.5), (1, 1)):
        sweep.add(0.1, eta=0.2, rectifier="mr", lam=lam, seed=seed)
    assert "lambda" not in verdicts(sweep)[1]
