"""No edit is the identity."""

import numpy as np

from trustmm.dataset.data import TrainData
from trustmm.edit.none import NoEdit
from trustmm.graph.edges import Edges


def test_no_edit_is_the_identity_with_any_options_and_never_asks_for_the_prior() -> None:
    edges = Edges.of([0, 1], [1, 0], 2, 2)
    train = TrainData(edges, edges, {"visual": np.eye(2, dtype=np.float32)})

    def untouched() -> None:
        raise AssertionError("the prior was asked for")

    edit = NoEdit(op="prune", ratio=0.05)
    assert edit(train, untouched).apply(train, held_out=edges) is train
    assert edit.identity() == NoEdit().identity() == {}
