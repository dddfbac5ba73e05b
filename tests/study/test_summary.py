"""What a study leaves behind, and the winner that is taken from it."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from tests.sweep.engines import Jobs, finished
from trustmm.cli.winner import main, write_winners
from trustmm.options.config import config_folder, register
from trustmm.report.page.study import draw_history, draw_importances, draw_pareto, draw_slices, draw_study
from trustmm.study.options import StudyOptions
from trustmm.study.question import open_study
from trustmm.study.search import run_study
from trustmm.study.space import parse_space
from trustmm.study.summary import Report, best_lines, importances, make_report, write_report
from trustmm.sweep.engine import Outcome

PARAMS = {
    "rectifier.lam": "interval(0,1)",
    "rectifier.tau": "tag(log, interval(0.02,0.5))",
    "rectifier.k": "int(interval(5,50))",
    "rectifier": "mr,mr_row_norm,mr_all_pairs",
    "seed": "0,1,2",
}
COMMAND = ["python", "-m", "trustmm", "--config-name", "my study"]


def objective(values: dict[str, str]) -> Outcome:
    lam, k = float(values["rectifier.lam"]), int(values["rectifier.k"])
    if lam > 0.95:
        return Outcome("FAILED", "out of memory (a reason\nof two lines)")
    return finished(recall_at_10=0.4 - (lam - 0.6) ** 2 + 0.001 * int(values["seed"]), ndcg_at_10=k / 100)


def choices(overrides: Sequence[str]) -> dict[str, str]:
    return {"backbone": "freedom", "dataset": "synthetic", "rectifier": "mr"}


def made(values: dict[str, str]) -> dict[str, Any]:
    """Jobs of seed 2 are computed elsewhere, all with a prior from here."""
    here, there = ({"blas": blas, "host": "one"} for blas in ("Haswell", "SkylakeX"))
    return {"environment": there if values["seed"] == "2" else here, "inputs": [{"environment": here}] * 2}


def reported(folder: Path, params: dict[str, str] = PARAMS, where: Any = None, **options: Any) -> Report:
    asked = StudyOptions(**({"n_trials": 24, "sampler": "random", "max_failures": 99} | options))
    space, jobs = parse_space(params, []), Jobs(folder, objective, **({"made": where} if where else {}))
    study = open_study(asked, space, folder / "study")
    run_study(study, asked, space, folder / "study", jobs, jobs.start)
    return make_report(study, asked, space, folder / "study", complete=True)


def labels_apart(figure: Figure) -> None:
    """No tick label of an axis touches its neighbour."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for axes in figure.axes:
        for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
            seen = [label for label in ticks if label.get_visible() and label.get_text()]
            boxes = [label.get_window_extent(renderer) for label in seen if label.get_rotation() == 0]
            for first, second in zip(boxes, boxes[1:], strict=False):
                assert not first.overlaps(second), [label.get_text() for label in seen]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return reported(tmp_path_factory.mktemp("report"))


def test_table_has_a_line_per_trial_with_its_values_and_reasons(report: Report) -> None:
    write_report(report, COMMAND, choices, draw_study)
    with (report.folder / "trials.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["trial"]) for row in rows] == list(range(len(report.trials)))
    for row, trial in zip(rows, report.trials, strict=True):
        assert float(row["rectifier.lam"]) == trial.params["rectifier.lam"]
        if trial.state.name == "FAIL":
            assert row["valid/recall@10"] == ""
            assert row["note"].startswith("out of memory")
        else:
            assert float(row["valid/recall@10"]) == trial.value
    assert {row["state"] for row in rows} == {"finished", "failed"}


def test_note_names_evaluator_best_trial_and_failures(report: Report) -> None:
    write_report(report, COMMAND, choices, draw_study)
    text = (report.folder / "study.md").read_text()
    assert "## Importance for recall@10 (fANOVA)" in text
    (best,) = report.best
    assert best.value == max(trial.value for trial in report.trials if trial.value is not None)
    assert f"Trial {best.number}: recall@10={best.value:.4f}" in text
    assert "--config-name 'my study' rectifier.lam=" in text
    assert "out of memory (a reason of two lines)" in text
    assert "test" not in json.dumps(json.loads((report.folder / "study.json").read_text())["best"][0]["values"])


def test_trials_of_several_environments_say_theirs(report: Report, tmp_path: Path) -> None:
    assert report.environments == []
    mixed = reported(tmp_path, where=made)
    write_report(mixed, COMMAND, choices, draw_study)
    with (mixed.folder / "trials.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["state"] == "finished"]
    assert {(row["seed"], row["environment"]) for row in rows} == {("0", "A"), ("1", "A"), ("2", "B (inputs of A)")}
    text = (mixed.folder / "study.md").read_text()
    assert "Environment B: blas SkylakeX (" in text
    assert "| seed | environment |" in text
    assert " | 2 | B (inputs of A) |" in text


def test_importance_finds_the_parameter_that_matters(report: Report) -> None:
    (found,) = report.importances
    assert found.evaluator == "fANOVA"
    assert next(iter(found.shares)) == "rectifier.lam"
    assert sum(found.shares.values()) == pytest.approx(1)


def test_importance_says_why_it_was_not_computed(tmp_path: Path) -> None:
    few = reported(tmp_path / "few", n_trials=4)
    assert few.importances[0].skipped == "4 finished trials, fANOVA needs at least 8"
    ped = reported(tmp_path / "ped", importance="ped_anova", n_trials=12)
    assert ped.importances[0].skipped == "12 finished trials, PED-ANOVA needs at least 50"
    flat = reported(tmp_path / "flat", {"rectifier.lam": "0.5", "rectifier.k": "5,6", "seed": "0"}, n_trials=9)
    assert flat.importances[0].skipped == "all trials have the same recall@10"


@pytest.mark.slow
def test_ped_anova_is_there_too(tmp_path: Path) -> None:
    found = reported(tmp_path, importance="ped_anova", n_trials=60).importances[0]
    assert found.evaluator == "PED-ANOVA"
    assert next(iter(found.shares)) == "rectifier.lam"


def test_figures_show_every_trial_and_their_labels_do_not_touch(report: Report) -> None:
    done = [trial for trial in report.trials if trial.state.name == "COMPLETE"]
    history = draw_history(report)
    points = next(line for line in history.axes[0].lines if line.get_label() == "finished")
    assert list(points.get_ydata()) == [trial.value for trial in done]
    best = next(line for line in history.axes[0].lines if line.get_label() == "best so far")
    assert max(points.get_ydata()) == list(best.get_ydata())[-1]
    slices = draw_slices(report, done)
    shown = [axes for axes in slices.axes if axes.get_visible() and axes.get_xlabel()]
    assert [axes.get_xlabel() for axes in shown] == list(PARAMS)
    assert all(len(axes.collections[0].get_offsets()) == len(done) for axes in shown)
    for figure in (history, slices, draw_importances(report.importances, len(done))):
        labels_apart(figure)


def test_pareto_front_and_command_of_each_of_its_trials(tmp_path: Path) -> None:
    many = reported(tmp_path, metric=["recall@10", "ndcg@10"], direction="maximize")
    done = [trial for trial in many.trials if trial.state.name == "COMPLETE"]
    front = {trial.number for trial in many.best}
    for trial in done:
        beaten = any(
            all(other >= own for other, own in zip(rival.values, trial.values, strict=True))
            and rival.values != trial.values
            for rival in done
        )
        assert (trial.number in front) == (not beaten)
    assert len(best_lines(many, COMMAND)) == len(front) > 1
    labels_apart(draw_pareto(many, done))
    write_report(many, COMMAND, choices, draw_study)
    names = {path.name for path in many.folder.glob("*.png")}
    assert names == {f"study_{name}.png" for name in ("history", "slices", "importances", "pareto")}


def test_study_without_a_finished_trial_still_has_its_table(tmp_path: Path) -> None:
    options, space = StudyOptions(), parse_space(PARAMS, [])
    study = open_study(options, space, tmp_path)
    empty = make_report(study, options, space, tmp_path, complete=False)
    write_report(empty, COMMAND, choices, draw_study)
    assert "No trial has finished." in (tmp_path / "study.md").read_text()
    assert importances(study, options, 0).skipped.startswith("0 finished trials")
    assert not list(tmp_path.glob("*.png"))


def test_winner_becomes_an_option_that_composes(tmp_path: Path) -> None:
    report = reported(tmp_path, {key: PARAMS[key] for key in ("rectifier.lam", "rectifier.k", "seed")})
    write_report(report, COMMAND, choices, draw_study)
    to = tmp_path / "conf" / "experiment" / "tuned"
    (path,) = write_winners(tmp_path / "study", to)
    assert path == to / "freedom_synthetic_mr.yaml"
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
        config = compose("config", overrides=[search, "experiment=tuned/freedom_synthetic_mr", "seed=7"])
    (best,) = report.best
    assert config.rectifier.lam == best.params["rectifier.lam"]
    assert config.rectifier.k == best.params["rectifier.k"]
    assert config.rectifier._target_.endswith("ModalityRectifier")
    assert config.seed == 7, "a winner must not fix the seed"


def test_winner_without_repair_has_its_own_file_and_no_values_of_a_repair(tmp_path: Path) -> None:
    params = {"rectifier.lam": "interval(0,1)", "rectifier.k": "6,7", "seed": "0,1", "backbone.reg": "interval(0,1)"}
    report = reported(tmp_path, params, n_trials=4)
    write_report(report, COMMAND, lambda overrides: choices(overrides) | {"rectifier": "none"}, draw_study)
    (path,) = write_winners(tmp_path / "study", tmp_path / "tuned")
    assert path.name == "freedom_synthetic.yaml"
    text = path.read_text()
    assert "  - override /rectifier: none" in text
    values = OmegaConf.load(path)
    assert set(values) == {"defaults", "backbone"}
    assert values.backbone == {"reg": report.best[0].params["backbone.reg"]}


def test_winner_of_an_unfinished_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"holds no study.json; give the folder of a sweep"):
        write_winners(tmp_path, tmp_path)
    report = replace(reported(tmp_path, n_trials=3), complete=False)
    write_report(report, COMMAND, choices, draw_study)
    with pytest.raises(SystemExit):
        main([str(report.folder), "--to", str(tmp_path / "tuned")])
    assert "trustmm: the study study is not complete" in capsys.readouterr().err
    assert not (tmp_path / "tuned").exists()


RECEIVED = {
    "name": "s",
    "sampler": "tpe",
    "complete": True,
    "metrics": ["recall@10"],
    "trials": {"finished": 3, "pruned": 0},
    "best": [
        {
            "trial": 1,
            "job_id": "abc",
            "choices": {"dataset": "synthetic", "backbone": "freedom", "rectifier": "mr", "edit": "none"},
            "params": {"rectifier.lam": 0.5, "training.optimizer": "adam", "edit": "none"},
            "overrides": ["rectifier.lam=0.5"],
            "values": {"recall@10": 0.1},
        }
    ],
}
EVIL = (
    "../../x",
    "/x",
    "a\nresume: false",
    "${oc.env:HOME}",
    "hydra.run.dir",
    "output_dir",
    "dataset.root",
    {"a": 1},
    None,
)


def spoilt(node: Any, value: Any) -> Iterator[Any]:
    """Copies of a document with one key or leaf replaced."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from ({**node, key: changed} for changed in spoilt(inner, value))
            if isinstance(value, str):
                yield {(value if name == key else name): one for name, one in node.items()}
    elif isinstance(node, list):
        for place, inner in enumerate(node):
            yield from ([*node[:place], changed, *node[place + 1 :]] for changed in spoilt(inner, value))
    else:
        yield value


@pytest.mark.parametrize("value", EVIL, ids=str)
def test_a_received_study_leads_nowhere_and_says_nothing_on_lines_of_its_own(value: Any, tmp_path: Path) -> None:
    for number, study in enumerate([RECEIVED, *spoilt(RECEIVED, value)]):
        folder, to = tmp_path / f"{number}", tmp_path / f"{number}" / "a" / "b"
        folder.mkdir()
        (folder / "study.json").write_text(json.dumps(study))
        try:
            (path,) = write_winners(folder, to)
        except ValueError:
            assert number, "the study itself is fine"
            assert not to.exists()
            continue
        assert path.parent == to
        assert {one for one in folder.rglob("*") if one.is_file()} == {path, folder / "study.json"}
        found = OmegaConf.to_container(OmegaConf.load(path))
        assert set(found) <= {"defaults", "rectifier", "training", "edit"}, study
        assert set(found.get("rectifier", {})) | set(found.get("training", {})) <= {"lam", "optimizer"}
        assert "${" not in str(found)
