"""The alignment numbers on a graph small enough to count by hand."""

import numpy as np
import pytest

from trustmm.corruption.stress import Damage
from trustmm.dataset.data import Dataset, TrainData
from trustmm.edit.alignment import edit_diagnostics
from trustmm.edit.proposal import Proposal, nothing
from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior

USERS, ITEMS = 4, 5


def edges(*pairs: tuple[int, int]) -> Edges:
    users, items = zip(*pairs, strict=True) if pairs else ((), ())
    return Edges.of(np.array(users, dtype=np.int64), np.array(items, dtype=np.int64), USERS, ITEMS)


# The similarity of (u, i) is i: the prior prefers large item numbers.
PRIOR = Prior(np.ones((USERS, 1), dtype=np.float32), np.arange(ITEMS, dtype=np.float32)[:, None])
DATA = Dataset("toys", edges((0, 4), (1, 3), (2, 4), (3, 2)), edges((0, 3), (1, 4)), edges((2, 3)), {})
DELETED, ADDED = edges((3, 2)), edges((0, 0), (1, 1))
OBSERVED = edges((0, 4), (1, 3), (2, 4), (0, 0), (1, 1))


def numbers(proposal: Proposal, *, deleted: Edges = DELETED, added: Edges = ADDED) -> dict[str, float]:
    return edit_diagnostics(proposal, lambda: PRIOR, OBSERVED, Damage({}, {}, added, deleted), DATA)


def proposal(removed: Edges, added: Edges, exclude_heldout: bool = True) -> Proposal:
    return Proposal(removed, added, supervision=True, propagation=True, exclude_heldout=exclude_heldout)


def test_pruning_counts_the_spurious() -> None:
    found = numbers(proposal(edges((0, 0), (1, 3), (2, 4)), edges()))
    assert found["edit/pruned"] == 3
    assert found["edit/pruned_spurious"] == pytest.approx(1 / 3)
    assert found["edit/spurious_found"] == pytest.approx(1 / 2)
    assert found["edit/auc_injected"] == 1.0
    assert not [name for name in found if "precision" in name]


def test_completion_counts_hits_before_the_filter_and_who_receives_them() -> None:
    found = numbers(proposal(edges(), edges((0, 3), (3, 2), (3, 3), (3, 4))))
    assert (found["edit/proposed"], found["edit/added"]) == (4, 3)
    assert found["edit/removed_as_heldout"] == found["edit/precision_heldout"] == 0.25
    assert found["edit/precision_deleted"] == 0.25
    assert (found["edit/users_receiving"], found["edit/user_most"]) == (2, 3)
    assert (found["edit/items_receiving"], found["edit/item_most"]) == (3, 2)
    assert found["edit/user_gini"] == pytest.approx(0.625)
    assert "edit/pruned" not in found


def test_a_leak_takes_nothing_out_and_has_the_same_precision() -> None:
    found = numbers(proposal(edges(), edges((0, 3), (3, 2), (3, 3), (3, 4)), exclude_heldout=False))
    assert (found["edit/added"], found["edit/removed_as_heldout"], found["edit/precision_heldout"]) == (4, 0, 0.25)


def test_numbers_about_noise_are_left_out_where_there_is_none() -> None:
    found = numbers(proposal(edges((0, 0)), edges((3, 3))), deleted=edges(), added=edges())
    absent = {"edit/auc_injected", "edit/auc_deleted", "edit/spurious_found", "edit/precision_deleted"}
    assert not absent & set(found)
    assert found["edit/pruned_spurious"] == 0
    assert 0.5 < found["edit/auc_heldout"] <= 1


def test_nothing_edited_has_no_numbers_and_no_prior() -> None:
    def unwanted() -> Prior:
        raise AssertionError("the prior was asked for")

    train = TrainData(OBSERVED, OBSERVED, {})
    assert edit_diagnostics(nothing(train), unwanted, OBSERVED, Damage({}, {}, ADDED, DELETED), DATA) == {}
