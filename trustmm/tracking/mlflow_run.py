"""One run in MLflow: requests within its limits, failures counted and survived."""

import getpass
import json
import logging
import os
import posixpath
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from trustmm.process.alive import mark
from trustmm.process.signals import signals_wait
from trustmm.tracking.breaker import Breaker, breaker_of
from trustmm.tracking.database import database_file, database_url, remove_misread
from trustmm.tracking.redact import public, short

log = logging.getLogger(__name__)

T = TypeVar("T")
Status = Literal["FINISHED", "FAILED", "KILLED"]
PAUSE = 2.0
"""Least seconds between two requests with metrics: those of short epochs wait for each other, and the end sends all."""
INCOMPLETE = "tracking_failures"
"""Tag: how many calls the store refused, so that a run with holes is known as one."""
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the last line on stdout is ours
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # a server that is gone delays a training by seconds, not minutes
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@dataclass(frozen=True)
class DatasetInfo:
    """The data of a run, as MLflow's Dataset column shows them."""

    name: str
    digest: str
    """Content digest; MLflow keeps 36 characters."""
    profile: str
    """JSON object of sizes, such as the number of users."""
    source: str
    """Where the data come from: a folder, an address, the word "synthetic"."""


class Run:
    """What a job says about itself; this one forgets it."""

    run_id: str | None = None
    """MLflow's id; None where nothing is kept, or the store has not answered yet."""
    kept = False
    """Whether what is said is kept."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers in one request; MLflow shows "recall@10" as "recall_at_10"."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set or replace tags."""

    def log_files(self, folder: Path) -> None:
        """Log every file below `folder` as an artefact."""

    def log_text(self, text: str, file: str) -> None:
        """Log a text as the artefact `file`, such as "notes/error.txt"."""


@dataclass
class Guard:
    """Turns failures of the store into one warning and a count."""

    breaker: Breaker | None = None
    """Of a server; None for a database file, whose transactions a signal must not cut."""
    failures: int = 0

    def demand(self, do: Callable[[], T]) -> T:
        """What `do` returns, in the time that a server has, or its exception."""
        return do() if self.breaker is None else self.breaker.call(do)

    def attempt(self, action: str, do: Callable[[], T], *, last: bool = False) -> T | None:
        """What `do` returns, or None where it fails; `last` is tried also where the server is left alone."""
        try:
            if self.breaker is not None:
                return self.breaker.call(do, last=last)
            with signals_wait():
                return do()
        except Exception as reason:  # noqa: BLE001 - whatever the store does, the training goes on
            self.failures += 1
            level = logging.WARNING if self.failures == 1 else logging.DEBUG
            log.log(level, "tracking: could not %s, continuing without it: %s", action, short(reason))
            return None


def guard_of(uri: str) -> Guard:
    """A new count of failures of a store."""
    return Guard(None if database_file(uri) is not None else breaker_of(uri))


class MLflowRun(Run):
    """A run that survives its store: created by the first call that succeeds; what failed is tried again at the end.

    Args:
        guard: of the store.
        client: connects to the store.
        create: makes the run and returns its id.
    """

    kept = True

    def __init__(self, guard: Guard, client: Callable[[], Any], create: Callable[[Any], str]) -> None:
        self._guard, self._client, self._create = guard, client, create
        self._missed: list[Callable[[Any, str], None]] = []
        self._unsent: list[tuple[dict[str, float], int, int]] = []
        self._next_request = -float("inf")

    def describe(self, params: Mapping[str, Any], dataset: DatasetInfo | None) -> None:
        """Log what is known before the job starts."""
        self._attempt("log params", lambda client, run: log_params(client, run, params))
        if dataset is not None:
            self._attempt("log the dataset", lambda client, run: _log_dataset(client, run, dataset))

    def log_new_params(self, params: Mapping[str, Any]) -> None:
        """Log what the run does not have yet: a parameter never changes, and a sweep may be continued elsewhere."""

        def log(client: Any, run: str) -> None:
            known = client.get_run(run).data.params
            log_params(client, run, {name: value for name, value in legal_names(params).items() if name not in known})

        self._attempt("log params", log)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers, infinities as NaN; those that follow within `PAUSE` share a request."""
        self._unsent.append((dict(metrics), step or 0, int(time.time() * 1000)))
        if time.monotonic() >= self._next_request:
            self._attempt("log metrics", self._waiting_metrics())
            self._next_request = time.monotonic() + PAUSE

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set or replace tags."""
        self._attempt("set tags", lambda client, run: set_tags(client, run, tags))

    def log_files(self, folder: Path) -> None:
        """Log every file below `folder` as an artefact."""
        self._attempt("log files", lambda client, run: client.log_artifacts(run, str(folder)))

    def log_named(self, files: Mapping[str, Path]) -> None:
        """Log files as artefacts of these names, whose last part is the file's own."""

        def log(client: Any, run: str) -> None:
            for name, path in files.items():
                client.log_artifact(run, str(path), posixpath.dirname(name) or None)

        self._attempt("log files", log)

    def log_text(self, text: str, file: str) -> None:
        """Log a text as an artefact."""
        self._attempt("log text", lambda client, run: client.log_text(run, text, file))

    def finish(self, status: Status, reason: BaseException | None = None) -> None:
        """Send what waits or failed, then set the status; tags say what ended the job and how many calls fail."""
        if self._unsent:
            self._missed.append(self._waiting_metrics())

        def end(client: Any, run: str) -> None:
            self._missed = [do for do in self._missed if not _succeeds(do, client, run)]
            tags = {} if reason is None else {"error": public(f"{type(reason).__name__}: {reason}")}
            if self._missed:
                tags[INCOMPLETE] = str(len(self._missed))
            set_tags(client, run, tags)
            client.set_terminated(run, status)

        self._guard.attempt(f"set the status {status}", partial(self._call, end), last=True)

    def _waiting_metrics(self) -> Callable[[Any, str], None]:
        """A call that sends the metrics that wait now; they wait no longer."""
        waiting, self._unsent = self._unsent, []
        return lambda client, run: _log_metrics(client, run, waiting)

    def _attempt(self, action: str, do: Callable[[Any, str], None]) -> None:
        if self._guard.attempt(action, partial(self._call, do)) is None:
            self._missed.append(do)

    def _call(self, do: Callable[[Any, str], None]) -> bool:
        client = self._client()
        if self.run_id is None:
            self.run_id = self._create(client)
        do(client, self.run_id)
        return True


def _succeeds(do: Callable[[Any, str], None], client: Any, run: str) -> bool:
    try:
        do(client, run)
    except Exception as reason:  # noqa: BLE001 - it is counted
        log.debug("tracking: failed again: %s", short(reason))
        return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that MLflow's libraries have for each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def load() -> Any:
    """MLflow's client class, quiet: its errors come back as exceptions, its migrations are nobody's news."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with quiet():
        from mlflow.tracking import MlflowClient
    for noisy in ("mlflow", "alembic", "sqlalchemy.engine", "sqlalchemy.pool", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    return MlflowClient


@cache
def connect(uri: str) -> Any:
    """A client of a store."""
    client, file = load(), database_file(uri)
    with quiet():
        if file is None:
            return client(uri)
        url = database_url(file)
        found = client(url)
        remove_misread(url, file)
        return found


def origin() -> dict[str, str]:
    """Tags of every run: who, which program at which commit, and the process that would know if it died."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    commit = _git_commit()
    return {
        "mlflow.user": user,
        "mlflow.source.name": sys.argv[0] or "trustmm",
        "mlflow.source.type": "LOCAL",
        **({"mlflow.source.git.commit": commit} if commit else {}),
        **mark(),
    }


@cache
def _git_commit() -> str | None:
    """Commit of this package's source; None for an installed copy, which may sit in somebody else's repository."""
    here = Path(__file__).parent
    if "site-packages" in here.parts:
        return None
    try:
        command = ["git", "-C", str(here), "rev-parse", "--verify", "HEAD"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def log_params(client: Any, run_id: str, params: Mapping[str, Any]) -> None:
    """Log parameters as text of at most 6000 characters; MLflow's client sends a hundred at a time."""
    from mlflow.entities import Param

    named = legal_names(params).items()
    client.log_batch(run_id, params=[Param(name, str(value)[:6000]) for name, value in named])


def set_tags(client: Any, run_id: str, tags: Mapping[str, Any]) -> None:
    """Set tags; MLflow's client sends a hundred at a time."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tag_values(tags).items()])


def tag_values(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them: legal names, text of at most 5000 characters."""
    return {name: str(value)[:5000] for name, value in legal_names(tags).items()}


def _log_metrics(client: Any, run_id: str, calls: Sequence[tuple[Mapping[str, float], int, int]]) -> None:
    """Log numbers with step and milliseconds; MLflow's client sends a thousand at a time.

    Infinities become NaN: a store would replace them by the largest double, which ruins every axis.
    """
    from mlflow.entities import Metric

    metrics = [
        Metric(name, float(value) if abs(value) < float("inf") else float("nan"), now, step)
        for values, step, now in calls
        for name, value in legal_names(values).items()
    ]
    client.log_batch(run_id, metrics=metrics)


def _log_dataset(client: Any, run_id: str, info: DatasetInfo) -> None:
    """Twice if need be: of two runs that are the first to name a dataset, MLflow refuses the one that comes second."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    source = json.dumps({"uri": info.source})
    data = Dataset(info.name[:500], info.digest[:36], "local", source, profile=info.profile)
    inputs = [DatasetInput(data, [InputTag("mlflow.data.context", "training")])]
    try:
        client.log_inputs(run_id, inputs)
    except MlflowException as refusal:
        if refusal.error_code != "BAD_REQUEST":  # what it makes of a broken constraint of its database
            raise
        client.log_inputs(run_id, inputs)


def legal_names(values: Mapping[str, T]) -> dict[str, T]:
    """The same values under names that MLflow permits, none lost.

    Letters, digits and ``_ - . : / space`` stay, "recall@10" becomes "recall_at_10", all else "_"; a name must also
    be a clean relative path of at most 250 characters. Two names that become one are told apart by a "_" at the end.
    """
    legal: dict[str, T] = {}
    for original, value in values.items():
        name = re.sub(r"[^\w\-.:/ ]", "_", str(original).replace("@", "_at_"))
        name = posixpath.normpath("/" + name).strip("/")[:240].rstrip("/") or "_"
        while name in legal:
            name += "_"
        legal[name] = value
    return legal
