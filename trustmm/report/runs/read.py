"""Finished jobs, from sweep folders or an MLflow store, as one tidy table."""

import csv
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from trustmm.options.config import config_folder
from trustmm.report.runs.looks import Looks, read_looks
from trustmm.report.runs.order import sort_key
from trustmm.report.runs.plan import Plan, flatten, plan_of, same_cell, words_of
from trustmm.store.identity import class_name
from trustmm.store.job_folder import RESULT
from trustmm.store.sweep_folder import STUDY, read_cells

log = logging.getLogger(__name__)
FAILED = "failed.csv"
CHOICES = ("dataset", "backbone", "rectifier", "edit")
SEEDS = ("seed", "corruption.seed")
MASKS = ("clean", "corrupted", "edited")
_NOT_OPTIONS = frozenset({"dataset.root", "dataset.name", "evaluation.batch_size"})
"""What a label says already, and what moves no number: earlier jobs recorded how many users are scored at once."""


@dataclass(frozen=True)
class Failure:
    """A cell without a result."""

    cell: str
    status: str
    """FAILED, KILLED, or what the launcher recorded."""
    reason: str
    values: Mapping[str, str]
    """What is known of its options, as text, by the user's keys; a choice by its group."""

    @property
    def out_of_memory(self) -> bool:
        """Whether the reason names memory."""
        text = self.reason.lower()
        return "memory" in text or "oom" in text.split()


@dataclass(frozen=True)
class Runs:
    """What a report is made of."""

    table: pd.DataFrame
    """One row a finished job; columns are described in `row`, and `sweeps`: of what it is a cell."""
    failures: Sequence[Failure] = ()
    absent: Sequence[Failure] = ()
    """Planned cells that nothing is known of."""
    superseded: Sequence[str] = ()
    """Older results of a cell that has a newer one."""
    unplanned: Sequence[str] = ()
    """Recorded cells that the template of their folder, as it is now, does not plan."""
    names: Sequence[str] = ()
    """Templates that the sweeps came from."""
    sources: Sequence[str] = ()
    searches: Sequence[str] = ()
    """Sweeps that a sampler drew: a cell has one seed, and no grid."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Tracking store by parent run."""
    commands: Sequence[str] = ()
    """That made the sweeps, where they are known."""
    looks: Sequence[Looks] = ()
    """Studies that stopped by themselves."""

    @property
    def of_sweeps(self) -> Mapping[str, pd.DataFrame]:
        """Rows by the sweep that they are a cell of; one row may be a cell of several."""
        names = {name for row in self.table["sweeps"] for name in row}
        return {name: self.table[[name in row for row in self.table["sweeps"]]] for name in sorted(names)}

    @property
    def per_user_folders(self) -> Mapping[str, Path]:
        """Folder of each job."""
        return {job: Path(folder) for job, folder in zip(self.table["job_id"], self.table["folder"], strict=True)}


def read_sweeps(folders: Iterable[Path]) -> Runs:
    """All cells of sweep folders, each job once.

    Args:
        folders: sweep folders (with ``cells.csv``), or a folder of job folders (``outputs``).

    Raises: ValueError for a folder that is neither.
    """
    return combine(_found_elsewhere([_read_folder(folder) for folder in folders]))


def _found_elsewhere(parts: Sequence[Runs]) -> list[Runs]:
    """The parts without failed and planned cells that another folder of the same command, of another machine, has."""
    known: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)

    def left(part: Runs, cells: Sequence[Failure]) -> list[Failure]:
        seen = known[tuple(part.commands)]
        new = [cell for cell in cells if not part.commands or words_of(cell.cell) not in seen]
        seen.update(words_of(cell.cell) for cell in new)
        return new

    for part in parts:
        known[tuple(part.commands)].update(words_of(cell) for cell in part.table.get("cell", ()))
    parts = [replace(part, failures=left(part, part.failures)) for part in parts]
    return [replace(part, absent=left(part, part.absent)) for part in parts]


def combine(parts: Sequence[Runs]) -> Runs:
    """Several sources as one; an older result of the same cell gives way to a newer one."""
    tables = [part.table for part in parts if len(part.table)]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["job_id", "folder", "sweeps"])
    runs = Runs(
        table,
        [failure for part in parts for failure in part.failures],
        [cell for part in parts for cell in part.absent],
        list(dict.fromkeys(line for part in parts for line in part.superseded)),
        list(dict.fromkeys(cell for part in parts for cell in part.unplanned)),
        list(dict.fromkeys(name for part in parts for name in part.names)),
        [source for part in parts for source in part.sources],
        [search for part in parts for search in part.searches],
        {run: uri for part in parts for run, uri in part.parents.items()},
        list(dict.fromkeys(command for part in parts for command in part.commands)),
        [study for part in parts for study in part.looks],
    )
    return _newest(runs) if len(table) else runs


def _newest(runs: Runs) -> Runs:
    table = _told_apart(runs.table).sort_values("time", kind="stable").reset_index(drop=True)
    cell = table.groupby([*options_in(table), *SEEDS], dropna=False, sort=False).ngroup()
    sweeps = {number: tuple(sorted(set().union(*names))) for number, names in table["sweeps"].groupby(cell)}
    table["sweeps"] = cell.map(sweeps)
    cell = cell[~table.duplicated("job_id", keep="last")]
    table = table.loc[cell.index]
    older = cell.duplicated(keep="last")
    lines = [f"{line.folder} (code {line.code_digest[:8]})" for line in table[older].itertuples()]
    return replace(runs, table=_in_order(table[~older]), superseded=list(dict.fromkeys([*runs.superseded, *lines])))


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by their options and seeds: a report is the same whichever job finished first."""
    keys = [*CHOICES, *(key for key in options_in(table) if key not in CHOICES), *SEEDS, "job_id"]
    places = [[sort_key(key, value) for value in table[key]] for key in keys]
    rows = sorted(range(len(table)), key=lambda row: [column[row] for column in places])
    return table.iloc[rows].reset_index(drop=True)


def options_in(table: pd.DataFrame) -> list[str]:
    """Columns that hold options, seeds left out."""
    keys = [key for key in table.columns if key in CHOICES or key.partition(".")[0] in _GROUPS]
    return [key for key in keys if key not in SEEDS]


_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
"""Of a function, such as ``corruption.kind=myshop.functions.flipped``."""
_GROUPS = frozenset({"corruption", "prior", "rectifier", "edit", "backbone", "training", "evaluation", "dataset"})


def _told_apart(table: pd.DataFrame) -> pd.DataFrame:
    """Data with the same name and options and several contents get the digest into their label: nothing pairs them."""
    plain = table.assign(dataset=table["dataset"].str.partition("#")[0])
    options = ["dataset", *(key for key in options_in(table) if key.startswith("dataset."))]
    several = plain.groupby(options, dropna=False)["content_digest"].transform("nunique") > 1
    named = plain["dataset"] + "#" + plain["content_digest"].str[:6]
    return plain.assign(dataset=plain["dataset"].where(~several, named))


def _read_folder(folder: Path) -> Runs:
    if not folder.is_dir():
        raise ValueError(f"{folder} must be a sweep folder (with cells.csv) or a folder of jobs, but it does not exist")
    cells = read_cells(folder)
    if not cells and not (folder / FAILED).is_file():
        return _read_jobs(folder)
    plan = plan_of(folder)
    rows, failures = [], _failed(folder, plan)
    for cell in cells:
        found = _find_result(folder, plan, cell["job_id"])
        status = cell.get("status") or "FINISHED"
        known = None if found is None else row_or_none(found)
        if found is not None and known is None:
            failures.append(Failure(cell["cell"], "DAMAGED", f"{found} is damaged", plan.values(cell["cell"])))
        elif known is not None and status in ("FINISHED", "COMPLETED"):
            rows.append(known | {"cell": cell["cell"], "run_id": cell.get("run_id", ""), "sweeps": (str(folder),)})
        else:
            reason = cell.get("reason") or ("no result.json" if status == "FINISHED" else "")
            status = "LOST" if status == "FINISHED" else status
            failures.append(Failure(cell["cell"], status, reason, plan.values(cell["cell"])))
    seen = [*(cell["cell"] for cell in cells), *(failure.cell for failure in failures)]
    absent = [cell for cell in plan.cells if not any(same_cell(cell, other) for other in seen)]
    matched = len(absent) < len(plan.cells)  # otherwise the folder was filled by another command
    others = [cell["cell"] for cell in cells if not any(same_cell(cell["cell"], planned) for planned in plan.cells)]
    never = [Failure(cell, "ABSENT", "never recorded", plan.values(cell)) for cell in absent if matched]
    names = [plan.name] if plan.name else []
    searches = [str(folder)] if any(folder.rglob(STUDY)) else []
    commands = [plan.command] if plan.command else []
    unplanned = others if matched else ()
    table, sources = pd.DataFrame(rows), [str(folder)]
    known = {"commands": commands, "looks": read_looks(folder)}
    return Runs(table, failures, never, (), unplanned, names, sources, searches, **known)


def _failed(folder: Path, plan: Plan) -> list[Failure]:
    """Cells of ``failed.csv``, which the launcher writes; none without it."""
    path = folder / FAILED
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            lines = list(csv.DictReader(handle))
        return [Failure(line["cell"], line["status"], line["reason"], plan.values(line["cell"])) for line in lines]
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        log.warning("%s is damaged (%s); the report continues without it", path, error)
        return []


def _read_jobs(folder: Path) -> Runs:
    paths = sorted(folder.glob(f"*/{RESULT}"))
    if not paths:
        raise ValueError(f"{folder} must be a sweep folder (with cells.csv) or hold jobs ({RESULT} in subfolders)")
    rows = [(path, row_or_none(path)) for path in paths]
    lost = [Failure(path.parent.name, "DAMAGED", f"{path} is damaged", {}) for path, found in rows if found is None]
    known = [found | {"sweeps": (str(folder),)} for _, found in rows if found is not None]
    return Runs(pd.DataFrame(known), lost, sources=[str(folder)])


def _find_result(folder: Path, plan: Plan, job_id: str) -> Path | None:
    """The result of a job: beside `sweeps`, or where the sweep's configuration says."""
    places = [folder.parent.parent, *plan.outputs]
    paths = (place / job_id / RESULT for place in places) if job_id else ()
    return next((path for path in paths if path.is_file()), None)


def row_or_none(path: Path) -> dict[str, Any] | None:
    """`row`, or None for a damaged file, which is named: a report goes on without it."""
    try:
        return row(path)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        log.warning("%s is damaged (%s: %s); the report continues without it", path, type(error).__name__, error)
        return None


def row(path: Path) -> dict[str, Any]:
    """One finished job as a flat row.

    Columns: identity and versions; options by the user's keys (``corruption.eta``), choices by their group
    (``backbone``), None where an option means nothing in this job (``corruption.seed`` of one without damage);
    ``test/recall@10``, ``valid/...``, ``edited/recall@10`` (other masks), ``diagnostics/...``.
    """
    summary = json.loads(path.read_text(encoding="utf-8"))
    config, options = summary["config"], summary["options"]
    flat = {key: value for group in _GROUPS - {"dataset"} for key, value in flatten(options.get(group), group)}
    flat |= {key: value for key, value in flatten(config["dataset"], "dataset") if "modalities" not in key}
    labels = {
        "dataset": label_of(summary, "dataset"),
        "backbone": label_of(summary, "backbone"),
        "rectifier": label_of(summary, "rectifier"),
        "edit": label_of(summary, "edit"),
    }
    flat = {key: class_name(value) if key.endswith("._target_") else value for key, value in flat.items()}
    eta_of = dict(options["corruption"].get("eta_of") or {})  # only what differs from eta: a zero counts
    named = {key: value for key, value in flat.items() if not key.startswith("corruption.eta_of")}
    if str(options["corruption"].get("_target_", "trustmm.")).startswith("trustmm."):
        damaged = bool(options["corruption"]["eta"] or eta_of)
        named["corruption.kind"] = flat.get("corruption.kind", "permute") if damaged else None
        named["corruption.joint"] = flat.get("corruption.joint", False) if damaged else None
    else:
        named["corruption.kind"] = label_of(summary, "corruption")
    named = {"corruption.eta": None, "corruption.eta_e": 0} | named
    named["corruption.edge_kind"] = flat.get("corruption.edge_kind", "uniform") if named["corruption.eta_e"] else None
    named |= {
        "corruption.eta_of": " ".join(f"{name}={_exact(value)}" for name, value in sorted(eta_of.items())) or None
    }
    kept = {key: value for key, value in named.items() if key not in _NOT_OPTIONS}
    return {
        **_facts(summary, path),
        **{key: _plain(value) for key, value in kept.items()},
        **labels,
        "seed": config["seed"],
        "corruption.seed": options["corruption"].get("seed"),
        **_numbers(summary),
    }


def _facts(summary: Mapping[str, Any], path: Path) -> dict[str, Any]:
    return {
        "job_id": summary["job_id"],
        "folder": str(path.parent),
        "time": _ended(summary, path),
        "code_digest": summary["code_digest"],
        "stages": " ".join(sorted(set(_targets(summary["options"])))),
        "dataset_digest": summary["dataset_digest"],
        "content_digest": summary.get("content_digest", summary["dataset_digest"]),
        "modalities": dict(summary["config"]["dataset"].get("modalities") or {}),
        "statistics": summary.get("dataset_statistics"),
        "environment": dict(summary.get("environment", {})),
        "inputs": list(summary.get("inputs", ())),
        "seconds": summary["seconds"],
        "evaluated_users": summary["evaluated_users"],
        "filter": summary["config"]["evaluation"].get("filter", "clean"),
        "tracking": dict(summary["config"].get("tracking") or {}),
    }


def _ended(summary: Mapping[str, Any], path: Path) -> float:
    """When a job ended, in seconds; earlier results did not say it."""
    return datetime.fromisoformat(summary["ended"]).timestamp() if "ended" in summary else path.stat().st_mtime


def _numbers(summary: Mapping[str, Any]) -> dict[str, float | None]:
    table = {f"{split}/{name}": value for split in ("test", "valid") for name, value in summary[split].items()}
    masks = summary["test_by_mask"]
    table |= {f"{mask}/{name}": value for mask in MASKS for name, value in masks.get(mask, {}).items()}
    return table | {f"diagnostics/{name}": value for name, value in summary["diagnostics"].items()}


def _exact(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _plain(value: Any) -> Any:
    """Something that can be compared and sorted: lists as text."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _targets(node: Any) -> Iterator[str]:
    """Classes and functions that options name; those of a plugin need not be installed here."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from [class_name(str(value))] if key == "_target_" else _targets(value)
    elif isinstance(node, str) and _PATH.fullmatch(node):
        yield node


def label_of(summary: Mapping[str, Any], group: str) -> str:
    """The option of a group as a report calls it: by what it does for our own, by its name for a plugin's."""
    options = (summary["config"] if group == "dataset" else summary["options"])[group]
    target = str(options["_target_"])
    if not target.startswith("trustmm."):
        return str(summary.get("choices", {}).get(group) or target.rpartition(".")[2].lower())
    own = {"dataset": dataset_label, "rectifier": rectifier_label, "edit": edit_label}
    return own[group](options) if group in own else target.split(".")[-2]


def dataset_label(options: Mapping[str, Any]) -> str:
    """Name of the option in ``conf/dataset`` with this name and these files; else the data's own name."""
    if options["_target_"].endswith("SyntheticDataset"):
        return "synthetic"
    files = dict(options.get("modalities") or {})
    found = [stem for stem, name, modalities in _known() if name == options["name"] and modalities == files]
    return found[0] if found else str(options["name"])


@cache
def _known() -> list[tuple[str, str, dict[str, str]]]:
    options = [(path.stem, OmegaConf.load(path)) for path in sorted((config_folder() / "dataset").glob("*.yaml"))]
    folders = [(stem, option) for stem, option in options if isinstance(option, DictConfig) and "root" in option]
    return [(stem, option.name, dict(option.modalities)) for stem, option in folders if stem != "folder"]


def rectifier_label(options: Mapping[str, Any]) -> str:
    """``none``, ``mr`` or one of its ablations."""
    if options["_target_"].endswith("NoRectifier"):
        return "none"
    if not options["_target_"].endswith("ModalityRectifier"):
        return str(options["_target_"]).split(".")[-2]
    if options.get("matching") == "row_norm":
        return "mr_row_norm"
    return "mr_all_pairs" if options.get("rho") == 1 else "mr"


def edit_label(options: Mapping[str, Any]) -> str:
    """``none`` or where edges are edited: ``train_only``, ``graph_only``, ``both``."""
    return "none" if options["_target_"].endswith("NoEdit") else str(options["where"])
