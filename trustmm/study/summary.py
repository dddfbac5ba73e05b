"""What a study found: table, numbers and figures, written into its folder at the end and after an interruption."""

import csv
import json
import math
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trustmm.store.files import atomic
from trustmm.store.origin import across, origins
from trustmm.store.sweep_folder import STUDY
from trustmm.study.options import StudyOptions
from trustmm.study.question import Objectives
from trustmm.study.space import Axis, Space
from trustmm.study.storage import address
from trustmm.study.trials import num_ended

SUMMARY, TABLE = "study.json", "trials.csv"
EVALUATORS = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}
LEAST_TRIALS = {"fanova": 8, "ped_anova": 50}
"""Finished trials below which an importance would be noise; PED-ANOVA needs five in the best tenth."""


@dataclass(frozen=True)
class Importances:
    """Share of the metric's variation that each parameter explains, or why that is not known."""

    metric: str
    evaluator: str
    shares: Mapping[str, float]
    skipped: str = ""
    warning: str = ""
    """Why the shares are to be read with care."""


@dataclass(frozen=True)
class Report:
    """A study as numbers."""

    name: str
    folder: Path
    storage: str
    """Without password."""
    sampler: str
    space: Space
    objectives: Objectives
    trials: Sequence[Any]
    best: Sequence[Any]
    """The best trial; with several metrics, all that no other beats in everything."""
    importances: Sequence[Importances]
    target: int | None
    """Trials that were asked for; None for a whole grid."""
    complete: bool

    @property
    def metrics(self) -> Sequence[str]:
        """Names of the objectives."""
        return self.objectives.metrics

    @property
    def directions(self) -> Sequence[str]:
        """Of the metrics: maximize or minimize."""
        return self.objectives.directions

    @property
    def axes(self) -> Sequence[Axis]:
        """Parameters of the space."""
        return self.space.axes

    @cached_property
    def made(self) -> dict[int, str]:
        """Letters of where finished trials were computed, by number, see `store.origin`."""
        known = _known(self.trials)
        return dict(zip(known, origins(list(known.values())), strict=True))

    @property
    def environments(self) -> list[str]:
        """A line for each letter where there are several; empty where all trials were computed in one place."""
        return across(list(_known(self.trials).values()))

    @property
    def states(self) -> list[str]:
        """What became of each trial."""
        return [state_of(trial) for trial in self.trials]

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in each state."""
        states = Counter(self.states)
        return {state: states[state] for state in ("finished", "pruned", "failed", "interrupted", "waiting", "running")}


def _known(trials: Sequence[Any]) -> dict[int, Mapping[str, Any]]:
    return {trial.number: trial.user_attrs["made"] for trial in trials if "made" in trial.user_attrs}


def state_of(trial: Any) -> str:
    """What became of a trial; one whose controller was interrupted did not fail, its parameters will be tried again."""
    if "interrupted" in trial.user_attrs:
        return "interrupted"
    names = {"COMPLETE": "finished", "FAIL": "failed"}
    return names.get(trial.state.name, str(trial.state.name).lower())


def make_report(study: Any, options: StudyOptions, space: Space, folder: Path, *, complete: bool) -> Report:
    """Read a study.

    Args:
        study: Optuna's.
        options: of the study.
        space: of the study.
        folder: where its files go.
        complete: whether all its trials have ended.
    """
    objectives, trials = Objectives.of(options), study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state.name == "COMPLETE"]
    many = len(objectives.metrics) > 1
    best = [] if not finished else study.best_trials if many else [study.best_trial]
    return Report(
        name=study.study_name,
        folder=folder,
        storage=address(options.storage, folder),
        sampler=f"{options.sampler}, seed {options.seed}{_earlier(trials, options.sampler)}",
        space=space,
        objectives=objectives,
        trials=trials,
        best=best,
        importances=[importances(study, options, place) for place in range(len(objectives.metrics))],
        target=options.n_trials,
        complete=complete,
    )


def samplers_of(trials: Sequence[Any]) -> list[str]:
    """Samplers that asked these trials, in order of first use; earlier versions did not record it."""
    return list(dict.fromkeys(str(trial.user_attrs["sampler"]) for trial in trials if "sampler" in trial.user_attrs))


def _earlier(trials: Sequence[Any], sampler: str) -> str:
    others = [name for name in samplers_of(trials) if name != sampler]
    return f" (changed during the study; other trials are from {', '.join(others)})" if others else ""


def importances(study: Any, options: StudyOptions, place: int) -> Importances:
    """Importances for one of the metrics, by the evaluator that the options name."""
    metric, label = Objectives.of(options).metrics[place], EVALUATORS[options.importance]
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    least = LEAST_TRIALS[options.importance]
    if len(finished) < least:
        return Importances(metric, label, {}, f"{len(finished)} finished trials, {label} needs at least {least}")
    if len({trial.values[place] for trial in finished}) == 1:
        return Importances(metric, label, {}, f"all trials have the same {metric}")
    from optuna import importance

    evaluator = (
        importance.FanovaImportanceEvaluator(seed=options.seed)
        if options.importance == "fanova"
        else importance.PedAnovaImportanceEvaluator()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = importance.get_param_importances(study, evaluator=evaluator, target=lambda trial: trial.values[place])
    mixed = samplers_of(finished)
    warning = (
        f"trials of {' and '.join(mixed)} are mixed, so shares depend on where each sampled" if len(mixed) > 1 else ""
    )
    return Importances(metric, label, shares, warning=warning)


def write_report(
    report: Report,
    command: Sequence[str],
    choices: Callable[[Sequence[str]], Mapping[str, str]],
    draw: Callable[[Report], None],
) -> None:
    """Write table, note, summary and figures into the study's folder.

    Args:
        report: of the study.
        command: start of the command line of a single job, to which a trial's overrides are added.
        choices: from overrides to the option chosen in each group.
        draw: writes the figures.
    """
    report.folder.mkdir(parents=True, exist_ok=True)
    with atomic(report.folder / TABLE) as path, path.open("w", newline="", encoding="utf-8") as handle:
        rows = [trial_row(trial, report) for trial in report.trials]
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(handle, fieldnames=list(names) or ["trial"])
        writer.writeheader()
        writer.writerows(rows)
    with atomic(report.folder / STUDY) as path:
        path.write_text(describe_study(report, command), encoding="utf-8")
    with atomic(report.folder / SUMMARY) as path:
        path.write_text(json.dumps(summary(report, choices), indent=1), encoding="utf-8")
    draw(report)


def trial_row(trial: Any, report: Report) -> dict[str, Any]:
    """One line of the table of trials."""
    values = trial.values or [""] * len(report.metrics)
    seconds = f"{trial.duration.total_seconds():.2f}" if trial.duration else ""
    attributes = trial.user_attrs
    notes = [attributes[name] for name in ("error", "pruned", "interrupted") if name in attributes]
    return {
        "trial": trial.number,
        "state": state_of(trial),
        **{f"valid/{name}": value for name, value in zip(report.metrics, values, strict=True)},
        **trial.params,
        "seconds": seconds,
        "job_id": attributes.get("job_id", ""),
        "run_id": attributes.get("run_id", ""),
        "environment": report.made.get(trial.number, ""),
        "note": " ".join(notes),
    }


def summary(report: Report, choices: Callable[[Sequence[str]], Mapping[str, str]]) -> dict[str, Any]:
    """The study as plain values, for programs."""
    best = [
        {
            "trial": trial.number,
            "values": dict(zip(report.objectives.metrics, trial.values, strict=True)),
            "params": trial.params,
            **{name: trial.user_attrs.get(name) for name in ("job_id", "overrides")},
            "choices": choices(trial.user_attrs.get("overrides", [])),
        }
        for trial in report.best
    ]
    return {
        "name": report.name,
        "storage": report.storage,
        "sampler": report.sampler,
        "space": report.space.describe(),
        "metrics": list(report.objectives.metrics),
        "directions": list(report.objectives.directions),
        "trials": report.counts,
        "complete": report.complete,
        "best": best,
        "importances": [
            {
                **{"metric": found.metric, "evaluator": found.evaluator, "shares": found.shares},
                **{"skipped": found.skipped, "warning": found.warning},
            }
            for found in report.importances
        ],
    }


def best_lines(report: Report, command: Sequence[str]) -> list[str]:
    """The best trial, or each of the Pareto front, with the command that runs it again."""
    return [
        f"best {_values(trial, report.objectives)} (validation, trial {trial.number} of {num_ended(report.trials)}): "
        + rerun(trial, command)
        for trial in report.best
    ]


def rerun(trial: Any, command: Sequence[str]) -> str:
    """The full command line of a trial's job."""
    return shlex.join([*command, *trial.user_attrs.get("overrides", [])])


def describe_study(report: Report, command: Sequence[str]) -> str:
    """The study as Markdown."""
    ended, goal = num_ended(report.trials), "the whole grid" if report.target is None else f"{report.target} trials"
    state = "complete" if report.complete else "not complete; repeat its command to continue"
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items() if count)
    lines = [
        f"# Study {report.name}",
        f"{ended} of {goal} ({counts}); {state}. Sampler {report.sampler}. Stored in `{report.storage}`.",
        "Values are validation values; test metrics play no part in the choice.",
        *(f"\nEnvironment {one}." for one in report.environments),
        *("", "| parameter | space |", "|---|---|"),
        *(f"| {key} | `{axis}` |" for key, axis in report.space.describe().items()),
    ]
    for found in report.importances:
        lines += ["", f"## Importance for {found.metric} ({found.evaluator})"]
        if found.skipped:
            lines += [f"Not computed: {found.skipped}."]
        else:
            lines += [f"Warning: {found.warning}.", ""] if found.warning else []
            lines += ["| parameter | share |", "|---|---|"]
            lines += [f"| {key} | {share:.3f} |" for key, share in found.shares.items()]
    lines += ["", "## Best" if len(report.objectives.metrics) == 1 else "## Pareto front"]
    for trial in report.best:
        lines += [
            "",
            f"Trial {trial.number}: {_values(trial, report.objectives)}",
            *("```", rerun(trial, command), "```"),
        ]
    if not report.best:
        lines += ["No trial has finished."]
    return "\n".join([*lines, "", "## Trials", *trial_table(report), ""])


def trial_table(report: Report, most: int = 20) -> list[str]:
    """The best trials, then those that failed, as a Markdown table."""
    metric, sign = report.objectives.metrics[0], -1 if report.objectives.directions[0] == "maximize" else 1
    finished = sorted((t for t in report.trials if t.state.name == "COMPLETE"), key=lambda t: sign * t.values[0])
    failed = [trial for trial in report.trials if state_of(trial) == "failed"]
    keys = [axis.key for axis in report.space.axes]
    where = ["environment"] if report.environments else []
    lines = [
        f"The {min(most, len(finished))} best of {len(finished)} finished trials by {metric}; all are in `{TABLE}`.",
        "",
        f"| trial | {' | '.join([*report.metrics, *keys, *where])} |",
        "|---" * (1 + len(report.metrics) + len(keys) + len(where)) + "|",
    ]
    for trial in finished[:most]:
        cells = [f"{value:.4f}" for value in trial.values] + [_short(trial.params[key]) for key in keys]
        cells += [report.made.get(trial.number, "") for _ in where]
        lines.append(f"| {trial.number} | {' | '.join(cells)} |")
    if failed:
        lines += ["", "Failed:", ""]
        lines += [
            f"- trial {trial.number}: {' '.join(str(trial.user_attrs.get('error', '?')).split())}" for trial in failed
        ]
    return lines


def _values(trial: Any, objectives: Objectives) -> str:
    return " ".join(f"{name}={value:.4f}" for name, value in zip(objectives.metrics, trial.values, strict=True))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)
