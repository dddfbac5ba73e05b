"""Modality-level rectification: the paper's repair (Sec. 4.2), offline and without change to any backbone."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustmm.dataset.data import TrainData
from trustmm.exact import decimal
from trustmm.graph.neighbours import unit_rows
from trustmm.graph.sparse import SparseMatrix
from trustmm.options.checks import Count, NonNegative, Share, Within
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier.base import Rectifier
from trustmm.rectifier.matching import Matching, Support, row_normalised, sinkhorn, sparse_affinity
from trustmm.rectifier.mismatch import estimate_mismatch
from trustmm.rectifier.projection import ProjectionTraining, fit_projections
from trustmm.seeding import stream
from trustmm.store.cache import Cache
from trustmm.store.digest import digest
from trustmm.store.identity import code_digest, describe
from trustmm.trust.storey import Estimate

log = logging.getLogger(__name__)
MISMATCH, PROJECTION, MATCHING = (step.__module__ for step in (estimate_mismatch, fit_projections, sinkhorn))
"""Where the code of each step lies."""
INHERENT = 0.05
"""Mismatch that the paper assumes in any data (Sec. 6.1.4)."""
LEAST_KEPT = 0.05
"""Smallest share of pairs that a projection is trained on, however bad the data look."""


@dataclass(frozen=True, eq=False)
class Repair:
    """What rectification did to one modality. Arrays are per item, (I,)."""

    alignment: NDArray[np.float64]
    """Cosine of the anchor and the item's own projected features, s_ii."""
    diagonal: NDArray[np.float64]
    """P_ii."""
    row_mass: NDArray[np.float64]
    column_mass: NDArray[np.float64]
    column_mass_row_norm: NDArray[np.float64]
    """Column mass of the row-normalised affinity, the ablation without Sinkhorn."""
    rho: NDArray[np.float64]
    """Share of each batch that the projection was trained on, a scalar ()."""
    eta_hat: NDArray[np.float64]
    """Estimated share of mismatched items, a scalar (); NaN unless `rho` is `estimate`, and with too few items."""
    eta_hat_error: NDArray[np.float64]
    """Its standard error, a scalar (); NaN likewise."""
    num_sweeps: NDArray[np.int64]
    """Sinkhorn sweeps made, a scalar ()."""


@dataclass(frozen=True, kw_only=True)
class ModalityRectifier(Rectifier):
    """Soft matching of anchors and features, and a mix with the observed ones (Eqs. 6-14)."""

    lam: Share
    """Share of the observed feature kept, Eq. 14; 1 returns the input."""
    tau: Annotated[float, Within("[0.01, inf)")]
    """Affinity temperature, Eq. 10."""
    k: Count
    """Candidates of an anchor, Eq. 10; at most the number of items."""
    rho: Annotated[float, Within("(0, 1]")] | Literal["paper", "drop", "estimate"]
    """Share of a batch kept by small-loss selection, Eq. 8, or how it is found."""
    matching: Literal["sinkhorn", "row_norm"]
    num_sweeps: Count
    eps: NonNegative
    """Added to both denominators of Eq. 12."""
    support: Support
    cold: Literal["rectify", "keep"]
    """Items without training edges have an untrained anchor; `keep` leaves their features."""
    projection: ProjectionTraining

    def __call__(
        self,
        train: TrainData,
        prior: Callable[[], Prior],
        *,
        eta: Mapping[str, float],
        seed: int,
        cache: Cache,
        device: torch.device,
    ) -> tuple[TrainData, dict[str, Repair]]:
        """Data with rectified features, and what was done to each modality.

        Args:
            train: data with observed features, left as they are.
            prior: gives the anchors.
            eta: injected share by modality; only the readings `paper` and `drop` of rho look at it.
            seed: of projections and folds.
            cache: where projections, estimates and plans are kept, each by what it depends on.
            device: where it runs.

        Raises: ValueError if `k` exceeds the number of items.
        """
        self.check_fit(train.num_items)
        anchors_ID = prior().item_ID
        warm = train.propagation.item_degree > 0
        features, repairs = {}, {}
        for name, observed in train.features.items():
            one = _OneModality(self, name, observed, anchors_ID, warm, eta[name], seed, cache, device)
            features[name], repairs[name] = one.rectified()
        return replace(train, features=features), repairs

    def check_fit(self, num_items: int) -> None:
        """Raise ValueError if `k` exceeds the number of items."""
        if self.k > num_items:
            raise ValueError(f"rectifier.k must be at most the {num_items} items of the dataset, got {self.k}")

    @property
    def oracle_rho(self) -> bool:  # type: ignore[override]
        """Whether rho was read off the injected ratio, which nobody knows in practice."""
        return self.rho in ("paper", "drop")


@dataclass(frozen=True, eq=False)
class _OneModality:
    """Rectification of one feature matrix (I, X). Its parts are kept; the mix, as large as the features, is not."""

    options: ModalityRectifier
    name: str
    observed: NDArray[np.float32]
    anchors: NDArray[np.float32]
    warm: NDArray[np.bool_]
    eta: float
    seed: int
    cache: Cache
    device: torch.device

    def rectified(self) -> tuple[NDArray[np.float32], Repair]:
        """Rectified features, the observed ones themselves where all is kept, and what was done."""
        rho, estimate = self.share_kept()
        projected = self.projected(rho)
        stored = dict(self.plan(projected))
        plan = {name: stored.pop(name) for name in ("rows", "columns", "values")}
        alignment = (unit_rows(self._send(self.anchors)) * self._send(projected)).sum(dim=1)
        numbers = {"rho": rho, "eta_hat": estimate.value, "eta_hat_error": estimate.standard_error}
        arrays = {name: np.array(value) for name, value in numbers.items()}
        repair = Repair(alignment=alignment.double().cpu().numpy(), **arrays, **stored)
        return self.observed if self.options.lam == 1 else self._mixed(plan), repair

    def share_kept(self) -> tuple[float, Estimate]:
        """The share of pairs that the projection is trained on, 1 if there is no telling, and the estimate or NaN."""
        unknown = Estimate(np.nan, np.nan)
        match self.options.rho:
            case "paper":
                return min(1.0, float(decimal(self.eta) + decimal(INHERENT))), unknown
            case "drop":
                return max(LEAST_KEPT, float(1 - decimal(self.eta) - decimal(INHERENT))), unknown
            case "estimate":
                found = self.mismatch()
                if np.isnan(found.value):
                    log.info("rectifier: too few items to estimate the mismatch of %s; all pairs are kept", self.name)
                    return 1.0, found
                words = "rectifier: %.0f %% (standard error %.0f %%) of the %s features look mismatched"
                log.info(words, 100 * found.value, 100 * found.standard_error, self.name)
                return max(LEAST_KEPT, 1 - found.value), found
            case rho:
                return float(rho), unknown

    def mismatch(self) -> Estimate:
        """The estimated share of mismatched items."""

        def compute() -> dict[str, NDArray[Any]]:
            rng, training = stream(self.seed, "rectifier", "mismatch", self.name), self.options.projection
            observed, anchors = self._send(self.observed), self._send(self.anchors)
            return {"estimate": np.array(estimate_mismatch(observed, anchors, self.warm, training=training, rng=rng))}

        key = self._training_key(MISMATCH) | {"usable": digest(self.warm)}
        return Estimate(*self.cache.arrays("mismatch", key, compute)["estimate"].tolist())

    def projected(self, rho: float) -> NDArray[np.float32]:
        """The features in the anchors' space, l2-normalised, (I, D)."""
        usable = self.warm if self.options.cold == "keep" else np.ones_like(self.warm)

        def compute() -> dict[str, NDArray[Any]]:
            observed, anchors, members = map(self._send, (self.observed, self.anchors, usable[:, None]))
            training, rng = self.options.projection, stream(self.seed, "rectifier", "projection", self.name)
            maps = fit_projections(observed, anchors, members, rho=rho, training=training, rng=rng)
            rows = [maps(rows)[:, 0] for rows in observed.split(training.batch_size)]
            return {"projected": torch.cat(rows).cpu().numpy()}

        key = self._training_key(PROJECTION) | {"usable": digest(usable), "rho": rho}
        return self.cache.arrays("projection", key, compute)["projected"]

    def plan(self, projected: NDArray[np.float32]) -> Mapping[str, NDArray[Any]]:
        """The plan's entries, and what `Repair` says about it."""
        options = self.options
        wanted = ("k", "tau", "support", "matching", "num_sweeps", "eps")
        key = {
            "arrays": digest([self.anchors, projected]),
            "options": describe({name: getattr(options, name) for name in wanted}),
            "code": code_digest(MATCHING),
        }

        def compute() -> dict[str, NDArray[Any]]:
            matching, plain = self.match(self._send(self.anchors), self._send(projected))
            matrix = matching.matrix()
            arrays = {
                "rows": matrix.row_index().int(),
                "columns": matrix.columns.int(),
                "values": matrix.values,
                "diagonal": matching.diagonal(),
                "row_mass": matching.row_mass(),
                "column_mass": matching.column_mass(),
                "column_mass_row_norm": plain.column_mass(),
            }
            kept = {name: value.cpu().numpy() for name, value in arrays.items()}
            return kept | {"num_sweeps": np.array(matching.num_sweeps)}

        return self.cache.arrays("plan", key, compute)

    def match(self, anchors: Tensor, projected: Tensor) -> tuple[Matching, Matching]:
        """The plan in use, and the one without Sinkhorn."""
        options = self.options
        affinity = sparse_affinity(anchors, projected, k=options.k, tau=options.tau, support=options.support)
        plain = row_normalised(affinity)
        if options.matching == "row_norm":
            return plain, plain
        return sinkhorn(affinity, num_sweeps=options.num_sweeps, eps=options.eps), plain

    def _training_key(self, module: str) -> dict[str, Any]:
        """What every training of projections depends on."""
        return {
            "arrays": digest([self.observed, self.anchors]),
            "training": describe(self.options.projection),
            "modality": self.name,
            "seed": self.seed,
            "code": code_digest(module),
        }

    def _mixed(self, plan: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        observed, size = self._send(self.observed), len(self.observed)
        rows, columns, values = (self._send(plan[name]) for name in ("rows", "columns", "values"))
        rectified = mix(observed, SparseMatrix(rows.long(), columns.long(), values, (size, size)), self.options.lam)
        if self.options.cold == "keep":
            cold = self._send(~self.warm)
            rectified[cold] = observed[cold]
        return rectified.cpu().numpy()

    def _send(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def mix(observed_IX: Tensor, plan: SparseMatrix, lam: float) -> Tensor:
    """Return lam e + (1 - lam) P e (Eqs. 13-14), (I, X)."""
    return plan.multiply(observed_IX).mul_(1 - lam).add_(observed_IX, alpha=lam)
