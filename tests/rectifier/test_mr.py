"""The whole rectifier against a dense float64 computation of Eqs. 9-14, and what it promises about single rows."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from trustmm.dataset.data import TrainData
from trustmm.graph import sparse
from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier import mr
from trustmm.rectifier.mr import ModalityRectifier, Repair, mix
from trustmm.rectifier.none import NoRectifier
from trustmm.rectifier.projection import ProjectionTraining, fit_projections
from trustmm.seeding import stream
from trustmm.store.cache import Cache
from trustmm.trust.storey import Estimate

CPU = torch.device("cpu")
NUM_USERS, NUM_ITEMS, WIDTH = 17, 29, 6
EVERYTHING = ("mismatch", "projection", "plan")
LONGER = ProjectionTraining(epochs=16, learning_rate=0.02, batch_size=16)
COLD = 4
"""The last items, without interactions."""
OPTIONS = ModalityRectifier(
    lam=0.5,
    tau=0.1,
    k=5,
    rho=0.8,
    matching="sinkhorn",
    num_sweeps=50,
    eps=1e-8,
    support="paper",
    cold="rectify",
    projection=ProjectionTraining(epochs=15, learning_rate=0.02, batch_size=16),
)


def make_train(seed: int = 0, num_items: int = NUM_ITEMS, cold: int = COLD) -> tuple[TrainData, Prior]:
    rng = np.random.default_rng(seed)
    items = np.arange(num_items - cold)
    edges = Edges.of(items % NUM_USERS, items, NUM_USERS, num_items)
    taste = rng.standard_normal((num_items, WIDTH))
    widths = {"visual": 11, "textual": 8}
    features = {
        name: (taste @ rng.standard_normal((WIDTH, width)) + 0.1 * rng.standard_normal((num_items, width))).astype("f4")
        for name, width in widths.items()
    }
    users = rng.standard_normal((NUM_USERS, WIDTH)).astype(np.float32)
    return TrainData(edges, edges, features), Prior(users, taste.astype(np.float32))


def rectify(
    options: ModalityRectifier,
    train: TrainData,
    prior: Prior,
    *,
    eta: float = 0.0,
    seed: int = 0,
    cache: Path | None = None,
) -> tuple[TrainData, dict[str, Repair]]:
    injected = dict.fromkeys(train.features, eta)
    return options(train, lambda: prior, eta=injected, seed=seed, cache=Cache(cache), device=CPU)


def dense_plan(anchors: NDArray[Any], projected: NDArray[Any], options: ModalityRectifier) -> NDArray[np.float64]:
    """Eqs. 9-12 with full matrices in float64."""
    anchors, projected = anchors.astype(np.float64), projected.astype(np.float64)
    anchors = anchors / np.maximum(np.linalg.norm(anchors, axis=1, keepdims=True), 1e-12)
    projected = projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)
    similarity = anchors @ projected.T
    pattern = np.eye(len(anchors), dtype=bool)
    np.put_along_axis(pattern, np.argsort(-similarity, axis=1, kind="stable")[:, : options.k], True, axis=1)
    if options.support == "symmetric":
        pattern |= pattern.T
    affinity = np.exp(similarity / options.tau) * pattern
    if options.matching == "row_norm":
        return affinity / affinity.sum(1, keepdims=True)
    v = np.ones(len(anchors))
    for _ in range(options.num_sweeps):
        u = 1 / (affinity @ v + options.eps)
        v = 1 / (affinity.T @ u + options.eps)
    return u[:, None] * affinity * v


def projected_rows(options: ModalityRectifier, train: TrainData, prior: Prior, name: str) -> NDArray[np.float32]:
    """Step 1 with the stream that the rectifier names."""
    observed = torch.from_numpy(train.features[name])
    members = torch.ones(train.num_items, 1, dtype=torch.bool)
    rng = stream(0, "rectifier", "projection", name)
    anchors = torch.from_numpy(prior.item_ID)
    maps = fit_projections(observed, anchors, members, rho=options.rho, training=options.projection, rng=rng)
    return maps(observed)[:, 0].numpy()


@pytest.mark.parametrize("matching", ["sinkhorn", "row_norm"])
@pytest.mark.parametrize("support", ["paper", "symmetric"])
@pytest.mark.parametrize("lam", [0.0, 0.5, 0.9])
def test_rectified_features_equal_the_dense_computation(matching: Any, support: Any, lam: float) -> None:
    options = replace(OPTIONS, matching=matching, support=support, lam=lam)
    train, prior = make_train()

    rectified, repairs = rectify(options, train, prior)

    for name, observed in train.features.items():
        projected = projected_rows(options, train, prior, name)
        plan = dense_plan(prior.item_ID, projected, options)
        expected = lam * observed.astype(np.float64) + (1 - lam) * plan @ observed
        repair = repairs[name]
        assert_allclose(rectified.features[name], expected, rtol=1e-4, atol=1e-5)
        assert_allclose(repair.row_mass, plan.sum(1), rtol=1e-4)
        assert_allclose(repair.column_mass, plan.sum(0), rtol=1e-4)
        assert_allclose(repair.diagonal, np.diag(plan), rtol=1e-4)
        plain = dense_plan(prior.item_ID, projected, replace(options, matching="row_norm"))
        assert_allclose(repair.column_mass_row_norm, plain.sum(0), rtol=1e-4)
        anchors = prior.item_ID / np.linalg.norm(prior.item_ID, axis=1, keepdims=True)
        assert_allclose(repair.alignment, (anchors * projected).sum(1), rtol=1e-4, atol=1e-6)
        assert repair.num_sweeps == (50 if matching == "sinkhorn" else 0)


def test_rectifier_leaves_its_input_alone_and_changes_features_only() -> None:
    train, prior = make_train()
    before = {name: matrix.copy() for name, matrix in train.features.items()}
    anchors = prior.item_ID.copy()
    rectified, _ = rectify(OPTIONS, train, prior)
    for name, matrix in before.items():
        assert_array_equal(train.features[name], matrix)
        assert rectified.features[name].shape == matrix.shape
        assert rectified.features[name].dtype == np.float32
        assert np.abs(rectified.features[name] - matrix).max() > 0.01
    assert_array_equal(prior.item_ID, anchors)
    assert rectified.supervision is train.supervision
    assert rectified.propagation is train.propagation


@pytest.mark.parametrize("lam", [1, 1.0])
def test_lam_one_returns_the_input_bitwise(lam: float) -> None:
    train, prior = make_train()
    rectified, repairs = rectify(replace(OPTIONS, lam=lam), train, prior)
    for name, matrix in train.features.items():
        assert rectified.features[name] is matrix
        assert np.isfinite(repairs[name].row_mass).all()


def test_repair_has_one_number_per_item_and_scalars() -> None:
    _, repairs = rectify(OPTIONS, *make_train())
    assert sorted(repairs) == ["textual", "visual"]
    for repair in repairs.values():
        for name in ("alignment", "diagonal", "row_mass", "column_mass", "column_mass_row_norm"):
            assert getattr(repair, name).shape == (NUM_ITEMS,)
            assert np.isfinite(getattr(repair, name)).all()
        assert repair.rho == 0.8
        assert np.isnan(repair.eta_hat)


def test_permuted_copies_of_the_anchors_are_brought_home() -> None:
    """Features are the anchors, 30 % of them permuted; the plan gives each item its own back."""
    train, prior = make_train(num_items=61, cold=0)
    rng = np.random.default_rng(3)
    anchors = rng.standard_normal((61, 12)).astype(np.float32)
    anchors /= np.linalg.norm(anchors, axis=1, keepdims=True)
    chosen = np.arange(18)
    source = np.arange(61)
    source[chosen] = np.roll(chosen, 1)
    train = replace(train, features={"visual": anchors[source]})
    training = ProjectionTraining(epochs=300, learning_rate=0.02, batch_size=61)
    options = replace(OPTIONS, lam=0.0, tau=0.02, k=10, rho=0.6, projection=training)

    rectified, repairs = rectify(options, train, Prior(prior.user_UD, anchors))

    cosine = (rectified.features["visual"] * anchors).sum(1) / np.linalg.norm(rectified.features["visual"], axis=1)
    assert cosine.min() > 0.99
    assert repairs["visual"].diagonal[chosen].max() < 0.05
    assert repairs["visual"].diagonal[18:].min() > 0.9


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("k", [1, 7, NUM_ITEMS])
def test_rectified_features_are_finite_for_any_temperature_and_k(tau: float, k: int) -> None:
    train, prior = make_train()
    features = {name: matrix.copy() for name, matrix in train.features.items()}
    features["visual"][[0, 3, NUM_ITEMS - 1]] = 0
    prior.item_ID[[1, 3]] = 0
    rectified, repairs = rectify(replace(OPTIONS, tau=tau, k=k), replace(train, features=features), prior)
    for name in features:
        assert np.isfinite(rectified.features[name]).all()
        assert np.isfinite(repairs[name].row_mass).all()


def test_more_candidates_than_items_are_refused_before_the_prior_is_trained() -> None:
    train, _ = make_train()

    def untouched() -> Prior:
        raise AssertionError("the prior was asked for")

    with pytest.raises(ValueError, match="rectifier.k must be at most the 29 items of the dataset, got 30"):
        replace(OPTIONS, k=30)(train, untouched, eta={}, seed=0, cache=Cache(None), device=CPU)


def test_cold_keep_leaves_items_without_training_edges_bitwise() -> None:
    train, prior = make_train()
    kept, _ = rectify(replace(OPTIONS, cold="keep"), train, prior)
    changed, _ = rectify(OPTIONS, train, prior)
    cold = np.arange(NUM_ITEMS) >= NUM_ITEMS - COLD
    for name, observed in train.features.items():
        assert_array_equal(kept.features[name][cold], observed[cold])
        assert (np.abs(kept.features[name][~cold] - observed[~cold]).max(1) > 0).all()
        assert np.abs(changed.features[name][cold] - observed[cold]).max() > 0


def test_cold_keep_does_not_train_the_projection_on_cold_items() -> None:
    train, prior = make_train()
    other = Prior(prior.user_UD, prior.item_ID.copy())
    other.item_ID[-COLD:] *= -1
    warm = slice(0, NUM_ITEMS - COLD)
    alignment = {}
    for cold in ("keep", "rectify"):
        first, second = (
            rectify(replace(OPTIONS, cold=cold), train, anchors)[1]["visual"] for anchors in (prior, other)
        )
        alignment[cold] = np.abs(first.alignment[warm] - second.alignment[warm]).max()
    assert alignment["keep"] < 1e-6
    assert alignment["rectify"] > 1e-4


@pytest.mark.parametrize(
    ("rho", "eta", "kept"),
    [
        (0.7, 0.3, 0.7),
        (1, 0.3, 1.0),
        ("paper", 0.0, 0.05),
        ("paper", 0.3, 0.35),
        ("paper", 1.0, 1.0),
        ("drop", 0.0, 0.95),
        ("drop", 0.3, 0.65),
        ("drop", 1.0, 0.05),
    ],
)
def test_rho_reads_as_documented(rho: Any, eta: float, kept: float) -> None:
    _, repairs = rectify(replace(OPTIONS, rho=rho), *make_train(), eta=eta)
    for repair in repairs.values():
        assert repair.rho == pytest.approx(kept)
        assert np.isnan(repair.eta_hat)


def test_rho_estimate_keeps_what_does_not_look_mismatched(monkeypatch: pytest.MonkeyPatch) -> None:
    _, repairs = rectify(replace(OPTIONS, rho="estimate"), *make_train())
    for repair in repairs.values():
        assert 0 <= repair.eta_hat <= 1
        assert repair.rho == pytest.approx(max(0.05, 1 - float(repair.eta_hat)))
    monkeypatch.setattr(mr, "estimate_mismatch", lambda *_, **__: Estimate(0.3, 0.01))
    _, repairs = rectify(replace(OPTIONS, rho="estimate"), *make_train())
    assert repairs["visual"].rho == pytest.approx(0.7)
    monkeypatch.setattr(mr, "estimate_mismatch", lambda *_, **__: Estimate(1.0, 0.01))
    _, repairs = rectify(replace(OPTIONS, rho="estimate"), *make_train())
    assert repairs["visual"].rho == pytest.approx(0.05)
    assert repairs["visual"].eta_hat_error == pytest.approx(0.01)


def test_too_few_items_for_an_estimate_keep_all_pairs() -> None:
    _, repairs = rectify(replace(OPTIONS, rho="estimate"), *make_train(cold=NUM_ITEMS - 9))
    for repair in repairs.values():
        assert np.isnan(repair.eta_hat)
        assert np.isnan(repair.eta_hat_error)
        assert repair.rho == 1


def test_rho_is_the_decimal_number_that_the_readings_give() -> None:
    for rho, eta, kept in (("paper", 0.1, 0.15), ("paper", 0.55, 0.6), ("drop", 0.3, 0.65), ("drop", 0.1, 0.85)):
        _, repairs = rectify(replace(OPTIONS, rho=rho), *make_train(), eta=eta)
        assert repairs["visual"].rho == kept


@pytest.mark.parametrize(("rho", "oracle"), [("paper", True), ("drop", True), ("estimate", False), (0.5, False)])
def test_oracle_rho_says_who_looked_at_the_injected_ratio(rho: Any, oracle: bool) -> None:
    assert replace(OPTIONS, rho=rho).oracle_rho is oracle


def test_injected_ratio_moves_only_the_readings_that_may_see_it() -> None:
    train, prior = make_train()
    for rho, sees in (("estimate", False), (0.5, False), ("drop", True)):
        options = replace(OPTIONS, rho=rho)
        first, second = (rectify(options, train, prior, eta=eta)[0].features["visual"] for eta in (0.1, 0.5))
        assert np.array_equal(first, second) is not sees


def test_modalities_and_seeds_draw_their_own_projections() -> None:
    train, prior = make_train()
    twins = replace(train, features={"visual": train.features["visual"], "textual": train.features["visual"]})
    rectified, repairs = rectify(OPTIONS, twins, prior)
    assert np.abs(repairs["visual"].alignment - repairs["textual"].alignment).max() > 0
    again, _ = rectify(OPTIONS, twins, prior)
    other, _ = rectify(OPTIONS, twins, prior, seed=1)
    assert_array_equal(again.features["visual"], rectified.features["visual"])
    assert np.abs(other.features["visual"] - rectified.features["visual"]).max() > 0


def test_cached_result_equals_the_computed_one(tmp_path: Path) -> None:
    train, prior = make_train()
    for lam in (0.5, 1.0):
        options = replace(OPTIONS, lam=lam)
        (fresh, first), (warm, second) = (rectify(options, train, prior, cache=tmp_path) for _ in range(2))
        for name in train.features:
            assert_array_equal(fresh.features[name], warm.features[name])
            for field in Repair.__dataclass_fields__:
                assert_array_equal(getattr(first[name], field), getattr(second[name], field))


@pytest.mark.parametrize(
    ("change", "fresh"),
    [
        (lambda options, train, prior: (replace(options, lam=0.4), train, prior, 0), ()),
        (lambda options, train, prior: (replace(options, lam=1.0), train, prior, 0), ()),
        (lambda options, train, prior: (replace(options, k=6), train, prior, 0), ("plan",)),
        (lambda options, train, prior: (replace(options, tau=0.2), train, prior, 0), ("plan",)),
        (lambda options, train, prior: (replace(options, eps=1e-7), train, prior, 0), ("plan",)),
        (lambda options, train, prior: (replace(options, num_sweeps=9), train, prior, 0), ("plan",)),
        (lambda options, train, prior: (replace(options, matching="row_norm"), train, prior, 0), ("plan",)),
        (lambda options, train, prior: (replace(options, support="symmetric"), train, prior, 0), ("plan",)),
        (lambda options, train, prior: (replace(options, rho=0.9), train, prior, 0), ("projection", "plan")),
        (lambda options, train, prior: (replace(options, cold="keep"), train, prior, 0), ("projection", "plan")),
        (
            lambda options, train, prior: (options, replace(train, propagation=fewer_warm(train)), prior, 0),
            ("mismatch",),
        ),
        (lambda options, train, prior: (options, replace(train, features=bumped(train)), prior, 0), EVERYTHING),
        (lambda options, train, prior: (options, train, Prior(prior.user_UD, -prior.item_ID), 0), EVERYTHING),
        (lambda options, train, prior: (options, train, prior, 1), EVERYTHING),
        (lambda options, train, prior: (replace(options, projection=LONGER), train, prior, 0), EVERYTHING),
    ],
)
def test_each_part_is_kept_by_exactly_what_it_depends_on(
    change: Callable[..., Any], fresh: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another `lam` shares projection, estimate and plan, another `tau` projection and estimate."""
    monkeypatch.setattr(mr, "estimate_mismatch", lambda *_, **__: Estimate(0.2, 0.01))
    train, prior = make_train()
    train = replace(train, features={"visual": train.features["visual"]})
    options = replace(OPTIONS, rho="estimate")
    rectify(options, train, prior, cache=tmp_path)
    assert entries(tmp_path) == dict.fromkeys(EVERYTHING, 1)
    options, other, anchors, seed = change(options, train, prior)
    expected, _ = rectify(options, other, anchors, seed=seed)
    found, _ = rectify(options, other, anchors, seed=seed, cache=tmp_path)
    assert_array_equal(found.features["visual"], expected.features["visual"])
    grown = {kind for kind, count in entries(tmp_path).items() if count == 2}
    assert grown == set(fresh) - ({"mismatch"} if options.rho != "estimate" else set())


def entries(folder: Path) -> dict[str, int]:
    return {kind.name: len(list(kind.glob("*.npz"))) for kind in folder.iterdir()}


def test_no_entry_is_as_large_as_the_features(tmp_path: Path) -> None:
    train, prior = make_train()
    wide = np.random.default_rng(0).standard_normal((NUM_ITEMS, 4000)).astype(np.float32)
    rectify(OPTIONS, replace(train, features={"visual": wide}), prior, cache=tmp_path)
    assert max(path.stat().st_size for path in tmp_path.glob("*/*.npz")) < wide.nbytes / 20


def fewer_warm(train: TrainData) -> Edges:
    return Edges.from_keys(train.propagation.keys[:-1], NUM_USERS, NUM_ITEMS)


def test_twin_modalities_have_their_own_projections(tmp_path: Path) -> None:
    train, prior = make_train()
    twins = replace(train, features={"visual": train.features["visual"], "textual": train.features["visual"]})
    rectify(OPTIONS, twins, prior, cache=tmp_path)
    assert entries(tmp_path) == {"projection": 2, "plan": 2}


def bumped(train: TrainData) -> dict[str, NDArray[np.float32]]:
    matrix = train.features["visual"].copy()
    matrix[0, 0] = np.nextafter(matrix[0, 0], np.float32(9))
    return {"visual": matrix}


def test_injected_ratio_is_in_a_key_only_where_it_is_looked_at(tmp_path: Path) -> None:
    train, prior = make_train()
    for rho, expected in ((0.5, 1), ("drop", 2)):
        folder = tmp_path / str(rho)
        for eta in (0.1, 0.3):
            one = replace(train, features={"visual": train.features["visual"]})
            rectify(replace(OPTIONS, rho=rho), one, prior, eta=eta, cache=folder)
        assert entries(folder) == {"projection": expected, "plan": expected}


def test_mix_multiplies_once(monkeypatch: pytest.MonkeyPatch) -> None:
    products = []
    bags = sparse._sum_bags
    monkeypatch.setattr(sparse, "_sum_bags", lambda *given: products.append(given) or bags(*given))
    size = 9000  # more than two blocks of old
    plan = mr.SparseMatrix(torch.arange(size), torch.arange(size).flip(0), torch.ones(size), (size, size))
    mix(torch.ones(size, 2), plan, 0.5)
    assert len(products) == 1


@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e-15, 1e15, 1e19, 1e30])
def test_rows_of_any_scale_have_content(scale: float) -> None:
    """Some items' features come in other units: the plan is that of the same rows at a scale of one."""
    train, prior = make_train()
    unit = {name: 0.75 * matrix / np.abs(matrix).max(axis=1, keepdims=True) for name, matrix in train.features.items()}
    some = np.where(np.arange(NUM_ITEMS) % 5 == 0, 2.0 ** np.round(np.log2(scale)), 1)[:, None]
    scaled = {name: (matrix * some).astype(np.float32) for name, matrix in unit.items()}
    _, expected = rectify(OPTIONS, replace(train, features=unit), prior)
    found, repairs = rectify(OPTIONS, replace(train, features=scaled), prior)
    for name in unit:
        assert np.isfinite(found.features[name]).all()
        assert_array_equal(repairs[name].alignment, expected[name].alignment)
        assert_array_equal(repairs[name].row_mass, expected[name].row_mass)


def test_mix_weighs_observed_and_matched() -> None:
    train, _ = make_train()
    observed = torch.from_numpy(train.features["visual"])
    shift = mr.SparseMatrix(
        torch.arange(NUM_ITEMS),
        (torch.arange(NUM_ITEMS) + 1) % NUM_ITEMS,
        torch.ones(NUM_ITEMS),
        (NUM_ITEMS, NUM_ITEMS),
    )
    expected = 0.3 * observed + 0.7 * observed.roll(-1, 0)
    torch.testing.assert_close(mix(observed, shift, 0.3), expected)


def test_no_rectifier_is_the_identity_with_any_options_and_never_asks_for_the_prior() -> None:
    train, _ = make_train()

    def untouched() -> Prior:
        raise AssertionError("the prior was asked for")

    rectifier = NoRectifier(lam=0.3, anything="else")
    same, repairs = rectifier(train, untouched, eta={}, seed=0, cache=Cache(None), device=CPU)
    assert same is train
    assert repairs == {}
    assert rectifier.identity() == NoRectifier().identity() == {}
    assert not rectifier.oracle_rho


@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("rho", [0.8, "estimate"])
def test_features_that_tell_no_item_from_another_come_back_finite(value: float, rho: Any) -> None:
    """The ends of the curves `corruption.kind=missing` and `constant`."""
    train, prior = make_train()
    same = {name: np.full_like(matrix, value) for name, matrix in train.features.items()}
    rectified, repairs = rectify(replace(OPTIONS, rho=rho), replace(train, features=same), prior)
    for name, matrix in rectified.features.items():
        assert np.isfinite(matrix).all()
        assert np.isfinite(repairs[name].row_mass).all()
        assert (matrix == 0).all() if not value else (matrix > 0).all()
