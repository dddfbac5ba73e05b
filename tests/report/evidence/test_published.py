"""Published and measured numbers stand side by side only where the data are the same."""

import json
from pathlib import Path

import pytest

from tests.report.conftest import Sweep
from trustmm.report.evidence.published import clean_number, facts
from trustmm.report.runs.read import read_sweeps
from trustmm.report.table.paper import table1, table2

SPORTS = {"users": 35598, "items": 18357, "interactions": 296337, "widths": {"visual": 4096, "textual": 384}}


def test_facts_are_those_of_the_shared_file(project: Path) -> None:
    path = project.parent / "shared" / "paper_results.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    assert json.loads(path.read_text(encoding="utf-8")) == facts()


def rows_of(sweep: Sweep, **cell: object) -> list[dict[str, str]]:
    for rectifier, value in (("none", 0.0700), ("mr", 0.0750)):
        sweep.add(value, rectifier=rectifier, seed=0, **cell)
    table = table2(read_sweeps([sweep.folder]))
    return [dict(zip(table.columns, map(str, row), strict=True)) for row in table.rows]


def test_published_number_and_difference_stand_beside_ours(sweep: Sweep) -> None:
    first = rows_of(sweep, dataset="sports", backbone="freedom", statistics=SPORTS)[0]
    assert (first["base"], first["published base"], first["ours - published, base"]) == ("0.0700", "0.0717", "-0.0017")
    assert (first["published +MR"], first["ours - published, +MR"]) == ("0.0730", "+0.0020")


@pytest.mark.parametrize(
    "cell",
    [
        {"dataset": "sports_attr", "backbone": "freedom"},
        {"dataset": "synthetic", "backbone": "freedom"},
        {"dataset": "sports", "backbone": "freedom", "statistics": SPORTS | {"items": 18000}},
        {
            "dataset": "sports",
            "backbone": "freedom",
            "statistics": SPORTS | {"widths": {"visual": 128, "textual": 384}},
        },
    ],
)
def test_other_data_have_no_published_number_beside_them(sweep: Sweep, cell: dict[str, object]) -> None:
    assert "published base" not in rows_of(sweep, **cell)[0]


def test_other_features_of_published_pairs_are_named(sweep: Sweep) -> None:
    rows_of(sweep, dataset="sports_attr", backbone="freedom")
    [note] = table2(read_sweeps([sweep.folder])).notes
    assert "sports_attr has the pairs of the published Sports but not its features" in note


def test_content_free_backbone_needs_the_same_pairs_only(sweep: Sweep) -> None:
    first = rows_of(sweep, dataset="sports_attr", backbone="lightgcn")[0]
    assert first["published base"] == "0.0569"
    assert "MMRec" in table2(read_sweeps([sweep.folder])).caption


def test_published_data_have_no_note_that_they_differ(sweep: Sweep) -> None:
    sweep.add(0.07, dataset="sports", rectifier="none")
    table = table2(read_sweeps([sweep.folder]))
    assert "published base" in table.columns
    assert not table.notes


def test_better_of_base_and_repair_is_bold_and_memory_is_named(sweep: Sweep) -> None:
    sweep.add(0.1, rectifier="none", backbone="vbpr", seed=0)
    sweep.add(0.2, rectifier="mr", backbone="vbpr", seed=0)
    sweep.fail("dataset=synthetic backbone=lattice rectifier=none seed=0", reason="torch.OutOfMemoryError")
    sweep.fail("dataset=synthetic backbone=lattice rectifier=mr seed=0", reason="ValueError: bad")
    text = table2(read_sweeps([sweep.folder])).markdown()
    assert "| synthetic | vbpr | R@10 | 0.1000 | **0.2000** | 1 |" in text
    assert "| synthetic | lattice | R@10 | OOM | failed | 0 |" in text


def test_paper_says_out_of_memory_and_so_does_the_table(sweep: Sweep) -> None:
    sweep.add(0.03, dataset="electronics", backbone="lattice", seed=0)
    table = table2(read_sweeps([sweep.folder]))
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["+MR"], row["published base"], row["ours - published, base"]) == ("not run", "OOM", "")


def test_table1_keeps_measured_and_published_sizes_in_rows_of_their_own(sweep: Sweep) -> None:
    sweep.add(0.1, dataset="sports", statistics=SPORTS)
    rows = [list(row) for row in table1(read_sweeps([sweep.folder])).rows]
    assert [row[1] for row in rows] == ["measured", "published"]
    assert rows[0][2:6] == rows[1][2:6] == ["35,598", "18,357", "296,337", "99.955%"]


def test_no_published_number_for_what_nobody_published() -> None:
    assert clean_number("Baby", "freedom", "mr_row_norm", "recall@10") is None
    assert clean_number("Baby", "freedom", "mr", "hit@10") is None
    assert clean_number("Baby", "lightgcn", "mr", "recall@10") is None
