"""Runs in MLflow: one parent per sweep, one child per job, and a status that is the truth.

The controller calls `initialise` and `parent` before any job starts; what fails there is a `TrackingError`. From then
on a failing store costs a warning, never a training. MLflow loads on first use, so importing this module is cheap.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TypeVar

from trustmm.process.alive import is_dead
from trustmm.tracking.database import (
    HalfMadeError,
    database_file,
    database_lock,
    database_url,
    ensure_database,
    has_options,
)
from trustmm.tracking.mlflow_run import (
    INCOMPLETE,
    DatasetInfo,
    Guard,
    MLflowRun,
    Run,
    Status,
    connect,
    guard_of,
    legal_names,
    load,
    log_params,
    origin,
    quiet,
    set_tags,
    tag_values,
)
from trustmm.tracking.redact import public, short
from trustmm.tracking.view import EXPERIMENT_TAGS, SweepSummary, link_to_curves, link_to_sweep, view_of_sweep

__all__ = ["DatasetInfo", "MLflowTracking", "NoTracking", "Run", "Status", "Tracking", "TrackingError"]

T = TypeVar("T")
_STORE = re.compile(r"sqlite(\+pysqlite)?:///.+|https?://[^/].*|(postgresql|mysql|mssql)(\+\w+)?://[^/].*")


def link_to_latest(uri: str, server: str) -> str | None:
    """Address of the table of the newest sweep's jobs; None where there is none yet, or the store does not answer.

    Args:
        uri: of a database, or of a file.
        server: address of the pages.
    """
    load()
    file = database_file(uri)
    if file is not None and not file.is_file():
        return None

    def newest() -> str | None:
        client = connect(uri)
        experiments = [found.experiment_id for found in client.search_experiments()]
        runs = client.search_runs(experiments, "tags.role = 'sweep'", max_results=1, order_by=["start_time DESC"])
        return next((link_to_sweep(run.info.experiment_id, run.info.run_id, server) for run in runs), None)

    return guard_of(uri).attempt("look for the newest sweep", newest)


class TrackingError(RuntimeError):
    """The tracking store cannot be used; found before any job has started."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where the runs of jobs and sweeps are kept; what a subclass does not do is not kept."""

    uri: str = field(repr=False)
    experiment: str

    def initialise(self) -> None:
        """Make the store ready, once, before any job; repeating it does no harm."""

    def parent(self, sweep_id: str, *, name: str, tags: Mapping[str, Any], params: Mapping[str, Any]) -> str | None:
        """Id of the parent run of a sweep, created or found again; None where nothing is kept."""
        return None

    def finish_parent(self, run_id: str | None, status: Status, summary: SweepSummary) -> str | None:
        """Set the status of a parent run and show what its sweep found; the address of a table of its jobs, if any."""
        return None

    @contextmanager
    def run(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        parent_run_id: str | None = None,
        dataset: DatasetInfo | None = None,
    ) -> Iterator[Run]:
        """The run of one job: FINISHED when the block ends, FAILED when it raises, KILLED when it is interrupted."""
        yield Run()

    def find(self, job_id: str) -> str | None:
        """A finished run of this job without holes, if there is one."""
        return None

    def close_orphans(
        self, job_id: str, *, status: Status = "KILLED", reason: str = "", parent: str | None = None
    ) -> None:
        """Give a true end to what this job's processes left RUNNING when they died.

        Args:
            job_id: identity of the job.
            status: what the controller saw, if it did.
            reason: why they died, if somebody knows.
            parent: run of the sweep whose launcher has seen the job end, so that its run is closed wherever it ran;
                without one only those whose process on this host is known to be dead.
        """


@dataclass(frozen=True, kw_only=True)
class NoTracking(Tracking):
    """Jobs leave only their own files."""


@dataclass(frozen=True, kw_only=True)
class MLflowTracking(Tracking):
    """Runs in an MLflow store: a database file, a database or a server.

    Processes that write to it should be started afresh (spawn, subprocess, Slurm), not forked from one that did.

    Args:
        uri: such as ``sqlite:///mlflow.db``, relative to the working directory.
        experiment: name of the study; its artefacts lie in ``mlartifacts/`` beside a database file.

    Raises: ValueError for a folder of files, which MLflow refuses since 3.13, and for an empty experiment.
    """

    _guard: Guard = field(default_factory=Guard, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        memory = self.uri.startswith("sqlite") and database_file(self.uri) is None
        if not _STORE.fullmatch(self.uri) or memory or has_options(self.uri):
            raise ValueError(
                "tracking.uri must be a database file such as sqlite:///mlflow.db, a server (http, https) or a "
                f"database (postgresql, mysql, mssql), got {public(self.uri)!r}; MLflow refuses folders since 3.13"
            )
        if not self.experiment.strip() or len(self.experiment) > 500:
            raise ValueError(f"tracking.experiment must have 1 to 500 characters, got {self.experiment[:80]!r}")
        object.__setattr__(self, "_guard", guard_of(self.uri))

    def initialise(self) -> None:
        """Create schema and experiment under a file lock: many processes on a fresh sqlite file leave it corrupt."""

        def make() -> None:
            client = self._client()
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                client.create_experiment(self.experiment, self._artifact_location, EXPERIMENT_TAGS)
            elif found.lifecycle_stage != "active":
                raise ValueError(f"experiment {self.experiment!r} was deleted; choose another tracking.experiment")

        load()
        with self._start():
            if self._database is not None:
                with quiet():
                    ensure_database(self._database)
            self._guard.demand(make)

    def parent(self, sweep_id: str, *, name: str, tags: Mapping[str, Any], params: Mapping[str, Any]) -> str:
        """Id of the parent run with the tag `sweep_id`: found again and set RUNNING, or created."""
        tags = {**origin(), **tags, "sweep_id": sweep_id, "role": "sweep"}

        def find_or_create() -> str:
            client = self._client()
            for found in self._search({"sweep_id": sweep_id, "role": "sweep"}):
                run_id = str(found.info.run_id)
                client.update_run(run_id, status="RUNNING")
                set_tags(client, run_id, tags)
                return run_id
            run_id = self._create(client, name, tags)
            log_params(client, run_id, params)
            return run_id

        load()
        with self._start():
            return self._guard.demand(find_or_create)

    def finish_parent(self, run_id: str | None, status: Status, summary: SweepSummary) -> str | None:
        """See the base class; the table's columns are a shared view, which this writes."""

        def share() -> str:
            client = self._client()
            experiment = self._experiment_id(client)
            for key, value in view_of_sweep(str(run_id), summary.axes).items():
                client.set_experiment_tag(experiment, key, value)
            return experiment

        experiment, note = self._guard.attempt("share a view of the sweep", share), summary.note
        if experiment is not None and (curves := list(legal_names(dict.fromkeys(summary.curves)))):
            chart = f"[The means as curves, in one chart]({link_to_curves(experiment, str(run_id), curves)})"
            note = f"{chart}\n\n{note}"  # first: the page folds a long note
        run = MLflowRun(guard_of(self.uri), self._client, lambda client: str(run_id))
        run.log_new_params(summary.params)
        run.set_tags({**summary.tags, "mlflow.note.content": note} if note else summary.tags)
        for step, metrics in summary.metrics.items():
            run.log_metrics(metrics, step=step)
        run.log_named(summary.files)
        run.finish(status)
        return None if experiment is None else link_to_sweep(experiment, str(run_id))

    @contextmanager
    def run(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, Any],
        parent_run_id: str | None = None,
        dataset: DatasetInfo | None = None,
    ) -> Iterator[Run]:
        """The run of one job, with a status that is true; whatever ended the block is raised again."""
        child = {"mlflow.parentRunId": parent_run_id} if parent_run_id else {}
        labels, started = {**origin(), "role": "job", **tags, **child}, int(time.time() * 1000)
        run = MLflowRun(guard_of(self.uri), self._client, lambda client: self._create(client, name, labels, started))
        try:
            run.describe(params, dataset)
            yield run
            run.finish("FINISHED")
        except BaseException as reason:
            run.finish("FAILED" if isinstance(reason, Exception) else "KILLED", reason)
            raise

    def find(self, job_id: str) -> str | None:
        """A finished run of this job without holes, if there is one."""
        runs = self._guard.attempt("look for a run", lambda: self._search({"job_id": job_id}, "FINISHED"))
        return next((run.info.run_id for run in runs or [] if INCOMPLETE not in run.data.tags), None)

    def close_orphans(
        self, job_id: str, *, status: Status = "KILLED", reason: str = "", parent: str | None = None
    ) -> None:
        """See the base class."""
        for orphan in (
            self._guard.attempt("look for orphans", lambda: self._search({"job_id": job_id}, "RUNNING")) or []
        ):
            tags = orphan.data.tags
            seen = parent is not None and tags.get("mlflow.parentRunId") == parent
            if seen or is_dead(tags):
                self._close(orphan.info.run_id, status, reason or f"process {tags.get('pid')} ended without a report")

    def _close(self, run_id: str, status: Status, reason: str) -> None:
        run = MLflowRun(guard_of(self.uri), self._client, lambda client: run_id)
        run.set_tags({"error": reason})
        run.finish(status)

    @property
    def _database(self) -> Path | None:
        """The sqlite file; None for a server."""
        return database_file(self.uri)

    @property
    def _artifact_location(self) -> str | None:
        """A folder beside the database file, inside `mlartifacts` whatever the name; a server chooses its own."""
        if self._database is None:
            return None
        safe = re.sub(r"[^A-Za-z0-9_-]+", "_", self.experiment)[:80]
        if safe != self.experiment:
            safe += "-" + blake2b(self.experiment.encode(), digest_size=4).hexdigest()
        return (self._database.parent / "mlartifacts" / safe).as_uri()

    def _client(self) -> Any:
        if self._database is None:
            return connect(self.uri)
        if not self._database.exists():  # MLflow would create it, at the same time as other jobs
            raise FileNotFoundError(f"{self._database} is gone")
        return connect(database_url(self._database))

    def _experiment_id(self, client: Any) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            raise LookupError(f"the store has no experiment {self.experiment!r}")
        return str(found.experiment_id)

    def _create(self, client: Any, name: str, tags: Mapping[str, Any], started: int | None = None) -> str:
        new = client.create_run(self._experiment_id(client), started, tag_values(tags), name)
        return str(new.info.run_id)

    def _search(self, tags: Mapping[str, str], status: Status | Literal["RUNNING"] | None = None) -> list[Any]:
        """The newest 100 runs with these tags and this status."""
        terms = [f"tags.{name} = '{_plain(value)}'" for name, value in tags.items()]
        terms += [f"attributes.status = '{status}'"] if status else []
        client = self._client()
        return list(client.search_runs([self._experiment_id(client)], " and ".join(terms), max_results=100))

    @contextmanager
    def _start(self) -> Iterator[None]:
        """Before any job, alone with a database file; whatever goes wrong is a TrackingError."""
        try:
            with nullcontext() if self._database is None else database_lock(self._database):
                yield
        except Exception as reason:
            said = str(reason) if isinstance(reason, HalfMadeError) else short(reason)
            raise TrackingError(
                f"cannot use tracking.uri={public(self.uri)}: {said}; "
                "make sure that it can be reached and written, or turn tracking off with tracking=none"
            ) from reason


def _plain(value: str) -> str:
    if not re.fullmatch(r"[\w.:/@+ -]+", value):
        raise ValueError(f"a tag to search by may hold letters, digits and _.:/@+- only, got {value!r}")
    return value
