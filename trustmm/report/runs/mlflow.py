"""Runs of an MLflow store: read like a sweep folder, and the report logged back to its sweep."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from trustmm.report.runs.read import Failure, Runs, row_or_none
from trustmm.store.job_folder import RESULT
from trustmm.store.sweep_folder import STUDY
from trustmm.tracking.database import database_file
from trustmm.tracking.mlflow_run import Guard, connect, guard_of, load
from trustmm.tracking.redact import public, short

log = logging.getLogger(__name__)
FILES = (RESULT, "per_user.npz")
PAGE_SIZE = 1000
_TAGS = {"eta": "corruption.eta", "eta_e": "corruption.eta_e"}


def read_mlflow(uri: str, cache: Path, *, experiment: str | None, parent: str | None) -> Runs:
    """Jobs of an experiment, or of one sweep: finished ones with their files, failed ones with their reason.

    Args:
        uri: of the store.
        cache: where the files of the runs are copied to, by run.
        experiment: its name; may be missing where `parent` is given.
        parent: id of a sweep's run.

    Raises: ValueError where the store cannot be read, or holds no such experiment or run.
    """
    load()
    guard, file = guard_of(uri), database_file(uri)
    if file is not None and not file.is_file():
        raise ValueError(f"--mlflow {public(uri)}: there is no file {file}")
    try:
        client = _Client(guard, guard.demand(partial(connect, uri)))
        experiment_id = _experiment_id(client, experiment, parent)
        found = list(_jobs(client, experiment_id, parent))
    except ValueError:
        raise
    except Exception as reason:
        raise ValueError(f"cannot read --mlflow {public(uri)}: {short(reason)}") from reason
    rows, failures = [], []
    for run in found:
        path = _download(guard, client, run, cache) if run.info.status == "FINISHED" else None
        known = None if path is None else row_or_none(path)
        if known is not None:
            about = {"cell": run.info.run_name, "run_id": run.info.run_id}
            rows.append(known | about | {"sweeps": (run.data.tags.get("mlflow.parentRunId", public(uri)),)})
        elif run.info.status != "RUNNING":
            failures.append(_failure(run))
    source = f"{public(uri)} {experiment or ''} {parent or ''}".strip()
    done = {line["job_id"] for line in rows}
    failures = [failure for failure in failures if failure.values.get("job_id") not in done]
    sweeps = {name for line in rows for name in line["sweeps"]} - {public(uri)}
    look = {name: partial(_is_search, client.bare, name) for name in sorted(sweeps)}
    searches = [name for name in look if guard.attempt("look for the page of a search", look[name])]
    parents = {parent: uri} if parent else {}
    return Runs(pd.DataFrame(rows), failures, sources=[source], searches=searches, parents=parents)


class _Client:
    """MLflow's client, whose every call has the time that a server has to answer."""

    def __init__(self, guard: Guard, client: Any) -> None:
        self._guard, self.bare = guard, client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The method of this name."""
        return lambda *values, **named: self._guard.demand(partial(getattr(self.bare, name), *values, **named))


def _is_search(client: Any, parent: str) -> bool:
    """Whether the run of a sweep has the page of a search, or several in folders."""
    top = client.list_artifacts(parent)
    files = [*top, *(file for folder in top if folder.is_dir for file in client.list_artifacts(parent, folder.path))]
    return any(Path(file.path).name == STUDY for file in files)


def _experiment_id(client: Any, experiment: str | None, parent: str | None) -> str:
    if parent is not None:
        return str(client.get_run(parent).info.experiment_id)
    if experiment is None:
        raise ValueError("--mlflow needs --experiment NAME or --parent RUN_ID")
    found = client.get_experiment_by_name(experiment)
    if found is None:
        names = ", ".join(sorted(known.name for known in client.search_experiments()))
        raise ValueError(f"there is no experiment {experiment!r} in the store; available: {names}")
    return str(found.experiment_id)


def _jobs(client: Any, experiment_id: str, parent: str | None) -> Any:
    query = "tags.role = 'job'" + (f" and tags.`mlflow.parentRunId` = '{parent}'" if parent else "")
    token = None
    while True:
        page = client.search_runs([experiment_id], query, max_results=PAGE_SIZE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _download(guard: Guard, client: _Client, run: Any, cache: Path) -> Path | None:
    """The result of a run; None where the store has no such file."""
    folder = cache / run.info.run_id
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if not (folder / name).is_file():
            fetch = partial(client.bare.download_artifacts, run.info.run_id, name, str(folder))
            guard.attempt(f"fetch {name}", fetch)
    path = folder / RESULT
    return path if path.is_file() else None


def _failure(run: Any) -> Failure:
    tags = run.data.tags
    known = ("dataset", "backbone", "rectifier", "edit", "seed", "job_id", *_TAGS)
    values = {_TAGS.get(name, name): tags[name] for name in known if name in tags}
    reason = tags.get("error", "no result.json" if run.info.status == "FINISHED" else "")
    return Failure(run.info.run_name, run.info.status, reason, values)


def parents_of(runs: Runs) -> Mapping[str, str]:
    """Tracking store by parent run of the sweeps that were read; empty where nothing was tracked or it is gone."""
    if runs.parents or not len(runs.table) or "run_id" not in runs.table:
        return runs.parents
    parents: dict[str, str] = {}
    for rows in runs.of_sweeps.values():
        tracked = rows[rows["run_id"].fillna("") != ""]
        if not len(tracked):
            continue
        first = tracked.iloc[0]
        uri = str(first["tracking"].get("uri", ""))
        if _is_there(uri):
            run = guard_of(uri).attempt("find the sweep's run", partial(_run, uri, str(first["run_id"])))
            parent = None if run is None else run.data.tags.get("mlflow.parentRunId")
            parents |= {parent: uri} if parent else {}
    return parents


def _run(uri: str, run_id: str) -> Any:
    return connect(uri).get_run(run_id)


def _is_there(uri: str) -> bool:
    """Not a database file that MLflow would create."""
    file = database_file(uri)
    return uri.startswith(("http", "postgresql", "mysql", "mssql")) if file is None else file.is_file()


def log_report(uri: str, parent: str, files: Sequence[Path]) -> None:
    """Log the files of a report with the sweep's run; a failing store costs a warning."""
    guard = guard_of(uri)
    for path in files:
        guard.attempt(f"log {path.name}", partial(_log_file, uri, parent, path))


def _log_file(uri: str, parent: str, path: Path) -> None:
    connect(uri).log_artifact(parent, str(path), "report")
