"""``python -m trustmm report SWEEP_FOLDER... --out FOLDER``: tables, figures, statistics, claims of finished runs."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from trustmm.report.runs.mlflow import log_report, parents_of, read_mlflow
from trustmm.report.runs.read import Runs, combine, read_sweeps
from trustmm.report.write import write_report
from trustmm.tracking.redact import public

DESCRIPTION = """
Reads finished jobs and writes the paper's tables and figures with sound statistics: everything in report.md, each table
as .md, .csv and .tex, and each figure as .png, .svg and .pdf; with --html all of it in one page for a browser.
docs/report.md explains how to read them.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit status 1 with one message where there is nothing to report."""
    options = _parser().parse_args(arguments)
    try:
        runs = _read(options)
        if not len(runs.table) and not runs.failures:
            raise ValueError("there is no finished or failed job to report")
        command = [public(shlex.join(["trustmm", "report", *(sys.argv[1:] if arguments is None else arguments)]))]
        html = command if options.html else None
        page, *others = write_report(runs, options.out, title=options.title, claims_only=options.claims, html=html)
        for parent, uri in {} if options.no_log else parents_of(runs).items():
            log_report(uri, parent, [page, *others])
    except ValueError as error:
        sys.stderr.write(f"trustmm: {error}\n")
        raise SystemExit(1) from error
    done = f"{len(runs.table)} finished jobs, {len(runs.failures)} failed, {len(runs.absent)} never ran"
    sys.stdout.write(f"{done}: {page}\n")


def _read(options: argparse.Namespace) -> Runs:
    parts = [read_sweeps(options.sweeps)] if options.sweeps else []
    for uri in options.mlflow:
        cache = options.out / "mlflow"
        parts.append(read_mlflow(uri, cache, experiment=options.experiment, parent=options.parent))
    if not parts:
        raise ValueError("give sweep folders (outputs/sweeps/NAME) or --mlflow URI with --experiment or --parent")
    return combine(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m trustmm report", description=DESCRIPTION)
    parser.add_argument("sweeps", nargs="*", type=Path, help="sweep folders, or a folder of jobs such as outputs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report, created if missing")
    parser.add_argument("--title", default="Report", help="first line of report.md")
    store = "read runs from this store, such as sqlite:///mlflow.db; may be given for several stores"
    parser.add_argument("--mlflow", metavar="URI", action="append", default=[], help=store)
    parser.add_argument("--experiment", help="name of the experiment in the store")
    parser.add_argument("--parent", metavar="RUN_ID", help="only the jobs of this sweep")
    parser.add_argument("--claims", action="store_true", help="write only the claims, for example over many sweeps")
    parser.add_argument("--html", action="store_true", help="also write report.html: one page that needs no other file")
    parser.add_argument("--no-log", action="store_true", help="do not log the report to the sweep's parent run")
    return parser
