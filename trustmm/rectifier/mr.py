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
from trustmm.graph.sparse import SparseMatrix
from trustmm.options.checks import Count, NonNegative, Share, Within
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier.matching import Matching, Support, row_normalised, sinkhorn, sparse_affinity
from trustmm.rectifier.mismatch import estimate_mismatch
from trustmm.rectifier.projection import ProjectionTraining, fit_projections
from trustmm.seeding import stream
from trustmm.store.cache import Cache
from trustmm.store.digest import digest
from trustmm.store.identity import code_digest, describe

log = logging.getLogger(__name__)
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
    """Estimated share of mismatched items, a scalar (); NaN unless `rho` is `estimate`."""
    num_sweeps: NDArray[np.int64]
    """Sinkhorn sweeps made, a scalar ()."""


@dataclass(frozen=True, kw_only=True)
class ModalityRectifier:
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
            cache: where rectified features are kept.
            device: where it runs.

        Raises: ValueError if `k` exceeds the number of items.
        """
        self.check_fit(train.num_items)
        anchors_ID = prior().item_ID
        warm = train.propagation.item_degree > 0
        features, repairs = {}, {}
        for name, observed in train.features.items():
            rectify_one = _OneModality(self, name, observed, anchors_ID, warm, eta[name], seed, device)
            stored = dict(cache.arrays("rectified", rectify_one.key(), rectify_one))
            features[name] = stored.pop("rectified", observed)
            repairs[name] = Repair(**stored)
        return replace(train, features=features), repairs

    def check_fit(self, num_items: int) -> None:
        """Raise ValueError if `k` exceeds the number of items."""
        if self.k > num_items:
            raise ValueError(f"rectifier.k must be at most the {num_items} items of the dataset, got {self.k}")

    @property
    def oracle_rho(self) -> bool:
        """Whether rho was read off the injected ratio, which nobody knows in practice."""
        return self.rho in ("paper", "drop")


@dataclass(frozen=True, eq=False)
class _OneModality:
    """Rectification of one feature matrix (I, X), as a value with a content key."""

    options: ModalityRectifier
    name: str
    observed: NDArray[np.float32]
    anchors: NDArray[np.float32]
    warm: NDArray[np.bool_]
    eta: float
    seed: int
    device: torch.device

    def key(self) -> dict[str, Any]:
        described = describe(self.options) | ({"eta": self.eta} if self.options.oracle_rho else {})
        return {
            "arrays": digest([self.observed, self.anchors, self.warm]),
            "options": described,
            "modality": self.name,
            "seed": self.seed,
            "code": code_digest(__name__),
        }

    def __call__(self) -> dict[str, NDArray[Any]]:
        observed = torch.from_numpy(self.observed).to(self.device)
        anchors = torch.from_numpy(self.anchors).to(self.device)
        rho, eta_hat = self._rho(observed, anchors)
        usable = self.warm if self.options.cold == "keep" else np.ones_like(self.warm)
        members = torch.from_numpy(usable[:, None]).to(self.device)
        training, rng = self.options.projection, stream(self.seed, "rectifier", "projection", self.name)
        maps = fit_projections(observed, anchors, members, rho=rho, training=training, rng=rng)
        projected = torch.cat([maps(rows)[:, 0] for rows in observed.split(training.batch_size)])
        matching, plain = self.match(anchors, projected)
        result = {} if self.options.lam == 1 else {"rectified": self._rectified(observed, matching)}
        alignment = (torch.nn.functional.normalize(anchors, dim=1) * projected).sum(dim=1)
        numbers = {"rho": rho, "eta_hat": eta_hat, "num_sweeps": matching.num_sweeps}
        arrays = {
            "alignment": alignment,
            "diagonal": matching.diagonal(),
            "row_mass": matching.row_mass(),
            "column_mass": matching.column_mass(),
            "column_mass_row_norm": plain.column_mass(),
        }
        result |= {name: value.double().cpu().numpy() for name, value in arrays.items()}
        return result | {name: np.array(value) for name, value in numbers.items()}

    def match(self, anchors: Tensor, projected: Tensor) -> tuple[Matching, Matching]:
        """The plan in use, and the one without Sinkhorn."""
        options = self.options
        affinity = sparse_affinity(anchors, projected, k=options.k, tau=options.tau, support=options.support)
        plain = row_normalised(affinity)
        if options.matching == "row_norm":
            return plain, plain
        return sinkhorn(affinity, num_sweeps=options.num_sweeps, eps=options.eps), plain

    def _rho(self, observed: Tensor, anchors: Tensor) -> tuple[float, float]:
        """Share kept, and the estimated mismatch or NaN."""
        match self.options.rho:
            case "paper":
                return min(1.0, self.eta + INHERENT), np.nan
            case "drop":
                return max(LEAST_KEPT, 1 - self.eta - INHERENT), np.nan
            case "estimate":
                rng = stream(self.seed, "rectifier", "mismatch", self.name)
                training = self.options.projection
                eta_hat = estimate_mismatch(observed, anchors, self.warm, training=training, rng=rng)
                log.info("rectifier: about %.0f %% of the %s features look mismatched", 100 * eta_hat, self.name)
                return max(LEAST_KEPT, 1 - eta_hat), eta_hat
            case rho:
                return float(rho), np.nan

    def _rectified(self, observed: Tensor, matching: Matching) -> NDArray[np.float32]:
        plan = matching.matrix()
        rectified = mix(observed, plan, self.options.lam)
        if self.options.cold == "keep":
            cold = torch.from_numpy(~self.warm).to(observed.device)
            rectified[cold] = observed[cold]
        return rectified.cpu().numpy()


def mix(observed_IX: Tensor, plan: SparseMatrix, lam: float) -> Tensor:
    """Return lam e + (1 - lam) P e (Eqs. 13-14), (I, X), in row blocks."""
    mixed_IX = torch.empty_like(observed_IX)
    for rows in torch.arange(len(observed_IX), device=observed_IX.device).split(4096):
        matched = plan.multiply_rows(observed_IX, rows)
        mixed_IX[rows] = matched.mul_(1 - lam).add_(observed_IX[rows], alpha=lam)
    return mixed_IX
