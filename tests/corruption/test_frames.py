"""Damage along the time axis: exact counts, nested and paired as all damage, means where they must not move."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.corruption.kinds import MOVES
from trustmm.corruption.stress import StressTest
from trustmm.dataset.data import Dataset, TrainData
from trustmm.dataset.frames import Frames
from trustmm.graph.edges import Edges

NUM_ITEMS, MOST, WIDTH = 41, 7, 3
NONE = StressTest(
    kind="frames", eta=0.0, eta_of={}, frame_share=0.5, joint=False, eta_e=0.0, edge_kind="uniform", seed=0
)


def clip_data() -> TrainData:
    """Frames that tell item and time: (item, time, 1); item 5 has none."""
    lengths = np.random.default_rng(3).integers(1, MOST + 1, NUM_ITEMS)
    lengths[5] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = np.repeat(np.arange(NUM_ITEMS), lengths)
    rows = np.stack([items, np.arange(len(items)) - offsets[items], np.ones(len(items))], axis=1).astype(np.float32)
    frames = Frames(rows, offsets)
    edges = Edges.of(np.zeros(NUM_ITEMS, dtype=int), np.arange(NUM_ITEMS), 1, NUM_ITEMS)
    still = np.eye(NUM_ITEMS, dtype=np.float32)
    return TrainData(edges, edges, {"visual": frames.pooled(), "textual": still}, frames={"visual": frames})


TRAIN = clip_data()
CLIPS = TRAIN.frames["visual"]


def test_the_share_of_a_chosen_items_frames_becomes_other_items_frames() -> None:
    damaged, damage = replace(NONE, eta=0.5)(TRAIN, observed=TRAIN.supervision)
    clips, touched, wrong = damaged.frames["visual"], damage.touched["visual"], damage.wrong_frames["visual"]
    assert touched.sum() == NUM_ITEMS // 2
    counted = np.bincount(CLIPS.items, weights=wrong, minlength=NUM_ITEMS)
    assert_array_equal(counted, np.where(touched, CLIPS.lengths // 2, 0))
    assert_array_equal(clips.rows_NX[:, 0] != CLIPS.items, wrong)
    assert_array_equal(clips.rows_NX[~wrong], CLIPS.rows_NX[~wrong])
    assert_array_equal(damaged.features["visual"][~touched], TRAIN.features["visual"][~touched])
    assert_allclose(damaged.features["visual"], clips.pooled(), rtol=1e-6)
    assert damaged.features["textual"] is TRAIN.features["textual"]
    assert damage.eta == {"visual": 0.5, "textual": 0.0}
    assert not damage.touched["textual"].any()


def test_damage_is_nested_in_both_shares() -> None:
    few, many = (replace(NONE, eta=eta)(TRAIN, observed=TRAIN.supervision) for eta in (0.2, 0.9))
    touched = few[1].touched["visual"]
    assert (touched <= many[1].touched["visual"]).all()
    same = touched[CLIPS.items]
    assert_array_equal(few[0].frames["visual"].rows_NX[same], many[0].frames["visual"].rows_NX[same])
    little, much = (
        replace(NONE, eta=1.0, frame_share=share)(TRAIN, observed=TRAIN.supervision) for share in (0.3, 0.8)
    )
    wrong = little[1].wrong_frames["visual"]
    assert (wrong <= much[1].wrong_frames["visual"]).all()
    assert_array_equal(little[0].frames["visual"].rows_NX[wrong], much[0].frames["visual"].rows_NX[wrong])


def test_rotation_moves_frames_in_time_and_leaves_the_mean() -> None:
    damaged, damage = replace(NONE, kind="rotate", eta=1.0)(TRAIN, observed=TRAIN.supervision)
    rows = damaged.frames["visual"].rows_NX
    assert_array_equal(rows[:, 0], CLIPS.items)
    step = (rows[:, 1] - CLIPS.rows_NX[:, 1]) % CLIPS.lengths[CLIPS.items]
    for item in np.flatnonzero(CLIPS.lengths > 1):
        steps = np.unique(step[CLIPS.items == item])
        assert len(steps) == 1
        assert steps[0] > 0
    assert_allclose(damaged.features["visual"], TRAIN.features["visual"], rtol=1e-6)
    assert not damage.wrong_frames["visual"].any()


@pytest.mark.parametrize("kind", MOVES)
def test_kinds_that_move_an_items_feature_move_all_its_frames(kind: str) -> None:
    damaged, damage = replace(NONE, kind=kind, eta=0.5)(TRAIN, observed=TRAIN.supervision)
    clips = damaged.frames["visual"]
    for item in range(NUM_ITEMS):
        shown = clips.rows_NX[clips.offsets[item] : clips.offsets[item + 1]]
        owner = int(shown[0, 0]) if len(shown) else 5
        assert_array_equal(shown, CLIPS.rows_NX[CLIPS.offsets[owner] : CLIPS.offsets[owner + 1]])
        assert damage.touched["visual"][item] or owner == item
    assert_allclose(damaged.features["visual"], clips.pooled(), rtol=1e-6)
    assert_array_equal(damage.wrong_frames["visual"], damage.touched["visual"][clips.items])


@pytest.mark.parametrize("kind", ["constant", "normal", "missing"])
def test_kinds_that_make_a_feature_show_it_in_every_frame(kind: str) -> None:
    damaged, damage = replace(NONE, kind=kind, eta=0.5)(TRAIN, observed=TRAIN.supervision)
    clips, touched = damaged.frames["visual"], damage.touched["visual"]
    assert_array_equal(clips.offsets, CLIPS.offsets)
    assert_array_equal(clips.rows_NX[~touched[clips.items]], CLIPS.rows_NX[~touched[CLIPS.items]])
    for item in np.flatnonzero(touched & (CLIPS.lengths > 0)):
        shown = clips.rows_NX[clips.offsets[item] : clips.offsets[item + 1]]
        assert_array_equal(shown, np.tile(shown[0], (len(shown), 1)))


def test_frames_are_asked_for_before_anything_is_computed() -> None:
    still = Dataset("toys", *[TRAIN.supervision] * 3, {"textual": TRAIN.features["textual"]})
    moving = replace(still, features=TRAIN.features, frames=TRAIN.frames)
    with pytest.raises(ValueError, match="'toys' has none"):
        replace(NONE, eta=0.2).check_fit(still)
    replace(NONE, eta=0.2).check_fit(moving)
    with pytest.raises(ValueError, match=r"corruption.eta_of.textual.*only \['visual'\]"):
        replace(NONE, eta_of={"textual": 0.2}).check_fit(moving)


def test_the_share_of_frames_is_an_identity_where_it_counts() -> None:
    assert "frame_share" not in NONE.identity()
    assert "frame_share" not in replace(NONE, kind="rotate", eta=0.2).identity()
    assert replace(NONE, eta=0.2).identity() != replace(NONE, eta=0.2, frame_share=0.3).identity()
