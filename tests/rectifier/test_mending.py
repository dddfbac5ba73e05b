"""Trust, smooth and oracle: who moves, who stays bit for bit, and who is told what."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.corruption.stress import Damage
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.job import CachedSearch, choosable_of, rectify
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier.diagnostics import reliability, repair_diagnostics
from trustmm.rectifier.oracle import OracleRectifier
from trustmm.rectifier.rematch import rematched
from trustmm.rectifier.smooth import SmoothRectifier
from trustmm.rectifier.trust import TrustRectifier, words
from trustmm.store.cache import Cache
from trustmm.trust.mismatch import Trust
from trustmm.trust.storey import Estimate

CPU = torch.device("cpu")
NUM_ITEMS, COLD = 400, 25
BASE: dict[str, Any] = {
    "impute": "neighbours",
    "weight": "gate",
    "threshold": 0.5,
    "mask": False,
    "rematch": False,
    "smooth": 0.0,
    "k": 10,
}
TRUST = TrustRectifier(views=["anchor", "structure", "modalities", "degree"], **BASE)
ORACLE = OracleRectifier(**BASE)


def make(eta: float = 0.25, seed: int = 0) -> tuple[TrainData, Prior, Damage, dict[str, np.ndarray]]:
    """Items in 20 kinds; anchors and two modalities follow the kind; the last items are cold."""
    rng = np.random.default_rng(seed)
    kind = rng.standard_normal((20, 8))[rng.integers(0, 20, NUM_ITEMS)]
    taste = kind + 0.3 * rng.standard_normal((NUM_ITEMS, 8))
    keys = np.unique(rng.integers(0, 90, 4000) * NUM_ITEMS + rng.integers(0, NUM_ITEMS - COLD, 4000))
    edges = Edges.from_keys(keys, 90, NUM_ITEMS)
    clean, observed, touched = {}, {}, {}
    for name, width in (("textual", 10), ("visual", 14)):
        clean[name] = (taste @ rng.standard_normal((8, width)) + 2).astype(np.float32)
        chosen = rng.permutation(NUM_ITEMS)[: int(eta * NUM_ITEMS)]
        observed[name], touched[name] = clean[name].copy(), np.zeros(NUM_ITEMS, dtype=bool)
        observed[name][chosen] = clean[name][np.roll(chosen, 1)]
        touched[name][chosen] = True
    none = Edges.from_keys(np.empty(0, dtype=np.int64), 90, NUM_ITEMS)
    anchors = (taste + 0.1 * rng.standard_normal(taste.shape)).astype(np.float32)
    damage = Damage(dict.fromkeys(clean, eta), touched, none, none)
    return TrainData(edges, edges, observed), Prior(np.zeros((90, 8), np.float32), anchors), damage, clean


def run(options: Any, train: TrainData, prior: Prior, damage: Damage, cache: Path | None = None) -> Any:
    known = {"touched": damage.touched} if isinstance(options, OracleRectifier) else {}
    return options(train, lambda: prior, eta=damage.eta, seed=0, cache=Cache(cache), device=CPU, **known)


def believed(share: float, probability: np.ndarray) -> dict[str, Trust]:
    return dict.fromkeys(("textual", "visual"), Trust(probability, Estimate(share, 0.01), {}))


@pytest.mark.parametrize("impute", ["ridge", "neighbours", "none"])
@pytest.mark.parametrize("weight", ["soft", "gate"])
@pytest.mark.parametrize("rematch", [False, True])
def test_features_that_are_not_doubted_stay_bit_for_bit(impute: Any, weight: Any, rematch: bool) -> None:
    """Also negative zeros, which 1 x + 0 m would not keep."""
    train, prior, damage, _ = make()
    train.features["visual"][:, 0] = -0.0
    probability = np.where(damage.touched["visual"], 0.9, 0.0)
    options = replace(TRUST, impute=impute, weight=weight, rematch=rematch)
    mended, mends = options.mend(train, prior.item_ID, believed(0.25, probability), seed=0, device=CPU)
    warm = train.propagation.item_degree > 0
    for name, observed in train.features.items():
        moved = damage.touched["visual"] & warm & (impute != "none")
        assert mended.features[name][~moved].tobytes() == observed[~moved].tobytes()
        assert (mended.features[name][moved] != observed[moved]).any(axis=1).all()
        assert_allclose(mends[name].weight[moved], 0.9 if weight == "soft" else 1.0)


def test_no_doubt_at_all_is_the_input_itself() -> None:
    train, prior, _, _ = make()
    mended, _ = TRUST.mend(train, prior.item_ID, believed(0.0, np.zeros(NUM_ITEMS)), seed=0, device=CPU)
    assert all(mended.features[name] is matrix for name, matrix in train.features.items())


@pytest.mark.parametrize("options", [TRUST, replace(TRUST, smooth=0.5, mask=True, impute="ridge")])
def test_hopeless_features_stay_bit_for_bit_and_the_log_says_why(options: Any, caplog: Any) -> None:
    train, prior, damage, _ = make(eta=1.0)
    with caplog.at_level("INFO"):
        mended, mends = run(options, train, prior, damage)
    for name, matrix in train.features.items():
        assert mended.features[name] is matrix
        assert mends[name].trust.hopeless
        assert f"the {name} features do not match their items" in caplog.text
    assert not mended.choosable


def test_log_says_how_much_is_wrong_or_that_nobody_can_know() -> None:
    some, few = Trust(np.zeros(3), Estimate(0.214, 0.011), {}), Trust(np.zeros(3), Estimate(np.nan, np.nan), {})
    assert words("visual", some) == "about 21% of the visual features (standard error 1.1%) are not their item's"
    assert words("visual", few).startswith("too few items with training edges")


@pytest.mark.parametrize("impute", ["ridge", "neighbours"])
def test_mended_features_come_nearer_to_the_clean_ones_and_right_ones_hardly_move(impute: Any) -> None:
    train, prior, damage, clean = make()
    for options, least in ((TRUST, 0.3), (ORACLE, 0.4)):
        mended, _ = run(replace(options, impute=impute), train, prior, damage)
        for name, touched in damage.touched.items():
            warm = train.propagation.item_degree > 0
            before, after = (
                np.linalg.norm(matrix - clean[name], axis=1) for matrix in (train.features[name], mended.features[name])
            )
            assert after[touched & warm].mean() < (1 - least) * before[touched & warm].mean()
            assert (after[~touched] > 0).mean() < 0.1


def test_oracle_moves_exactly_the_touched_and_learns_from_the_others() -> None:
    train, prior, damage, _ = make()
    mended, mends = run(ORACLE, train, prior, damage)
    warm = train.propagation.item_degree > 0
    for name, touched in damage.touched.items():
        moved = (mended.features[name] != train.features[name]).any(axis=1)
        assert_array_equal(moved, touched & warm)
    other = {name: matrix.copy() for name, matrix in train.features.items()}
    other["visual"][damage.touched["visual"]] *= 1.5
    again, _ = run(ORACLE, replace(train, features=other), prior, damage)
    keep = damage.touched["visual"] & warm
    assert_allclose(again.features["visual"][keep], mended.features["visual"][keep], rtol=1e-5)


def test_only_the_oracle_is_told_what_was_touched() -> None:
    train, prior, damage, _ = make()
    for rectifier in (TRUST, SmoothRectifier(smooth=0.5, k=10)):
        assert "touched" not in inspect.signature(type(rectifier).__call__).parameters
        job: Any = type(
            "Job", (), {"rectifier": rectifier, "seed": 0, "training": type("T", (), {"torch_device": CPU})}
        )
        blind = replace(damage, touched={name: ~mask for name, mask in damage.touched.items()})
        first, second = (rectify(job, train, one, lambda: prior, Cache(None))[0] for one in (damage, blind))
        for name in train.features:
            assert_array_equal(first.features[name], second.features[name])
    job.rectifier = ORACLE
    first, second = (rectify(job, train, one, lambda: prior, Cache(None))[0] for one in (damage, blind))
    assert not np.array_equal(first.features["visual"], second.features["visual"])


def test_smooth_is_the_mix_with_the_mean_of_the_neighbours() -> None:
    train, prior, damage, _ = make()
    smoothed, mends = run(SmoothRectifier(smooth=0.25, k=3), train, prior, damage)
    warm = np.flatnonzero(train.propagation.item_degree)
    unit = prior.item_ID[warm] / np.linalg.norm(prior.item_ID[warm], axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    best = np.argsort(-cosine, axis=1)[:, :3]
    weight = np.maximum(np.take_along_axis(cosine, best, 1), 0)
    for name, observed in train.features.items():
        rows = observed[warm]
        mean = (weight[:, :, None] * rows[best]).sum(1) / weight.sum(1, keepdims=True)
        mean *= np.linalg.norm(rows, axis=1).mean() / np.linalg.norm(mean, axis=1, keepdims=True)
        assert_allclose(smoothed.features[name][warm], 0.75 * rows + 0.25 * mean, rtol=1e-4, atol=1e-5)
        cold = train.propagation.item_degree == 0
        assert_array_equal(smoothed.features[name][cold], observed[cold])
        assert mends[name].trust is None


def test_masked_suspects_are_chosen_by_nobody_and_still_choose() -> None:
    train, prior, damage, _ = make()
    mended, mends = run(replace(ORACLE, mask=True), train, prior, damage)
    search = CachedSearch(Cache(None), CPU, choosable_of(mended))
    for name, touched in damage.touched.items():
        suspect = touched & (train.propagation.item_degree > 0)
        found = search(mended.features[name], k=10)
        assert not suspect[found.index[found.linked].numpy()].any()
        assert found.linked.all()
        assert_array_equal(mends[name].choosable, ~suspect)
    assert CachedSearch(Cache(None), CPU, choosable_of(train))(mended.features["visual"], k=10).linked.all()


def test_mask_is_in_the_key_of_the_item_graph(tmp_path: Path) -> None:
    train, prior, damage, _ = make()
    masked, _ = run(replace(ORACLE, mask=True, impute="none"), train, prior, damage)
    for data in (train, masked):
        CachedSearch(Cache(tmp_path), CPU, choosable_of(data))(data.features["visual"], k=5)
    assert len(list((tmp_path / "nearest").glob("*.npz"))) == 2


def test_suspects_find_their_own_features_among_those_of_the_others() -> None:
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((40, 30)).astype(np.float32)
    moved = np.roll(clean, 1, axis=0)
    found = rematched(clean + 0.3 * rng.standard_normal(clean.shape).astype(np.float32), moved)
    cosine = (found * clean).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(clean, axis=1)
    assert cosine.min() > 0.9
    stay = rematched(moved, moved)
    assert (np.abs(stay - moved).max(axis=1) > 0.1).all()


def test_cached_probabilities_equal_the_computed_ones(tmp_path: Path) -> None:
    train, prior, damage, _ = make()
    (first, one), (second, two) = (run(TRUST, train, prior, damage, tmp_path) for _ in range(2))
    for name in train.features:
        assert_array_equal(first.features[name], second.features[name])
        assert_array_equal(one[name].trust.probability, two[name].trust.probability)
        assert one[name].trust.eta == two[name].trust.eta
        assert one[name].trust.views.keys() == two[name].trust.views.keys()
    run(replace(TRUST, impute="ridge", smooth=0.3), train, prior, damage, tmp_path)
    assert len(list((tmp_path / "trust").glob("*.npz"))) == 1
    run(replace(TRUST, views=["anchor"]), train, prior, damage, tmp_path)
    assert len(list((tmp_path / "trust").glob("*.npz"))) == 2


def test_diagnostics_judge_the_probabilities_where_the_truth_is_known() -> None:
    train, prior, damage, clean = make()
    cold = train.propagation.item_degree == 0
    for options in (TRUST, ORACLE, SmoothRectifier(smooth=0.5, k=10)):
        mended, mends = run(options, train, prior, damage)
        table = repair_diagnostics(clean, train.features, mended.features, mends, damage, cold, device=CPU)
        for name in clean:
            assert 0 <= table[f"{name}/untouched/rectified_knn_overlap"] <= 1
            if options is ORACLE:
                assert (table[f"{name}/brier"], table[f"{name}/touched_auc"]) == (0, 1)
            elif options is TRUST:
                assert table[f"{name}/brier"] < table[f"{name}/brier_constant"]
                assert (
                    sum(v for key, v in table.items() if key.startswith(name) and key.endswith("_items"))
                    == (~cold).sum()
                )
            else:
                assert f"{name}/brier" not in table


def test_reliability_compares_what_was_said_with_what_is_true() -> None:
    found = dict(reliability(np.array([0.0, 0.05, 0.95, 1.0]), np.array([False, True, True, True])))
    assert found == {0.0: (2, pytest.approx(0.025), 0.5), 0.9: (2, pytest.approx(0.975), 1.0)}


@pytest.mark.parametrize("impute", ["neighbours", "ridge"])
@pytest.mark.parametrize("power", [-96, 90])
def test_a_repair_is_the_same_in_every_unit(power: int, impute: str) -> None:
    train, prior, damage, _ = make()
    rectifier = OracleRectifier(**(BASE | {"impute": impute, "smooth": 0.5}))
    scaled = replace(train, features={name: np.ldexp(matrix, power) for name, matrix in train.features.items()})
    (one, _), (other, _) = (run(rectifier, data, prior, damage) for data in (train, scaled))
    for name, expected in one.features.items():
        assert_allclose(np.ldexp(other.features[name], -power), expected, rtol=1e-4, atol=1e-6)
