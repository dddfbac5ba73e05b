"""``python -m trustmm rectify``: a data set folder with rectified features, in the layout that toolkits load."""

import csv
import logging
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from trustmm import __version__
from trustmm.cli.run import run_command
from trustmm.dataset.folder import FolderDataset
from trustmm.dataset.layout import ITEMS, SPLITS, USERS, feature_file, read_names, read_titles, write_inter
from trustmm.dataset.new_folder import check_new, new_folder
from trustmm.dataset.provenance import write_provenance
from trustmm.run.cell import build_stages, open_cache
from trustmm.run.environment import environment
from trustmm.store.cache import recorded
from trustmm.store.identity import code_digest, describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trustmm.corruption.stress import Damage
    from trustmm.dataset.data import Dataset
    from trustmm.rectifier.mending import Mend
    from trustmm.rectifier.mr import Repair

log = logging.getLogger(__name__)
LEAST_SUSPECTS = 100
"""Items in a list of suspects, where there are so many, even if fewer look mismatched."""


def main() -> None:
    """Run `python -m trustmm rectify`."""
    run_command(run, "rectify")


def run(config: DictConfig) -> None:
    """Rectify the features of one data set into `config.out`, which appears whole or not at all."""
    if not config.out:
        raise ValueError("out must be given: the folder to create, such as out=/data_mr/sports")
    out = Path(config.out).expanduser()
    check_new(out, "out")
    job, read_data, _ = build_stages(config)
    if job.rectifier.idle:
        raise ValueError("rectify needs a rectifier, such as rectifier=mr or rectifier=trust, got rectifier=none")
    from trustmm.run.rectified import rectified

    data = read_data()
    if not data.features:
        raise ValueError(f"dataset {data.name!r} has no features to rectify")
    source = read_data.folder() if isinstance(read_data, FolderDataset) else None
    listed = read_data.files(data.provenance) if isinstance(read_data, FolderDataset) else {}
    files = {name: listed.get(name, feature_file(name)) for name in data.features}
    with new_folder(out, "out") as workshop:
        cache = open_cache(config, environment(job.training.torch_device))
        train, repairs, damage = rectified(data, job, cache)
        facts = write_folder(workshop.folder, out.name, data, train.features, repairs, files, source)
        write_trust(workshop.folder, out.name, data, repairs, damage, source)
        origin = {"dataset": data.name, "digest": data.digest, "provenance": data.provenance}
        options = {name: describe(getattr(job, name)) for name in ("corruption", "prior", "rectifier", "training")}
        provenance = {
            "name": out.name,
            "made_by": f"trustmm {__version__}, trustmm.cli.rectify",
            "sources": [origin],
            "options": options | {"seed": job.seed},
            "code_digest": code_digest(type(job.rectifier).__module__),
            "features": facts,
            "environment": environment(job.training.torch_device),
            "inputs": recorded(cache.handed),
        }
        write_provenance(workshop.folder, provenance)
    for name, one in facts.items():
        where = f"; most suspicious items in {out / one['suspects']}" if one.get("suspects") else ""
        sys.stdout.write(f"{name}: {mismatch_words(one)}{where}\n")
    sys.stdout.write(f"rectified {out}\n")


def write_folder(
    folder: Path,
    name: str,
    data: "Dataset",
    features: Mapping[str, "NDArray[np.float32]"],
    repairs: Mapping[str, "Repair"] | Mapping[str, "Mend"],
    files: Mapping[str, str],
    source: Path | None,
) -> dict[str, dict[str, Any]]:
    """Write interactions, features and lists of suspects; facts by modality for the provenance.

    Args:
        folder: empty.
        name: stem of the .inter file.
        data: the interactions.
        features: rectified, by modality.
        repairs: reports, by modality.
        files: file name by modality.
        source: the folder that the data come from, whose maps of ids are copied; None for embedded data.
    """
    splits = (data.train, data.valid, data.test)
    users, items = (np.concatenate([getattr(split, side) for split in splits]) for side in ("users", "items"))
    write_inter(folder / f"{name}.inter", users, items, np.repeat(np.arange(len(SPLITS)), [len(one) for one in splits]))
    for table in (USERS, ITEMS):
        if source is not None and _is_inside(source / table, source):
            shutil.copyfile(source / table, folder / table)
    names = read_names(folder / ITEMS, data.num_items) if (folder / ITEMS).is_file() else None
    facts: dict[str, dict[str, Any]] = {}
    for modality, matrix in features.items():
        np.save(folder / files[modality], matrix)
        facts[modality] = {"file": files[modality], "shape": list(matrix.shape)}
        if modality not in repairs:
            continue
        repair, warm = repairs[modality], data.train.item_degree > 0
        eta_hat, score, extra = judgement(repair)
        facts[modality] |= {"suspects": None, **extra}
        facts[modality] |= {"mismatched_share": None if math.isnan(eta_hat) else eta_hat}
        facts[modality] |= {"items_without_training": int((~warm).sum())}
        if score is not None:
            facts[modality]["suspects"] = f"suspects_{modality}.csv"
            suspects = most_suspicious(score, warm, 0.0 if math.isnan(eta_hat) else eta_hat)
            write_suspects(folder / facts[modality]["suspects"], suspects, score, names)
    return facts


def judgement(repair: "Repair | Mend") -> tuple[float, "NDArray[np.float64] | None", dict[str, Any]]:
    """Estimated share of mismatched items (NaN: none), a score of items (low is suspicious; None: none), more facts."""
    from trustmm.rectifier.mr import Repair

    if isinstance(repair, Repair):
        return float(repair.eta_hat), repair.alignment, {"rho": float(repair.rho)}
    if repair.trust is None:
        return math.nan, None, {}
    trust = repair.trust
    return trust.eta.value, None if trust.hopeless else 1 - trust.probability, {"hopeless": trust.hopeless}


def write_trust(
    folder: Path,
    name: str,
    data: "Dataset",
    repairs: Mapping[str, "Repair"] | Mapping[str, "Mend"],
    damage: "Damage",
    source: Path | None,
) -> None:
    """Write what a rectifier believes of every item: mismatch.parquet, suspects.html; nothing where it judges nothing.

    Args:
        folder: with the maps of ids in it.
        name: of the data.
        data: the interactions.
        repairs: reports, by modality.
        damage: what was injected; where anything was, reliability.png says how right the probabilities are.
        source: the folder that the data come from, whose ``images`` are shown.
    """
    from trustmm.rectifier.mr import Repair
    from trustmm.rectifier.trust import words
    from trustmm.run.suspects import mismatch_frame, reliability_figure, suspects_page

    trust = {m: one.trust for m, one in repairs.items() if not isinstance(one, Repair) and one.trust is not None}
    if not trust:
        return
    known, warm = folder / ITEMS, data.train.item_degree > 0
    names = read_names(known, data.num_items) if known.is_file() else None
    titles = read_titles(known, data.num_items) if known.is_file() else None
    images = source / "images" if source is not None and (source / "images").is_dir() else None
    mismatch_frame(trust, names).to_parquet(folder / "mismatch.parquet", index=False)
    said = {modality: words(modality, one) for modality, one in trust.items()}
    page = suspects_page(f"Suspects of {name}", trust, said, warm, names, titles, images)
    (folder / "suspects.html").write_text(page, encoding="utf-8")
    if any(touched.any() for touched in damage.touched.values()):
        reliability_figure(trust, damage.touched, warm).savefig(folder / "reliability.png")


def most_suspicious(
    alignment: "NDArray[np.float64]", warm: "NDArray[np.bool_]", mismatched_share: float
) -> "NDArray[np.int64]":
    """Items with the lowest alignment, worst first: as many as look mismatched, and `LEAST_SUSPECTS` at least.

    Items without training pairs are left out: their anchor was never trained, so their score says nothing.

    Args:
        alignment: cosine of an item's anchor and its own projected features, (I,).
        warm: items with training pairs, (I,).
        mismatched_share: of the warm items.
    """
    judged = np.flatnonzero(warm)
    count = min(len(judged), max(LEAST_SUSPECTS, math.ceil(mismatched_share * len(judged))))
    return judged[np.argsort(alignment[judged], kind="stable")[:count]]


def write_suspects(
    path: Path, suspects: "NDArray[np.int64]", alignment: "NDArray[np.float64]", names: Sequence[str] | None
) -> None:
    """Write a table itemID, item (its name in the sources, where known), score: the alignment, low is suspicious."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["itemID", *(["item"] if names else []), "score"])
        for item in suspects.tolist():
            writer.writerow([item, *([names[item]] if names else []), f"{alignment[item]:.6f}"])


def _is_inside(path: Path, folder: Path) -> bool:
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


def mismatch_words(facts: Mapping[str, Any]) -> str:
    """The estimated share in words."""
    share = facts.get("mismatched_share")
    return "share of mismatched items not estimated" if share is None else f"about {share:.0%} of the items mismatched"
