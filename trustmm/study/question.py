"""What a study asks: its objectives and its space, the same in every session."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from trustmm.options.checks import check_value
from trustmm.store.job_folder import Stored
from trustmm.study.options import StudyOptions
from trustmm.study.sampler import check_choice, make_pruner
from trustmm.study.space import Space
from trustmm.study.storage import open_storage
from trustmm.study.trials import num_ended
from trustmm.sweep.engine import Outcome, Task
from trustmm.sweep.launch import JobsFailed

METRIC = re.compile(r"(recall|ndcg|precision|map|hit)@[1-9]\d*")
Direction = Literal["maximize", "minimize"]


class Jobs(Protocol):
    """What a study needs of its controller, see `trustmm.sweep.plan.Sweep`."""

    def prepare(self, overrides: Sequence[Sequence[str]], first_number: int = 0) -> Sequence[Task]:
        """Tasks, numbered from `first_number`, composed, built and checked; ValueError for one that cannot run."""

    def metrics(self, task: Task) -> Sequence[str]:
        """Validation metrics that a prepared task will have, such as "recall@10"."""

    def reuse(self, task: Task) -> Outcome | None:
        """The outcome of a job that has finished before; None if it is to be run."""

    def record(self, task: Task, outcome: Outcome) -> None:
        """Keep what became of a task."""

    def stored(self, task: Task) -> Stored | None:
        """The result of a finished task."""

    def changed(self, task: Task, job_id: str) -> str:
        """What differs from an earlier job of the same cell; empty where that is not known."""


class StudyError(JobsFailed):
    """The study ended without its trials: too many failed, or none could be judged."""


@dataclass(frozen=True)
class Objectives:
    """What is optimised: validation metrics, each with its direction."""

    metrics: tuple[str, ...]
    directions: tuple[Direction, ...]

    @classmethod
    def of(cls, options: StudyOptions) -> "Objectives":
        """The checked objectives of a study; ValueError for a test metric: choices use validation only."""
        metrics, directions = _several("metric", options.metric), _several("direction", options.direction)
        for metric in metrics:
            if not METRIC.fullmatch(metric):
                raise ValueError(
                    "hydra.sweeper.metric must be a validation metric such as recall@10 or ndcg@20, "
                    f"got {metric!r}; choices use validation only, test metrics are logged and never optimised"
                )
        for direction in directions:
            check_value("hydra.sweeper.direction", direction, Direction)
        if len(directions) == 1:
            directions *= len(metrics)
        if len(directions) != len(metrics) or len(set(metrics)) < len(metrics):
            raise ValueError(
                "hydra.sweeper.metric and hydra.sweeper.direction must be lists of the same length without "
                f"repetition, got {list(metrics)} and {list(directions)}"
            )
        return cls(metrics, cast(tuple[Direction, ...], directions))

    def check(self, evaluated: Sequence[str]) -> None:
        """Raise ValueError if jobs with these validation metrics cannot be judged."""
        for metric in self.metrics:
            if metric not in evaluated:
                raise ValueError(
                    f"hydra.sweeper.metric: jobs have no validation metric {metric!r}, only {', '.join(evaluated)}; "
                    "set evaluation.cutoffs to add others"
                )

    def values(self, outcome: Outcome) -> list[float]:
        """The values of a finished job."""
        return [float(outcome.valid[metric]) for metric in self.metrics]


def check_options(options: StudyOptions, space: Space, objectives: Objectives) -> None:
    """Raise ValueError for options that cannot be."""
    if not space.axes:
        raise ValueError(
            "a study needs parameters to choose: hydra.sweeper.params or, on the command line, key=interval(a,b)"
        )
    if options.n_trials is None and options.sampler != "grid":
        raise ValueError("hydra.sweeper.n_trials must be given: only a grid ends by itself")
    for key, least in (("n_trials", 1), ("max_failures", 0), ("seed", 0), ("parallel", 1)):
        value = getattr(options, key)
        if value is not None and value < least:
            raise ValueError(f"hydra.sweeper.{key} must be at least {least}, got {value}")
    for group, limits in _LEAST.items():
        for key, least in limits.items():
            value = getattr(getattr(options, group), key)
            if value is not None and not least <= value < inf:
                raise ValueError(f"hydra.sweeper.{group}.{key} must be at least {least}, got {value}")
    if options.cmaes.sigma0 is not None and not 0 < options.cmaes.sigma0 < inf:
        raise ValueError(f"hydra.sweeper.cmaes.sigma0 must be above 0, got {options.cmaes.sigma0}")
    check_value("hydra.sweeper.qmc.qmc_type", options.qmc.qmc_type, Literal["sobol", "halton"])
    if options.study_name is not None and not re.fullmatch(r"\w[\w.,=+-]*", options.study_name):
        raise ValueError(
            "hydra.sweeper.study_name must be a folder name of letters, digits and _.,=+- only, "
            f"got {options.study_name!r}"
        )
    if options.importance not in ("fanova", "ped_anova"):
        raise ValueError(f"hydra.sweeper.importance must be fanova or ped_anova, got {options.importance!r}")
    check_choice(options, space, len(objectives.metrics))


_LEAST: Mapping[str, Mapping[str, int]] = {
    "tpe": {"n_startup_trials": 0, "n_ei_candidates": 1},
    "gp": {"n_startup_trials": 0},
    "cmaes": {"n_startup_trials": 0, "popsize": 2},
    "median": {"n_startup_trials": 0, "n_warmup_steps": 0, "interval_steps": 1, "n_min_trials": 1},
    "successive_halving": {
        **{"min_resource": 1, "reduction_factor": 2, "min_early_stopping_rate": 0, "bootstrap_count": 0},
    },
}
"""Smallest values of the options of samplers and pruners."""


def open_study(options: StudyOptions, space: Space, folder: Path) -> Any:
    """The study in its storage, created or found again; its name is the folder's unless `study_name` says otherwise.

    Raises: ValueError for options that cannot be, a storage that cannot be used, or changed directions.
    """
    objectives = Objectives.of(options)
    check_options(options, space, objectives)
    import optuna

    folder.mkdir(parents=True, exist_ok=True)
    name = options.study_name or folder.name
    storage = open_storage(options.storage, folder)
    for known in optuna.get_all_study_summaries(storage):
        found = [direction.name.lower() for direction in known.directions]
        if known.study_name == name and found != list(objectives.directions):
            change = f"direction was {', '.join(found)}, is {', '.join(objectives.directions)}"
            raise ValueError(_changed(name, change))
    return optuna.create_study(
        study_name=name,
        storage=storage,
        directions=[*objectives.directions],
        pruner=make_pruner(options),
        load_if_exists=True,
    )


def refuse_change(study: Any, space: Space, objectives: Objectives, jobs: Jobs) -> None:
    """Raise ValueError if the study was begun with another space, metric, code, data or fixed options."""
    new = {"space": space.describe(), "metrics": list(objectives.metrics)}
    old = study.user_attrs.get("question")
    if old is None or not num_ended(study.get_trials(deepcopy=False)):  # nothing that could be compared with the new
        study.set_user_attr("question", new)
        return
    if changes := list(differences(old, new)):
        raise ValueError(_changed(study.study_name, "; ".join(changes)))
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if complete:
        (task,) = jobs.prepare([space.overrides(complete[-1].params)])
        if task.job_id != (was := complete[-1].user_attrs["job_id"]):
            why = jobs.changed(task, was) or "the code, the data or fixed options; its result is gone, so it cannot say"
            became = f"trial {complete[-1].number} would be another job today ({was} became {task.job_id}): {why}"
            raise ValueError(_changed(study.study_name, became))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What two questions do not share, for people."""
    for key in sorted(old["space"].keys() | new["space"].keys()):
        before, now = (question["space"].get(key, "fixed") for question in (old, new))
        if before != now:
            yield f"{key} was {before}, is {now}"
    if old["metrics"] != new["metrics"]:
        yield f"metric was {', '.join(old['metrics'])}, is {', '.join(new['metrics'])}"


def distributions(space: Space) -> dict[str, Any]:
    """Optuna's form of the axes."""
    from optuna import distributions as optuna_distributions

    found: dict[str, Any] = {}
    for axis in space.axes:
        if axis.kind == "choice":
            found[axis.key] = optuna_distributions.CategoricalDistribution(axis.choices)
        elif axis.kind == "int":
            step = int(axis.step or 1)
            found[axis.key] = optuna_distributions.IntDistribution(int(axis.low), int(axis.high), axis.log, step)
        else:
            found[axis.key] = optuna_distributions.FloatDistribution(axis.low, axis.high, axis.log, axis.step)
    return found


def _several(key: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"hydra.sweeper.{key} must be a name or a list of names, got {value!r}")
    return tuple(names)


def _changed(name: str, what: str) -> str:
    return (
        f"the study {name!r} asked another question before: {what}. Trials of the two cannot be compared; undo the "
        "change, or start another study with hydra.sweeper.study_name=NAME"
    )
