"""The collaborative prior: LightGCN trained on the graph that a method sees."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trustmm.backbone.base import Embeddings
from trustmm.backbone.lightgcn import LightGCN
from trustmm.dataset.data import TrainData
from trustmm.evaluation.full_ranking import MASKS, FullRanking
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.options.checks import Count, NonNegative, Positive
from trustmm.seeding import stream
from trustmm.store.cache import Cache
from trustmm.store.digest import digest
from trustmm.store.identity import code_digest, describe
from trustmm.training.checkpoint import FileCheckpoint, NoCheckpoint
from trustmm.training.loop import OnEpoch, Training
from trustmm.training.once import train_once


@dataclass(frozen=True, eq=False)
class Prior:
    """Layer-mean embeddings (Eq. 5): anchors of the rectifier, similarities of the edits. Not normalised."""

    user_UD: NDArray[np.float32]
    item_ID: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LightGCNPrior:
    """Pre-training on the (corrupted) training graph, BPR, early stopping on validation."""

    embedding_dim: Count
    num_layers: Count
    reg: NonNegative
    epochs: Count
    patience: Count
    batch_size: Count
    learning_rate: Positive

    def __call__(
        self,
        train: TrainData,
        valid: Edges,
        *,
        seed: int,
        training: Training,
        evaluation: FullRanking,
        cache: Cache,
        on_epoch: OnEpoch,
    ) -> Prior:
        """The prior of this graph, from the cache if any job has trained it before.

        Args:
            train: its propagation edges are learned from; features are ignored.
            valid: held-out pairs for early stopping; the graph's own edges are masked, since nothing else is known.
            seed: of initial weights and batches.
            training: optimiser and device; limits, batch size, learning rate and seed are the prior's own.
            evaluation: cutoffs and batch size of the early stopping.
            cache: where trained priors are kept.
            on_epoch: told of every epoch, stage "prior".
        """
        own = {name: getattr(self, name) for name in ("epochs", "patience", "batch_size", "learning_rate")}
        training = replace(training, **own, lr_decay=None, weight_decay=None, seed=None, average=1)
        key = {
            "edges": digest([train.propagation.keys, valid.keys, train.num_users, train.num_items]),
            "options": describe([self, training]),
            "seed": seed,
            "code": code_digest(__name__),
        }
        path = cache.path("prior", key)
        place = None if path is None else path.with_suffix(".checkpoint")
        kept = NoCheckpoint() if place is None else FileCheckpoint(place, key, cache.environment)
        masks: dict[str, Edges] = dict.fromkeys(MASKS, train.propagation)
        made = train_once(
            lambda: self._model(train, seed),
            train.propagation,
            evaluation.evaluator(valid, masks, training.torch_device),
            training,
            kind="prior",
            key=key,
            seed=seed,
            stage="prior",
            cache=cache,
            on_epoch=on_epoch,
            checkpoint=kept,
        )
        kept.clear()
        assert isinstance(made.final, Embeddings)
        return Prior(made.final.user_UD.cpu().numpy(), made.final.item_ID.cpu().numpy())

    def _model(self, train: TrainData, seed: int) -> LightGCN:
        return LightGCN(
            train,
            rng=stream(seed, "prior", "init"),
            neighbours=NeighbourSearch(),
            embedding_dim=self.embedding_dim,
            num_layers=self.num_layers,
            reg=self.reg,
        )
