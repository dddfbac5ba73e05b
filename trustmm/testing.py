"""Contract tests to subclass, one class for each method of your own; pytest runs what they inherit.

::

    from trustmm.testing import RectifierContract

    class TestCentred(RectifierContract):
        option = "rectifier=centred"
"""

# Shapes: U users, I items.

from typing import Any, ClassVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from trustmm.backbone.draws import Draws
from trustmm.corruption.base import Corruption
from trustmm.corruption.kinds import replacement
from trustmm.dataset.data import Dataset, TrainData
from trustmm.edit.base import Edit
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.job import Job
from trustmm.options.compose import compose_job
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier.base import Rectifier
from trustmm.run.cell import build_stages
from trustmm.seeding import stream
from trustmm.store.cache import Cache
from trustmm.store.identity import code_digest, describe, targets
from trustmm.store.plugins import function

CPU = torch.device("cpu")
THREADS = (1, 2, 4)
USERS, ITEMS = 17, 29


def toy_data() -> TrainData:
    """17 users, 29 items, two modalities; one item without pairs, one with a zero row."""
    rng = np.random.default_rng(7)
    chosen = rng.random((USERS, ITEMS)) < 0.3
    chosen[:, 0] |= ~chosen.any(axis=1)
    chosen[:, 5] = False
    features = {name: rng.standard_normal((ITEMS, d)).astype(np.float32) for name, d in (("visual", 6), ("textual", 4))}
    features["visual"][3] = 0
    users, items = chosen.nonzero()
    edges = Edges.of(users, items, USERS, ITEMS)
    return TrainData(edges, edges, features, categories=rng.integers(0, 3, ITEMS))


def toy_prior() -> Prior:
    """Embeddings of the toy data's users and items, (U, 8) and (I, 8)."""
    rng = np.random.default_rng(3)
    return Prior(*(rng.standard_normal((count, 8)).astype(np.float32) for count in (USERS, ITEMS)))


class StageContract:
    """What every stage promises. Subclasses name the option as on the command line."""

    option: ClassVar[str]
    """Such as ``backbone=mine``."""
    overrides: ClassVar[tuple[str, ...]] = ()
    """Further overrides, if the toy data of 17 users and 29 items require them."""

    @property
    def group(self) -> str:
        """The group of the option."""
        return self.option.partition("=")[0]

    def job(self) -> Job:
        """A job with the option, built from its YAML file."""
        config, _ = compose_job([self.option, *self.overrides, "tracking=none", "training.device=cpu"])
        return build_stages(config)[0]

    def read_data(self) -> Any:
        """The reader of the job's data."""
        config, _ = compose_job([self.option, *self.overrides, "tracking=none", "training.device=cpu"])
        return build_stages(config)[1]

    def test_its_options_and_its_code_have_an_identity(self) -> None:
        """A job with it can be told from others, and from one before its code was changed."""
        if self.group == "dataset":  # its digest is the identity
            return
        described = describe(getattr(self.job(), self.group))
        assert described == describe(getattr(self.job(), self.group))
        assert len(code_digest(*targets(described))) == 32


def assert_untouched(train: TrainData, fresh: TrainData) -> None:
    """Raise AssertionError unless the data are as they were."""
    np.testing.assert_array_equal(train.supervision.keys, fresh.supervision.keys)
    np.testing.assert_array_equal(train.propagation.keys, fresh.propagation.keys)
    for name, matrix in fresh.features.items():
        np.testing.assert_array_equal(train.features[name], matrix)


class BackboneContract(StageContract):
    """A recommender."""

    def make(self, train: TrainData, seed: int = 0) -> Any:
        """The model, built as a job builds it."""
        return self.job().backbone(train, rng=np.random.default_rng(seed), neighbours=NeighbourSearch())

    @torch.no_grad()
    def scores(self, model: Any) -> torch.Tensor:
        """All scores of the toy data, (U, I)."""
        return model.eval().scorer().scores(torch.arange(USERS))

    def test_scores_are_finite_and_one_for_each_pair(self) -> None:
        """Even if an item has no pairs or no content."""
        scores = self.scores(self.make(toy_data()))
        assert scores.shape == (USERS, ITEMS)
        assert scores.dtype == torch.float32
        assert bool(scores.isfinite().all())

    def test_the_same_seed_gives_the_same_scores(self) -> None:
        """All draws come from `rng`."""
        first, again = (self.scores(self.make(toy_data())) for _ in range(2))
        torch.testing.assert_close(first, again, rtol=0, atol=0)

    def test_training_steps_have_finite_losses_and_gradients(self) -> None:
        """Named scalar terms; a model without parameters has none."""
        from trustmm.backbone.base import Batch

        train = toy_data()
        model = self.make(train)
        if not list(model.parameters()):
            return
        model.train()
        model.draws = Draws(np.random.default_rng(1))
        model.begin_epoch(np.random.default_rng(0))
        users, items = (torch.from_numpy(side) for side in (train.supervision.users, train.supervision.items))
        terms = model.loss_terms(Batch(users, items, (items + 1) % ITEMS, len(users)))
        assert terms
        assert all(term.shape == () and bool(term.isfinite()) for term in terms.values())
        torch.stack(tuple(terms.values())).sum().backward()
        assert any(weight.grad is not None for weight in model.parameters())

    def test_saved_weights_give_the_same_scores(self) -> None:
        """The state dict holds all that was learned."""
        model, other = self.make(toy_data()), self.make(toy_data(), seed=1)
        other.load_state_dict(model.state_dict())
        torch.testing.assert_close(self.scores(other), self.scores(model), rtol=0, atol=0)

    def test_data_are_left_as_they_are(self) -> None:
        """Many read the same arrays."""
        train = toy_data()
        self.scores(self.make(train))
        assert_untouched(train, toy_data())


class RectifierContract(StageContract):
    """A repair of features."""

    def repair(self, rectifier: Rectifier, train: TrainData) -> TrainData:
        """The data after it, without a cache."""
        eta = dict.fromkeys(train.features, 0.2)
        nothing = {name: np.zeros(train.num_items, dtype=bool) for name in train.features}
        known = {"touched": nothing} if rectifier.oracle else {}
        return rectifier(train, toy_prior, eta=eta, seed=0, cache=Cache(None), device=CPU, **known)[0]

    def test_features_keep_their_shape_and_are_finite(self) -> None:
        """Edges stay: a rectifier changes only features."""
        train = toy_data()
        found = self.repair(self.job().rectifier, train)
        assert found.features.keys() == train.features.keys()
        for name, matrix in train.features.items():
            assert found.features[name].shape == matrix.shape
            assert found.features[name].dtype == np.float32
            assert np.isfinite(found.features[name]).all()
        np.testing.assert_array_equal(found.supervision.keys, train.supervision.keys)

    def test_the_same_seed_gives_the_same_features(self) -> None:
        """Nothing is drawn from anywhere but the job's streams."""
        first, again = (self.repair(self.job().rectifier, toy_data()) for _ in range(2))
        for name, matrix in first.features.items():
            np.testing.assert_array_equal(again.features[name], matrix)

    def test_data_are_left_as_they_are(self) -> None:
        """Many read the same arrays."""
        train = toy_data()
        self.repair(self.job().rectifier, train)
        assert_untouched(train, toy_data())


class EditContract(StageContract):
    """A change of edges."""

    def test_it_removes_what_is_there_and_adds_what_is_not(self) -> None:
        """The data stay; the job applies the proposal."""
        edit: Edit = self.job().edit
        train = toy_data()
        proposal = edit(train, toy_prior, seed=0, cache=Cache(None), device=CPU)
        assert train.supervision.contains(proposal.removed.keys).all()
        assert not train.supervision.contains(proposal.added.keys).any()
        assert_untouched(train, toy_data())


class CorruptionContract(StageContract):
    """A damage to the training data."""

    def damage(self) -> Any:
        """Damaged data and the report."""
        corruption: Corruption = self.job().corruption
        train = toy_data()
        found = corruption(train, observed=train.supervision)
        assert_untouched(train, toy_data())
        return found

    def test_what_is_not_reported_stays(self) -> None:
        """Untouched rows and edges that were neither added nor deleted stay the same."""
        train, (damaged, report) = toy_data(), self.damage()
        for name, matrix in train.features.items():
            untouched = ~report.touched[name]
            np.testing.assert_array_equal(damaged.features[name][untouched], matrix[untouched])
        kept = np.setdiff1d(train.supervision.keys, report.deleted.keys)
        np.testing.assert_array_equal(damaged.supervision.keys, np.union1d(kept, report.added.keys))

    def test_the_same_options_do_the_same_damage(self) -> None:
        """All draws come from its own seed."""
        (first, _), (again, _) = self.damage(), self.damage()
        for name, matrix in first.features.items():
            np.testing.assert_array_equal(again.features[name], matrix)
        np.testing.assert_array_equal(again.supervision.keys, first.supervision.keys)


class KindContract:
    """What chosen items get instead of their features."""

    kind: ClassVar[str]
    """As in ``corruption.kind``: a name, or the path of a function."""

    def test_it_gives_finite_rows_and_leaves_the_clean_ones(self) -> None:
        """One row for each chosen item, or one row for all."""
        clean, chosen = toy_data().features["visual"], np.array([2, 7, 11])
        rows = replacement(self.kind)(clean, chosen, stream(0, "kind"))
        assert rows.shape in ((3, clean.shape[1]), (clean.shape[1],))
        assert np.isfinite(rows).all()
        np.testing.assert_array_equal(clean, toy_data().features["visual"])

    def test_the_same_stream_gives_the_same_rows(self) -> None:
        """Nothing is drawn from anywhere else."""
        clean, chosen = toy_data().features["visual"], np.array([2, 7, 11])
        first, again = (replacement(self.kind)(clean, chosen, stream(0, "kind")) for _ in range(2))
        np.testing.assert_array_equal(first, again)


class DatasetContract(StageContract):
    """A reader of data."""

    def test_it_reads_the_same_sound_data_twice(self) -> None:
        """Disjoint, non-empty splits, and features with one finite row for each item."""
        data, again = self.read_data()(), self.read_data()()
        assert isinstance(data, Dataset)
        assert data.digest == again.digest
        parts = (data.train, data.valid, data.test)
        assert all(len(part) for part in parts)
        assert len(data.observed) == sum(map(len, parts))
        for matrix in data.features.values():
            assert matrix.shape[0] == data.num_items
            assert matrix.dtype == np.float32
            assert np.isfinite(matrix).all()

    def test_it_reads_the_same_data_whatever_the_number_of_threads(self) -> None:
        """A worker has other threads than its controller: it would not find the job that was prepared."""
        digests = set()
        for threads in THREADS:
            with threadpool_limits(limits=threads):
                digests.add(self.read_data()().digest)
        assert len(digests) == 1, "the data depend on the number of BLAS threads; give them a recipe"


class MetricContract:
    """A metric of ranked lists."""

    path: ClassVar[str]
    """Of the function."""

    def test_it_gives_each_user_a_finite_value_and_the_best_ranking_the_best_one(self) -> None:
        """In the order of user ids."""
        held_out = Edges.of(np.array([0, 0, 2, 5]), np.array([1, 4, 3, 2]), 6, 9)
        metric = function(self.path)
        best, worst = (metric(held_out, ranks, 5) for ranks in (np.array([0, 1, 0, 0]), np.array([7, 8, 8, 8])))
        assert best.shape == worst.shape == (3,)
        assert np.isfinite(best).all()
        assert np.isfinite(worst).all()
        assert (best >= worst).all()
