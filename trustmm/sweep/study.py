"""A study: trials asked, run, pruned and told one by one, by a controller that may die and come back."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from trustmm.checks import check_value
from trustmm.sweep.epochs import validation_by_epoch
from trustmm.sweep.executor import Executor, Outcome, Task
from trustmm.sweep.launch import JobsFailed
from trustmm.sweep.options import StudyOptions
from trustmm.sweep.samplers import check_choice, make_pruner, make_sampler
from trustmm.sweep.space import Space, Value
from trustmm.sweep.storage import Lease, address, leased, open_storage

log = logging.getLogger(__name__)

METRIC = re.compile(r"(recall|ndcg|precision|map|hit)@[1-9]\d*")
POLL_SECONDS, IDLE_SECONDS = 1.0, 20.0
"""Time between two looks at the running jobs: with a pruner, and without."""


class Jobs(Protocol):
    """What a study needs of its controller, see `trustmm.sweep.controller.Sweep`."""

    def prepare(self, overrides: Sequence[Sequence[str]], first_number: int = 0) -> Sequence[Task]:
        """Tasks, numbered from `first_number`, composed, built and checked; ValueError for one that cannot run."""

    def reuse(self, task: Task) -> Outcome | None:
        """The outcome of a job that has finished before; None if it is to be run."""

    def record(self, task: Task, outcome: Outcome) -> None:
        """Keep what became of a task."""


Direction = Literal["maximize", "minimize"]


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
        metrics, directions = _several(options.metric), _several(options.direction)
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

    def values(self, outcome: Outcome) -> list[float]:
        """The values of a finished job; StudyError if it was not evaluated so."""
        missing = [metric for metric in self.metrics if metric not in outcome.valid]
        if missing:
            known = ", ".join(sorted(outcome.valid)) or "none"
            raise StudyError(f"jobs have no validation metric {missing[0]!r}; there are: {known}")
        return [float(outcome.valid[metric]) for metric in self.metrics]


@dataclass
class Flight:
    """A job that runs, and the trials that wait for it: nearly always one, more where the same values were asked."""

    task: Task
    trials: list[Any]
    reported: int = -1
    """Last epoch told to the pruner."""
    pruned: str = ""
    """Why it was stopped; empty for one that runs on."""


@dataclass
class Search:
    """One session of a study: asks and tells until the study has its trials.

    Args:
        study: Optuna's study.
        space: to draw from.
        options: budget, sampler, pruner.
        objectives: what is told.
        jobs: turns overrides into tasks and keeps account of them.
    """

    study: Any
    space: Space
    options: StudyOptions
    objectives: Objectives
    jobs: Jobs
    flights: dict[str, Flight] = field(default_factory=dict)
    """By job."""
    failures: list[str] = field(default_factory=list)
    tried: list[Mapping[str, Value]] = field(default_factory=list)
    """Parameters asked in this session."""

    def run(self, executor: Executor, lease: Lease) -> None:
        """Keep every slot busy until nothing is left to ask; StudyError beyond `max_failures`."""
        while self._fill(executor) or self.flights:
            lease.renew()
            ended = executor.wait(POLL_SECONDS if self.options.pruner != "none" else IDLE_SECONDS)
            if ended is not None:
                self._end(*ended)
            self._prune(executor)

    def _fill(self, executor: Executor) -> bool:
        """Ask and submit as long as there are a free slot and something to ask; whether anything was asked."""
        asked = False
        while len(self.flights) < executor.slots and (trial := self._ask()) is not None:
            asked = True
            task = self._task(trial)
            known = self.jobs.reuse(task)
            if known is not None:
                self.jobs.record(task, known)
                self._tell(trial, known, "")
            elif task.job_id in self.flights:
                self.flights[task.job_id].trials.append(trial)
            else:
                self.flights[task.job_id] = Flight(task, [trial])
                executor.submit(task)
        return asked

    def _task(self, trial: Any) -> Task:
        overrides = self.space.overrides(trial.params)
        (task,) = self.jobs.prepare([overrides], first_number=trial.number)
        trial.set_user_attr("job_id", task.job_id)
        trial.set_user_attr("overrides", list(overrides))
        return task

    def _ask(self) -> Any | None:
        """The next trial, those that a dead controller left first; None when the study has enough or the grid ends."""
        trials = self.study.get_trials(deepcopy=False)
        running = sum(len(flight.trials) for flight in self.flights.values())
        if self.options.n_trials is not None and num_told(trials) + running >= self.options.n_trials:
            return None
        waiting = any(trial.state.name == "WAITING" for trial in trials)
        if self.options.sampler == "grid" and not waiting:
            cell = next_cell(self.space, trials, self.tried)
            if cell is None:
                return None
            self.study.enqueue_trial(cell)
        drawn = sum("fixed_params" not in trial.system_attrs for trial in trials)
        self.study.sampler = make_sampler(self.options, drawn)
        trial = self.study.ask(distributions(self.space))
        self.tried.append(trial.params)
        return trial

    def _end(self, task: Task, outcome: Outcome) -> None:
        flight = self.flights.pop(task.job_id)
        self.jobs.record(task, outcome)
        for trial in flight.trials:
            self._tell(trial, outcome, flight.pruned)

    def settle(self, executor: Executor) -> None:
        """After the engine has stopped: keep account of what ran until then, and tell of what finished."""
        while self.flights and (ended := executor.wait(0)) is not None:
            task, outcome = ended
            flight = self.flights.pop(task.job_id)
            self.jobs.record(task, outcome)
            for trial in flight.trials if outcome.status == "FINISHED" else ():
                self._tell(trial, outcome, "")

    def _tell(self, trial: Any, outcome: Outcome, pruned: str) -> None:
        from optuna.trial import TrialState

        if outcome.run_id:
            trial.set_user_attr("run_id", outcome.run_id)
        if outcome.status == "FINISHED":
            values = self.objectives.values(outcome)
            self.study.tell(trial, values)
            shown = " ".join(f"{name}={value:.4f}" for name, value in zip(self.objectives.metrics, values, strict=True))
            log.info("trial %d: validation %s  %s", trial.number, shown, assignment(trial.params))
        elif pruned:
            trial.set_user_attr("pruned", pruned)
            self.study.tell(trial, state=TrialState.PRUNED)
            log.info("trial %d: %s  %s", trial.number, pruned, assignment(trial.params))
        else:
            trial.set_user_attr("error", outcome.reason)
            self.study.tell(trial, state=TrialState.FAIL)
            reason = " ".join(outcome.reason.split())
            self._count_failure(f"trial {trial.number} {outcome.status}: {reason}  {assignment(trial.params)}")

    def _count_failure(self, failure: str) -> None:
        self.failures.append(failure)
        log.warning("%s (%d of %d failures allowed)", failure, len(self.failures), self.options.max_failures)
        if len(self.failures) > self.options.max_failures:
            raise StudyError(
                f"more than hydra.sweeper.max_failures={self.options.max_failures} trials failed:\n  "
                + "\n  ".join(self.failures)
            )

    def _prune(self, executor: Executor) -> None:
        """Tell the pruner of new epochs, and stop the jobs of trials that it gives up."""
        if self.options.pruner == "none":
            return
        (metric,) = self.objectives.metrics
        for flight in self.flights.values():
            for epoch, value in validation_by_epoch(flight.task.folder, metric):
                if epoch <= flight.reported or flight.pruned:
                    continue
                flight.trials[0].report(value, epoch)
                flight.reported = epoch
                if flight.trials[0].should_prune():
                    flight.pruned = f"pruned at epoch {epoch}, {metric}={value:.4f} ({self.options.pruner})"
                    executor.stop(flight.task, flight.pruned)


def run_study(
    study: Any, options: StudyOptions, space: Space, folder: Path, jobs: Jobs, start: Callable[[int], Executor]
) -> None:
    """Bring a study to its number of trials, from wherever earlier sessions left it.

    Args:
        study: Optuna's, from `open_study`.
        options: of the study; `each` is not looked at.
        space: what to draw from.
        folder: of the study.
        jobs: turns overrides into tasks and keeps account of them.
        start: makes the engine for at most so many trials; called only if something is left to run.

    Raises: ValueError for a question that has changed, a controller that lives, or a job that cannot be built;
        StudyError if too many trials failed.
    """
    objectives = Objectives.of(options)
    refuse_change(study, space, objectives, jobs)
    with leased(study, folder) as lease:
        requeue_stale(study, space)
        left = num_left(study, options, space)
        if not left:
            log.info("study %s has all its trials", study.study_name)
            return
        jobs.prepare([space.overrides(probe) for probe in space.probes()])
        executor = start(left)
        _announce(study, options, executor, folder)
        search = Search(study, space, options, objectives, jobs)
        try:
            with executor:
                search.run(executor, lease)
        finally:
            search.settle(executor)
            requeue_stale(study, space, "the study was interrupted")


def check_options(options: StudyOptions, space: Space, objectives: Objectives) -> None:
    """Raise ValueError for options that cannot be."""
    if not space.axes:
        raise ValueError(
            "a study needs parameters to choose: hydra.sweeper.params or, on the command line, key=interval(a,b)"
        )
    if options.n_trials is None and options.sampler != "grid":
        raise ValueError("hydra.sweeper.n_trials must be given; only a grid has an end of its own")
    for key, least in (("n_trials", 1), ("max_failures", 0), ("seed", 0)):
        value = getattr(options, key)
        if value is not None and value < least:
            raise ValueError(f"hydra.sweeper.{key} must be at least {least}, got {value}")
    if options.importance not in ("fanova", "ped_anova"):
        raise ValueError(f"hydra.sweeper.importance must be fanova or ped_anova, got {options.importance!r}")
    check_choice(options, space, len(objectives.metrics))


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
    if old is None:
        study.set_user_attr("question", new)
        return
    if changes := list(differences(old, new)):
        raise ValueError(_changed(study.study_name, "; ".join(changes)))
    told = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if told:
        (task,) = jobs.prepare([space.overrides(told[-1].params)])
        if task.job_id != told[-1].user_attrs["job_id"]:
            raise ValueError(
                _changed(
                    study.study_name,
                    f"trial {told[-1].number} would be another job today ({told[-1].user_attrs['job_id']} became "
                    f"{task.job_id}): the code, the data or fixed options are not those of the finished trials",
                )
            )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What two questions do not share, for people."""
    for key in sorted(old["space"].keys() | new["space"].keys()):
        before, now = (question["space"].get(key, "fixed") for question in (old, new))
        if before != now:
            yield f"{key} was {before}, is {now}"
    if old["metrics"] != new["metrics"]:
        yield f"metric was {', '.join(old['metrics'])}, is {', '.join(new['metrics'])}"


def requeue_stale(study: Any, space: Space, reason: str = "the controller died") -> None:
    """Close trials that no controller knows any more, and put their parameters first in the queue."""
    from optuna.trial import Trial, TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        Trial(study, trial._trial_id).set_user_attr("interrupted", f"{reason}; its parameters are asked again")
        study.tell(trial.number, state=TrialState.FAIL)
        params = trial.system_attrs.get("fixed_params", trial.params)
        if params.keys() == space.describe().keys():  # a controller may die between two parameters
            study.enqueue_trial(dict(params), user_attrs={"repeats": trial.number})
        log.info("trial %d did not end: %s; its parameters are asked again", trial.number, reason)


def next_cell(space: Space, trials: Sequence[Any], tried: Sequence[Mapping[str, Value]]) -> dict[str, Value] | None:
    """The first cell of the grid that has not been told, is not running and has not failed in this session."""
    seen = [trial.params for trial in trials if trial.state.name in ("COMPLETE", "PRUNED", "RUNNING")]
    done = {_cell_key(params) for params in [*seen, *tried]}
    return next((cell for cell in space.cells() if _cell_key(cell) not in done), None)


def num_left(study: Any, options: StudyOptions, space: Space) -> int:
    """Trials that are still to be told."""
    trials = study.get_trials(deepcopy=False)
    left = [] if options.n_trials is None else [options.n_trials - num_told(trials)]
    if options.sampler == "grid":
        done = {_cell_key(trial.params) for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")}
        left.append(sum(_cell_key(cell) not in done for cell in space.cells()))
    return max(0, min(left))


def num_told(trials: Sequence[Any]) -> int:
    """Trials that count: finished and pruned ones."""
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials)


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


def _announce(study: Any, options: StudyOptions, executor: Executor, folder: Path) -> None:
    trials = study.get_trials(deepcopy=False)
    goal = "the whole grid" if options.n_trials is None else f"{options.n_trials} trials"
    log.info(
        "study %s in %s: %d of %s told, sampler %s with seed %d, pruner %s",
        *(study.study_name, address(options.storage, folder), num_told(trials), goal),
        *(options.sampler, options.seed, options.pruner),
    )
    if executor.slots > 1 and options.sampler not in ("grid", "random"):
        log.info(
            "%d trials run side by side: what %s asks next depends on the order in which they end, so another run may "
            "ask other trials; one worker makes it reproducible",
            *(executor.slots, options.sampler),
        )


def _several(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _cell_key(params: Mapping[str, Value]) -> str:
    return repr(sorted((key, str(value)) for key, value in params.items()))


def assignment(params: Mapping[str, Value]) -> str:
    """Parameters on one line, numbers to four digits."""
    shown = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in params.items()}
    return " ".join(f"{key}={text}" for key, text in shown.items())


def _changed(name: str, what: str) -> str:
    return (
        f"the study {name!r} asked another question before: {what}. Trials of both cannot be compared; go back, or "
        "start another study with hydra.sweeper.study_name=NAME"
    )
