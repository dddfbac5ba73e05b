"""Does the repair repair? Measured against the clean features, without training a backbone."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.corruption.base import Damage
from trustmm.dataset.data import Features
from trustmm.evaluation.separation import auc, gini
from trustmm.graph.neighbours import top_products, unit_rows
from trustmm.rectifier.mending import Mend
from trustmm.rectifier.mr import Repair
from trustmm.seeding import stream
from trustmm.trust.mismatch import Trust

NEIGHBOURS = 10
SAMPLE = 2000
"""Most items of a group whose neighbours are compared."""
LOW_MASS = 0.5
FIXED = 0.99
"""A diagonal entry of the plan from which an item is left as it is."""


def repair_diagnostics(
    clean: Features,
    observed: Features,
    rectified: Features,
    repairs: Mapping[str, Repair] | Mapping[str, Mend],
    damage: Damage,
    cold: NDArray[np.bool_],
    *,
    device: torch.device,
) -> dict[str, float]:
    """Flat table of numbers ``modality/group/quantity``; groups are touched, untouched and cold items.

    Args:
        clean: features before corruption.
        observed: after it.
        rectified: after the repair.
        repairs: what the rectifier reports; modalities without a report are left out.
        damage: what was injected.
        cold: items without training edges, (I,).
        device: where neighbours are searched.
    """
    table: dict[str, float] = {}
    for name, repair in repairs.items():
        touched = damage.touched[name]
        groups = {"touched": touched & ~cold, "untouched": ~touched & ~cold, "cold": cold}
        matrices = (clean[name], observed[name], rectified[name])
        if isinstance(repair, Repair):
            told_apart = auc(repair.alignment[groups["touched"]], repair.alignment[groups["untouched"]])
            found = dict(_plan_numbers(repair)) | {"touched_auc": told_apart}
            by_item = {"anchor_cosine": repair.alignment, "diagonal": repair.diagonal}
            choosable = None
        else:
            found, by_item = dict(_trust_numbers(repair.trust, groups)), {"moved": repair.weight}
            if repair.frames is not None and name in damage.wrong_frames:
                found |= dict(_frame_numbers(repair.frames, damage.wrong_frames[name]))
            choosable = repair.choosable
        for group, members in groups.items():
            if members.any():
                values = _group_numbers(matrices, by_item, choosable, np.flatnonzero(members), device)
                found |= {f"{group}/{quantity}": value for quantity, value in values}
        table |= {f"{name}/{quantity}": float(value) for quantity, value in found.items()}
    return table


def _plan_numbers(repair: Repair) -> Iterator[tuple[str, Any]]:
    yield "rho", repair.rho
    yield "eta_hat", repair.eta_hat
    yield "eta_hat_error", repair.eta_hat_error
    yield "num_sweeps", repair.num_sweeps
    for side, mass in (("row", repair.row_mass), ("column", repair.column_mass)):
        yield f"{side}_error_max", np.abs(mass - 1).max()
        yield f"{side}_error_mean", np.abs(mass - 1).mean()
    yield "rows_below_half", (repair.row_mass < LOW_MASS).mean()
    yield "rows_left_alone", (repair.diagonal > FIXED).mean()
    for label, mass in (("", repair.column_mass), ("_row_norm", repair.column_mass_row_norm)):
        yield f"hub_max{label}", mass.max()
        yield f"hub_gini{label}", gini(mass)


def _trust_numbers(trust: Trust | None, groups: Mapping[str, NDArray[np.bool_]]) -> Iterator[tuple[str, Any]]:
    """How good the probabilities are, where the truth is known."""
    if trust is None:
        return
    yield "eta_hat", trust.eta.value
    yield "eta_error", trust.eta.standard_error
    yield "hopeless", trust.hopeless
    judged = groups["touched"] | groups["untouched"]
    truth, probability = groups["touched"][judged], trust.probability[judged]
    yield "touched_auc", auc(trust.probability[groups["untouched"]], trust.probability[groups["touched"]])
    yield "brier", ((probability - truth) ** 2).mean()
    yield "brier_constant", truth.mean() * (1 - truth.mean())
    for low, (items, said, true) in reliability(probability, truth):
        yield f"reliability_{low:.1f}_items", items
        yield f"reliability_{low:.1f}_said", said
        yield f"reliability_{low:.1f}_true", true


def _frame_numbers(trust: Trust, wrong: NDArray[np.bool_]) -> Iterator[tuple[str, Any]]:
    yield "frames/wrong", wrong.mean()
    yield "frames/eta_hat", trust.eta.value
    yield "frames/eta_error", trust.eta.standard_error
    yield "frames/wrong_auc", auc(trust.probability[~wrong], trust.probability[wrong])
    yield "frames/brier", ((trust.probability - wrong) ** 2).mean()


def reliability(
    probability: NDArray[np.float64], truth: NDArray[np.bool_]
) -> list[tuple[float, tuple[int, float, float]]]:
    """Of each tenth of [0, 1] that holds any: lower end; items, mean probability, and the share that is true."""
    tenth = np.clip((probability * 10).astype(np.int64), 0, 9)
    found = [(one / 10, tenth == one) for one in range(10)]
    return [(low, (int(i.sum()), probability[i].mean(), truth[i].mean())) for low, i in found if i.any()]


def _group_numbers(
    matrices: tuple[NDArray[np.float32], ...],
    by_item: Mapping[str, NDArray[np.float64]],
    choosable: NDArray[np.bool_] | None,
    members: NDArray[np.int64],
    device: torch.device,
) -> Iterator[tuple[str, float]]:
    clean, observed, rectified = matrices
    sample = members
    if len(members) > SAMPLE:
        sample = np.sort(stream(0, "diagnostics").choice(members, SAMPLE, replace=False))
    yield "items", len(members)
    for quantity, values in by_item.items():
        yield quantity, values[members].mean()
    yield "observed_to_clean", row_cosine(observed, clean, members)
    yield "rectified_to_clean", row_cosine(rectified, clean, members)
    reference = _neighbour_sets(clean, sample, device)
    yield "observed_knn_overlap", overlap(_neighbour_sets(observed, sample, device), reference)
    yield "rectified_knn_overlap", overlap(_neighbour_sets(rectified, sample, device, choosable), reference)


def row_cosine(left_IX: NDArray[np.float32], right_IX: NDArray[np.float32], rows: NDArray[np.int64]) -> float:
    """Mean cosine of corresponding rows; a zero row counts 0."""
    parts = np.array_split(rows, -(-len(rows) // 4096))
    pairs = [
        (unit_rows(torch.from_numpy(left_IX[part])), unit_rows(torch.from_numpy(right_IX[part]))) for part in parts
    ]
    return float(sum((left * right).sum().item() for left, right in pairs) / len(rows))


def _neighbour_sets(
    features_IX: NDArray[np.float32],
    rows: NDArray[np.int64],
    device: torch.device,
    choosable: NDArray[np.bool_] | None = None,
) -> torch.Tensor:
    """The nearest other items of some items by cosine, among the choosable, (len(rows), k)."""
    unit = unit_rows(torch.from_numpy(features_IX).to(device))
    own = torch.from_numpy(rows).to(device)
    wanted = min(NEIGHBOURS + 1, len(unit))
    allowed = None if choosable is None else torch.from_numpy(choosable).to(device)
    _, found = top_products(unit[own], unit, wanted, allowed=allowed)
    place = torch.arange(wanted, device=device).expand_as(found)
    place = torch.where(found == own[:, None], wanted, place)
    return found.gather(1, place.argsort(dim=1, stable=True)[:, : wanted - 1])


def overlap(left: torch.Tensor, right: torch.Tensor) -> float:
    """Mean share of common entries of corresponding rows of distinct indices, (rows, k) each."""
    if not right.numel():
        return float("nan")
    return float((left[:, :, None] == right[:, None, :]).any(dim=2).float().mean())
