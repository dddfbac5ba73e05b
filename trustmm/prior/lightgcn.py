"""The collaborative prior: LightGCN trained on the graph that a method sees."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

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
from trustmm.training.checkpoint import Checkpoint, FileCheckpoint, NoCheckpoint
from trustmm.training.loop import OnEpoch, Training, fit


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
            training: optimiser and device; limits, batch size and learning rate are the prior's own.
            evaluation: cutoffs and batch size of the early stopping.
            cache: where trained priors are kept.
            on_epoch: told of every epoch, stage "prior".
        """
        own = {name: getattr(self, name) for name in ("epochs", "patience", "batch_size", "learning_rate")}
        training = replace(training, **own, lr_decay=None, weight_decay=None)
        key = {
            "edges": digest([train.propagation.keys, valid.keys, train.num_users, train.num_items]),
            "options": describe([self, training]),
            "seed": seed,
            "code": code_digest(__name__),
        }
        path = cache.path("prior", key)
        place = None if path is None else path.with_suffix(".checkpoint")
        kept = NoCheckpoint() if place is None else FileCheckpoint(place, key, cache.environment)
        stored = cache.arrays(
            "prior",
            key,
            lambda: self._train(train, valid, seed, training, evaluation, on_epoch, kept),
            before=lambda: kept.before,
        )
        kept.clear()
        return Prior(stored["user_UD"], stored["item_ID"])

    def _train(
        self,
        train: TrainData,
        valid: Edges,
        seed: int,
        training: Training,
        evaluation: FullRanking,
        on_epoch: OnEpoch,
        checkpoint: Checkpoint,
    ) -> Mapping[str, NDArray[Any]]:
        model = LightGCN(
            train,
            rng=stream(seed, "prior", "init"),
            neighbours=NeighbourSearch(),
            embedding_dim=self.embedding_dim,
            num_layers=self.num_layers,
            reg=self.reg,
        )
        masks: dict[str, Edges] = dict.fromkeys(MASKS, train.propagation)
        evaluator = evaluation.evaluator(valid, masks, training.torch_device)
        fit(
            model,
            train.propagation,
            evaluator,
            training,
            seed=seed,
            stage="prior",
            on_epoch=on_epoch,
            checkpoint=checkpoint,
        )
        with torch.no_grad():
            final = model.embeddings()
        return {"user_UD": final.user_UD.cpu().numpy(), "item_ID": final.item_ID.cpu().numpy()}
