"""``make quick-report``: runs every ``quick_*`` template (finished jobs are reused), reports each, then the claims."""

import subprocess
import sys
import time
from pathlib import Path

from trustmm.config import config_folder
from trustmm.report.read import FAILED
from trustmm.results import CELLS

OUTPUTS = Path("outputs")
TEMPLATES = config_folder().parent / "multirun_templates"


def main() -> None:
    """Exit status 1 if a sweep or a report failed; the others are reported all the same."""
    templates = sorted(TEMPLATES.glob("quick_*.yaml"))
    if not templates:
        raise SystemExit(f"there is no quick_*.yaml in {TEMPLATES}")
    started, fine, swept = time.monotonic(), True, []
    for template in templates:
        sweep = OUTPUTS / "sweeps" / template.stem
        command = ("trustmm", "-m", "--config-dir", TEMPLATES, "--config-name", template.stem)
        fine &= _run(*command, f"hydra.sweep.dir={sweep}")
        if (sweep / CELLS).is_file() or (sweep / FAILED).is_file():
            swept.append(sweep)
            out = OUTPUTS / "report" / template.stem
            fine &= _run("trustmm.report", sweep, "--out", out, "--title", template.stem)
    title = "The claims, on all quick studies"
    fine &= _run("trustmm.report", *swept, "--out", OUTPUTS / "report", "--claims", "--no-log", "--title", title)
    minutes = (time.monotonic() - started) / 60
    sys.stdout.write(f"{len(templates)} studies in {minutes:.0f} minutes: {OUTPUTS / 'report'}\n")
    raise SystemExit(not fine)


def _run(*words: str | Path) -> bool:
    command = [str(word) for word in words]
    sys.stdout.write(f"$ python -m {' '.join(command)}\n")
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", *command]).returncode == 0


if __name__ == "__main__":
    main()
