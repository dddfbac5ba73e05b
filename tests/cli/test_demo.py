"""What the demo's tables say beside the numbers, and how CI runs it."""

import re
from pathlib import Path

from rich.console import Console

from tests.report.conftest import Sweep
from trustmm.cli.demo import recall_table
from trustmm.report.runs.read import read_sweeps


def test_a_demo_that_went_on_elsewhere_names_both_environments_beside_its_pairs(tmp_path: Path) -> None:
    sweep, console = Sweep(tmp_path), Console(width=200)
    for eta in (0, 0.2):
        sweep.add(0.1, rectifier="none", eta=eta)
        sweep.add(0.2, rectifier="mr", eta=eta, blas="SkylakeX" if eta else "Haswell")
    with console.capture() as captured:
        console.print(recall_table("Recall@10", read_sweeps([sweep.folder])))
    text = " ".join(captured.get().split())
    assert "mr - none at eta 0.2: B vs A" in text
    assert "blas SkylakeX (1 job on one)" in text
    assert "at eta 0:" not in text


def test_ci_runs_the_two_commands_of_the_readme_and_the_demo_on_other_kernels_whose_numbers_it_reads(
    project: Path,
) -> None:
    section = (project / "README.md").read_text(encoding="utf-8").partition("## Two commands")[2]
    commands = re.findall(r"^make \S+", section.partition("```")[2].partition("```")[0], flags=re.MULTILINE)
    lines = (project / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert commands == ["make demo", "make test"]
    assert all(any(re.search(rf"(^|\s){command}(\s|$)", line) for line in lines) for command in commands)
    again = next(n for n, line in enumerate(lines) if re.match(r"OPENBLAS_CORETYPE=\S+ make demo OUTPUTS=", line))
    read = next(n for n, line in enumerate(lines) if line.startswith("DEMO_OUTPUTS=") and "-m demo" in line)
    assert lines.index("make demo") < again < read
