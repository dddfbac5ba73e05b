"""``make quick-report``: runs every ``quick_*`` template (finished jobs are reused), reports each, then the claims."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trustmm.options.config import TEMPLATES, template_folder
from trustmm.report.runs.read import FAILED
from trustmm.store.sweep_folder import CELLS

OUTPUTS = Path("outputs")


def main() -> None:
    """Exit status 1 if a sweep or a report failed; the others are reported all the same."""
    templates = sorted(path.stem for path in template_folder().glob("quick_*.yaml"))
    if not templates:
        raise SystemExit(f"there is no quick_*.yaml in {template_folder()}")
    started, fine = time.monotonic(), True
    swept: dict[str, Path] = {}
    for template in templates:
        sweep = OUTPUTS / "sweeps" / template
        command = ("trustmm", "-m", "--config-dir", TEMPLATES, "--config-name", template)
        fine &= _run(*command, f"hydra.sweep.dir={sweep}")
        if (sweep / CELLS).is_file() or (sweep / FAILED).is_file():
            swept[template] = sweep
    for study, parts in together(list(swept)).items():
        sweeps = [swept[part] for part in parts]
        fine &= _run("trustmm", "report", *sweeps, "--out", OUTPUTS / "report" / study, "--title", study)
    claims = ("--claims", "--no-log", "--title", "The claims, on all quick studies")
    fine &= _run("trustmm", "report", *swept.values(), "--out", OUTPUTS / "report", *claims)
    minutes = (time.monotonic() - started) / 60
    sys.stdout.write(f"{len(templates)} sweeps in {minutes:.0f} minutes: {OUTPUTS / 'report'}\n")
    raise SystemExit(not fine)


def together(names: Sequence[str]) -> dict[str, list[str]]:
    """Sweeps by the one whose report they are in: a name that continues another goes with it (controls_lightgcn)."""
    heads = [name for name in names if not any(name.startswith(f"{other}_") for other in names)]
    return {head: [name for name in names if name == head or name.startswith(f"{head}_")] for head in heads}


def _run(*words: str | Path) -> bool:
    command = [str(word) for word in words]
    sys.stdout.write(f"$ python -m {' '.join(command)}\n")
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", *command]).returncode == 0
