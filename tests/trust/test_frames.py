"""Which frames are wrong: known answers on planted clips, and means that come nearer to the clean ones."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.corruption.stress import StressTest
from trustmm.dataset.data import TrainData
from trustmm.dataset.frames import Frames
from trustmm.evaluation.separation import auc
from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier.trust import TrustRectifier
from trustmm.store.cache import Cache
from trustmm.trust.frames import judge_frames, trusted_mean

VIEWS = ["anchor", "structure", "modalities", "degree", "frames"]
DAMAGE = StressTest(
    kind="frames", eta=0.5, eta_of={}, frame_share=0.5, joint=False, eta_e=0.0, edge_kind="uniform", seed=1
)
NUM_ITEMS = 600


@pytest.fixture(scope="module")
def clips() -> tuple[TrainData, np.ndarray]:
    """Clips of two modalities at the same times, and anchors near the items' taste."""
    rng = np.random.default_rng(11)
    taste = rng.standard_normal((20, 8))[rng.integers(0, 20, NUM_ITEMS)] + 0.5 * rng.standard_normal((NUM_ITEMS, 8))
    lengths = rng.integers(1, 9, NUM_ITEMS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    owner = np.repeat(np.arange(NUM_ITEMS), lengths)
    moment = rng.standard_normal((len(owner), 4))
    frames = {}
    for name, width in (("visual", 20), ("acoustic", 12)):
        shown = taste[owner] @ rng.standard_normal((8, width)) / 3 + moment @ rng.standard_normal((4, width)) / 3
        frames[name] = Frames((shown + 0.8 * rng.standard_normal(shown.shape)).astype(np.float32), offsets)
    items = np.repeat(np.arange(NUM_ITEMS - 3), 6)
    edges = Edges.from_keys(np.unique(rng.integers(0, 300, len(items)) * NUM_ITEMS + items), 300, NUM_ITEMS)
    features = {name: one.pooled() for name, one in frames.items()}
    anchors = (taste + 0.5 * rng.standard_normal(taste.shape)).astype(np.float32)
    return TrainData(edges, edges, features, frames=frames), anchors


def damaged(train: TrainData, **changes: Any) -> tuple[TrainData, np.ndarray]:
    found, damage = replace(DAMAGE, **changes)(train, observed=train.supervision)
    return found, damage.wrong_frames["visual"]


def test_wrong_frames_are_found_and_their_share_is_known(clips: tuple[TrainData, np.ndarray]) -> None:
    train, wrong = damaged(clips[0], eta_of={"acoustic": 0.0})
    found = judge_frames("visual", train, clips[1], views=VIEWS, k=10, seed=0)
    assert auc(found.probability[~wrong], found.probability[wrong]) > 0.9
    assert abs(found.eta.value - wrong.mean()) < 4 * max(found.eta.standard_error, 0.02)
    for low in (0.0, 0.5):
        said = (found.probability >= low) & (found.probability < low + 0.5)
        items = len(np.unique(train.frames["visual"].items[said]))  # frames of one item depend on each other
        assert abs(found.probability[said].mean() - wrong[said].mean()) < 4 * np.sqrt(0.25 / items)
    only = judge_frames("visual", train, clips[1], views=["anchor"], k=10, seed=0)
    assert auc(only.probability[~wrong], only.probability[wrong]) < auc(
        found.probability[~wrong], found.probability[wrong]
    )


def test_items_without_edges_keep_the_prior_share(clips: tuple[TrainData, np.ndarray]) -> None:
    train, _ = damaged(clips[0])
    found = judge_frames("visual", train, clips[1], views=VIEWS, k=10, seed=0)
    cold = train.frames["visual"].items >= NUM_ITEMS - 3
    assert_array_equal(found.probability[cold], found.eta.value)
    assert np.isnan(found.views["frames"][cold]).all()


def repaired(train: TrainData, anchors: np.ndarray, **options: Any) -> Any:
    rectifier = TrustRectifier(
        impute="none",
        threshold=0.5,
        mask=False,
        rematch=False,
        smooth=0.0,
        k=10,
        **({"weight": "gate", "views": VIEWS} | options),
    )
    prior = Prior(np.zeros((train.num_users, 8), np.float32), anchors)
    return rectifier(train, lambda: prior, eta={}, seed=0, cache=Cache(None), device="cpu")


@pytest.mark.parametrize("weight", ["gate", "soft"])
def test_the_trusted_mean_recovers_more_of_the_clean_feature_than_the_plain_mean(
    clips: tuple[TrainData, np.ndarray], weight: str
) -> None:
    clean, anchors = clips
    train, wrong = damaged(clean)
    found, mends = repaired(train, anchors, weight=weight)
    touched = np.bincount(train.frames["visual"].items, weights=wrong) > 0
    error = [
        np.linalg.norm(each.features["visual"] - clean.features["visual"], axis=1)[touched].mean()
        for each in (train, found)
    ]
    assert error[1] < 0.75 * error[0]
    assert mends["visual"].frames is not None


def test_clean_and_rotated_clips_stay_nearly_as_they_are(clips: tuple[TrainData, np.ndarray]) -> None:
    clean, anchors = clips
    for train in (clean, damaged(clean, kind="rotate")[0]):
        found, _ = repaired(train, anchors)
        same = (found.features["visual"] == train.features["visual"]).all(axis=1)
        assert same.mean() > 0.9


def test_without_the_view_frames_are_not_judged(clips: tuple[TrainData, np.ndarray]) -> None:
    train, _ = damaged(clips[0])
    found, mends = repaired(train, clips[1], views=VIEWS[:-1])
    assert mends["visual"].frames is None
    assert_array_equal(found.features["visual"], train.features["visual"])


def test_the_trusted_mean_of_one_item() -> None:
    frames = Frames(np.array([[1.0], [3.0], [8.0], [5.0]], np.float32), np.array([0, 3, 3, 4]))
    plain = frames.pooled()
    assert_allclose(plain[:, 0], [4, 0, 5])
    assert_allclose(trusted_mean(frames, np.array([1, 1, 0, 1.0]), plain)[:, 0], [2, 0, 5])
    for weight in (0.0, 1.0):  # no frame believed, or all: what was there stays, whatever it was
        assert_array_equal(trusted_mean(frames, np.full(4, weight), plain + 1), plain + 1)


def test_few_items_are_not_judged() -> None:
    frames = Frames(np.ones((6, 2), np.float32), np.arange(7))
    edges = Edges.of(np.zeros(6, dtype=int), np.arange(6), 1, 6)
    train = TrainData(edges, edges, {"visual": frames.pooled()}, frames={"visual": frames})
    found = judge_frames("visual", train, np.ones((6, 2), np.float32), views=VIEWS, k=2, seed=0)
    assert found.hopeless
    assert np.isnan(found.probability).all()
