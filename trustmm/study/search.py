"""A study: trials asked for, run, pruned and reported one by one, by a controller that may die and come back."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trustmm.store.origin import origin_of
from trustmm.study.epochs import validation_by_epoch
from trustmm.study.options import StudyOptions
from trustmm.study.question import Jobs, Objectives, StudyError, distributions, refuse_change
from trustmm.study.sampler import make_sampler, most_at_a_time
from trustmm.study.space import Space, Value
from trustmm.study.storage import Lease, address, leased
from trustmm.study.trials import assignment, next_cell, num_ended, num_left, requeue_stale
from trustmm.sweep.engine import Executor, Outcome, Task

log = logging.getLogger(__name__)

POLL_SECONDS, IDLE_SECONDS = 1.0, 20.0
"""Time between two looks at the running jobs: with a pruner, and without."""


@dataclass
class Flight:
    """A job that runs, and the trials that wait for it: nearly always one, more where the same values were asked."""

    task: Task
    trials: list[Any]
    reported: int = -1
    """Last epoch that the pruner knows."""
    pruned: str = ""
    """Why it was stopped; empty for one that runs on."""


@dataclass
class Search:
    """One session of a study: asks and tells until the study has its trials.

    Args:
        study: Optuna's study.
        space: to draw from.
        options: budget, sampler, pruner.
        objectives: what Optuna learns of a trial.
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
        slots = min(executor.slots, most_at_a_time(self.options) or executor.slots)
        while len(self.flights) < slots and (trial := self._ask()) is not None:
            asked = True
            try:
                task = self._task(trial)
            except ValueError as error:  # a combination that cannot be: the others may
                self._tell(trial, None, Outcome("FAILED", str(error)))
                continue
            known = self.jobs.reuse(task)
            if known is not None:
                self.jobs.record(task, known)
                self._tell(trial, task, known)
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
        if self.options.n_trials is not None and num_ended(trials) + running >= self.options.n_trials:
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
        trial.set_user_attr("sampler", self.options.sampler)
        self.tried.append(trial.params)
        return trial

    def _end(self, task: Task, outcome: Outcome) -> None:
        flight = self.flights.pop(task.job_id)
        self.jobs.record(task, outcome)
        for trial in flight.trials:
            self._tell(trial, task, outcome, flight.pruned)

    def settle(self, executor: Executor) -> None:
        """After the engine has stopped: keep account of what ran until then, and tell of what finished."""
        while self.flights and (ended := executor.wait(0)) is not None:
            task, outcome = ended
            flight = self.flights.pop(task.job_id)
            self.jobs.record(task, outcome)
            for trial in flight.trials if outcome.status == "FINISHED" else ():
                self._tell(trial, task, outcome)

    def _tell(self, trial: Any, task: Task | None, outcome: Outcome, pruned: str = "") -> None:
        from optuna.trial import TrialState

        if outcome.run_id:
            trial.set_user_attr("run_id", outcome.run_id)
        if outcome.status == "FINISHED":
            stored = None if task is None else self.jobs.stored(task)
            if stored is not None:
                trial.set_user_attr("made", origin_of(stored.summary))
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
        for task in jobs.prepare([space.overrides(probe) for probe in space.probes()]):
            objectives.check(jobs.metrics(task))
        executor = start(min(left, most_at_a_time(options) or left))
        _announce(study, options, executor, folder)
        search = Search(study, space, options, objectives, jobs)
        try:
            with executor:
                search.run(executor, lease)
        finally:
            search.settle(executor)
            requeue_stale(study, space, "the study was interrupted")


def _announce(study: Any, options: StudyOptions, executor: Executor, folder: Path) -> None:
    trials = study.get_trials(deepcopy=False)
    goal = "the whole grid" if options.n_trials is None else f"{options.n_trials} trials"
    log.info(
        "study %s in %s: %d of %s done, sampler %s with seed %d, pruner %s",
        *(study.study_name, address(options.storage, folder), num_ended(trials), goal),
        *(options.sampler, options.seed, options.pruner),
    )
    slots = min(executor.slots, most_at_a_time(options) or executor.slots)
    if slots > 1 and options.sampler not in ("grid", "random"):
        log.info(
            "%d trials run in parallel: what %s proposes next depends on the order in which they end, so another run "
            "may propose other trials; one worker makes the study reproducible",
            *(slots, options.sampler),
        )
