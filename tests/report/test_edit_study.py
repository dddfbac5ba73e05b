"""A study of edits, which repairs nothing, has a report of its own: gains beside the alignment of the prior."""

from pathlib import Path

from trustmm.report.runs.cells import name_cell
from trustmm.report.runs.read import read_sweeps
from trustmm.report.table.diagnosis import alignment_table
from trustmm.report.write import write_report

from .conftest import Sweep

PLAN = """
hydra:
  sweep: {dir: x}
  job: {config_name: fig4_edge_editing}
  runtime: {cwd: /nowhere, choices: {dataset: synthetic, backbone: lightgcn, rectifier: none, edit: none}}
  sweeper:
    _target_: hydra.x.BasicSweeper
    params: {experiment: 'edge_editing/base, edge_editing/prune_both, edge_editing/prune_graph_only', seed: '0, 1'}
  overrides: {task: []}
seed: 0
corruption: {eta: 0.0, eta_e: 0.15}
"""


def edits(sweep: Sweep) -> None:
    for seed in (0, 1):
        sweep.add(0.05, eta_e=0.15, backbone="lightgcn", seed=seed)
        for where, gain in (("both", -0.002), ("graph_only", 0.001 * (1 + seed))):
            found = {"edit/auc_injected": 0.7 + seed / 10, "edit/pruned_spurious": 0.3, "edit/pruned": 20.0}
            cell = {"edit": where, "op": "prune", "eta_e": 0.15, "backbone": "lightgcn", "seed": seed}
            sweep.add(0.05 + gain, diagnostics=found, **cell)


def test_alignment_stands_beside_every_gain(sweep: Sweep, tmp_path: Path) -> None:
    edits(sweep)
    runs = read_sweeps([sweep.folder])
    table = alignment_table(runs)
    assert table.columns == ["edit", "R@10 minus base", "AUC injected", "spurious among pruned"]
    assert [[str(value) for value in row] for row in table.rows] == [
        ["graph_only", "+0.0015", "0.75", "0.300"],
        ["both", "-0.0020", "0.75", "0.300"],
    ]
    page = write_report(runs, tmp_path)[0].read_text(encoding="utf-8")
    assert "Gain of the edit" in page
    assert "The repair itself" not in page


def test_missing_cells_are_named_by_what_their_experiment_chooses(sweep: Sweep) -> None:
    for seed in (0, 1):
        sweep.add(0.05, eta_e=0.15, backbone="lightgcn", seed=seed)
        sweep.cells[-1]["cell"] = f"experiment=edge_editing/base seed={seed}"
    sweep.record("experiment=edge_editing/prune_both seed=0", "", status="FAILED", reason="no")
    (sweep.folder / "multirun.yaml").write_text(PLAN, encoding="utf-8")
    runs = read_sweeps([sweep.folder])
    names = [name_cell(cell, ["edit.op", "edit"]) for cell in [*runs.failures, *runs.absent]]
    assert names == [
        "edit.op=prune edit=both seed=0",
        "edit.op=prune edit=both seed=1",
        "edit.op=prune edit=graph_only seed=0",
        "edit.op=prune edit=graph_only seed=1",
    ]
