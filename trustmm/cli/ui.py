"""``python -m trustmm ui``: MLflow's pages of all runs, for this machine only, without telemetry."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence

from trustmm.options.compose import compose_job
from trustmm.tracking.redact import public

HOST = "127.0.0.1"


def main(words: Sequence[str] | None = None) -> None:
    """Become the server; exit status 1 with one message if the port is taken, the store unusable or MLflow missing."""
    parser = argparse.ArgumentParser("python -m trustmm ui", description=__doc__, allow_abbrev=False)
    parser.add_argument("--uri", help="tracking store (default: the one that jobs started here use)")
    parser.add_argument("--port", type=int, default=5000, help="port of the pages (default: 5000)")
    arguments = parser.parse_args(words)
    uri = arguments.uri or default_store()
    if uri.startswith(("http://", "https://")):
        sys.stdout.write(f"the store is a server with pages of its own: {public(uri)}\n")
        return
    try:
        check_port(arguments.port)
        address = ready(uri)
        from trustmm.tracking.mlflow import link_to_latest

        server = f"http://{HOST}:{arguments.port}"
        link = link_to_latest(uri, server)
    except ValueError as error:
        sys.stderr.write(f"trustmm: {error}\n")
        raise SystemExit(1) from None
    except ImportError:
        sys.stderr.write("trustmm: the pages need MLflow: pip install mlflow\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"runs of {public(uri)}: {server} (Ctrl-C stops it)\n")
    sys.stdout.write(f"the newest sweep: {link}\n" if link else "")
    sys.stdout.flush()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes that nothing here asks for
    os.environ["MLFLOW_BACKEND_STORE_URI"] = address  # not among the words: anybody can list those of a process
    os.execv(sys.executable, command(arguments.port))


def ready(uri: str) -> str:
    """The address of a store as MLflow reads it; a database file is made, if it is not there, so that it is whole.

    Raises: ValueError and OSError for a store that cannot be used; ImportError without MLflow.
    """
    from trustmm.tracking.database import database_file, database_lock, database_url, ensure_database
    from trustmm.tracking.mlflow import MLflowTracking
    from trustmm.tracking.mlflow_run import load, quiet

    load()
    MLflowTracking(uri=uri, experiment="any")
    file = database_file(uri)
    if file is None:
        return uri
    with database_lock(file), quiet():
        ensure_database(file)
    return database_url(file)


def default_store() -> str:
    """The address that ``tracking=mlflow`` has by default."""
    return str(compose_job(["tracking=mlflow"])[0].tracking.uri)


def command(port: int) -> list[str]:
    """MLflow's server on the loopback interface; one worker is there sooner than four, and enough for one person."""
    return [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port), "--workers", "1"]


def check_port(port: int) -> None:
    """Raise ValueError if something listens there."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise ValueError(f"--port {port} is in use; give another, or open http://{HOST}:{port}")
