"""The aggregated table of a sweep."""

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from trustmm.report.page.evidence import evidence_page
from trustmm.report.page.sweep import draw, markdown, sweep_page, table_text
from trustmm.store.pivot import best_cell, metrics_of, params_of, pivot
from trustmm.store.sweep_folder import FinishedCell, varying_options
from trustmm.sweep.show import outcome_table


def row(cell: str, value: float, blas: str = "Haswell") -> FinishedCell:
    metrics = dict.fromkeys(("recall@10", "ndcg@10", "recall@20", "ndcg@20"), value)
    facts = {"best_epoch": 3, "seconds": 1.5, "job_id": "j", "environment": {"blas": blas, "host": "one"}, "inputs": []}
    return FinishedCell(cell, f"run-{value}", {"valid": metrics, "test": metrics, **facts})


ROWS = [
    row("backbone=vbpr corruption.eta=0.2 rectifier=none seed=0", 0.1),
    row("backbone=vbpr corruption.eta=0.2 rectifier=none seed=1", 0.3),
    row("backbone=vbpr corruption.eta=0.2 rectifier=mr seed=0", 0.5),
    row("backbone=vbpr corruption.eta=0 rectifier=mr seed=0", 0.7),
]


def test_axes_are_the_keys_that_vary() -> None:
    assert varying_options(["a=1 b=2", "a=1 b=3 +c=4"]) == [{"b": "2", "c": ""}, {"b": "3", "c": "4"}]
    assert varying_options(["a=1"]) == [{}]
    assert varying_options([]) == []


def test_numeric_key_makes_the_columns_in_order_and_seeds_are_together() -> None:
    table = pivot(ROWS)
    assert (table.axis, list(table.columns)) == ("corruption.eta", ["0", "0.2"])
    assert list(table.lines) == ["rectifier=none", "rectifier=mr"]
    assert table.values["rectifier=none", "0.2"] == [0.1, 0.3]
    assert ("rectifier=none", "0") not in table.values


def test_note_shows_mean_spread_and_number_of_seeds_and_leaves_holes_open() -> None:
    text = markdown(pivot(ROWS))
    assert "| | corruption.eta=0 | corruption.eta=0.2 |" in text
    assert "| rectifier=none | - | 0.2000 ± 0.1414 (2) |" in text
    assert "| rectifier=mr | 0.7000 (1) | 0.5000 (1) |" in text


def test_table_has_a_line_per_cell_with_what_varies_and_where_it_lies() -> None:
    lines = list(csv.DictReader(io.StringIO(table_text(ROWS))))
    assert len(lines) == 4
    assert lines[1]["seed"] == "1"
    assert lines[1]["test_recall@10"] == lines[1]["valid_ndcg@20"] == "0.3"
    assert lines[1]["run_id"] == "run-0.3"
    assert "backbone" not in lines[0]


def test_cells_of_several_environments_say_theirs_wherever_they_stand_beside_each_other() -> None:
    rows = [
        *ROWS,
        row("backbone=vbpr corruption.eta=0.2 rectifier=mr seed=1", 0.5, "SkylakeX"),
        row("backbone=vbpr corruption.eta=0.4 rectifier=mr seed=0", 0.4, "SkylakeX"),
    ]
    table = pivot(rows)
    assert table.made["rectifier=mr", "0.2"] == "A + B"
    text = markdown(table)
    assert "| rectifier=mr | 0.7000 (1) A | 0.5000 ± 0.0000 (2) A + B | 0.4000 (1) B |" in text
    assert "\nEnvironment B: blas SkylakeX (2 jobs on one)." in text
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(outcome_table(table))
    shown = console.export_text()
    assert "0.5000 A + B" in shown
    assert "environment B: blas SkylakeX (2 jobs on one)" in shown
    lines = list(csv.DictReader(io.StringIO(table_text(rows))))
    assert [line["environment"] for line in lines] == [*"AAAA", *"BB"]


def test_a_single_cell_and_a_sweep_without_numbers_have_a_table_and_a_figure() -> None:
    for rows in (ROWS[:1], [ROWS[0], ROWS[2]]):
        table = pivot(rows)
        assert table.axis == ""
        assert "test recall@10" in markdown(table)
        assert draw(table).axes[0].lines


def test_figure_has_a_line_per_combination_with_a_dot_per_seed() -> None:
    (axis,) = draw(pivot(ROWS)).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["rectifier=none", "rectifier=mr"]
    assert axis.get_xlabel() == "corruption.eta"
    dots = sum(len(line.get_xdata()) for line in axis.lines if line.get_alpha())
    assert dots == len(ROWS)


def test_validation_chooses_the_cell_whose_test_is_shown() -> None:
    rows = [
        FinishedCell(
            f"rectifier={name} seed={seed}", None, {"valid": {"recall@10": valid}, "test": {"recall@10": test}}
        )
        for name, seed, valid, test in (
            ("none", 0, 0.1, 0.9),
            ("none", 1, 0.2, 0.9),
            ("mr", 0, 0.3, 0.4),
            ("mr", 1, 0.1, 0.6),
        )
    ]
    chosen = best_cell(rows)
    assert chosen is not None
    assert chosen.name == "rectifier=mr"
    assert chosen.metrics == pytest.approx({"valid recall@10": 0.2, "test recall@10": 0.5})
    assert best_cell(rows[:2]) is None


def test_files_of_the_page_replace_planted_links_and_leave_what_they_lead_to(tmp_path: Path) -> None:
    folder, names = tmp_path / "sweep", ("summary.csv", "summary.png", "paths.png")
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(tmp_path / name)
    sweep_page(folder, ROWS)
    look = {"seeds": 2, "estimate": 0.1, "low": 0.0, "high": 0.2, "p": 0.5, "e": 1.0, "margin": 0.0}
    look |= {"seconds": 1.0, "environment": "here"}
    evidence_page(folder / "paths.png", {"a - b": ([look], "open")}, "recall@10", 0.05, [])
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]
    assert all((folder / name).stat().st_size for name in names)


def test_numbers_of_a_sweep_lie_on_steps_of_per_cent_and_params_tell_varied_from_fixed() -> None:
    cells = [f"dataset=tiny corruption.eta={eta} seed={seed}" for eta in ("0", "0.2") for seed in (0, 1)]
    numbers = metrics_of(pivot([row(cell, 0.1 * number) for number, cell in enumerate(cells)]))
    assert list(numbers) == [0, 20]
    assert numbers[20]["mean recall@10/all"] == pytest.approx(0.25)
    assert numbers[20]["number of seeds/all"] == 2
    assert params_of(cells) == {"varied/corruption.eta": "0, 0.2", "varied/seed": "0, 1", "fixed": "dataset=tiny"}
