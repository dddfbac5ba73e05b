"""The trials of a study: which count, which are left, which were cut off."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from trustmm.study.options import StudyOptions
from trustmm.study.space import Space, Value

log = logging.getLogger(__name__)


def num_ended(trials: Sequence[Any]) -> int:
    """Trials that count: finished and pruned ones."""
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials)


def num_left(study: Any, options: StudyOptions, space: Space) -> int:
    """Trials that are still to run."""
    trials = study.get_trials(deepcopy=False)
    left = [] if options.n_trials is None else [options.n_trials - num_ended(trials)]
    if options.sampler == "grid":
        done = {_cell_key(trial.params) for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")}
        left.append(sum(_cell_key(cell) not in done for cell in space.cells()))
    return max(0, min(left))


def next_cell(space: Space, trials: Sequence[Any], tried: Sequence[Mapping[str, Value]]) -> dict[str, Value] | None:
    """The first cell of the grid that has not ended, is not running and has not failed in this session."""
    seen = [trial.params for trial in trials if trial.state.name in ("COMPLETE", "PRUNED", "RUNNING")]
    done = {_cell_key(params) for params in [*seen, *tried]}
    return next((cell for cell in space.cells() if _cell_key(cell) not in done), None)


def requeue_stale(study: Any, space: Space, reason: str = "the controller died") -> None:
    """Close trials that no controller knows any more, and put their parameters first in the queue."""
    from optuna.trial import Trial, TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        Trial(study, trial._trial_id).set_user_attr("interrupted", f"{reason}; its parameters will be tried again")
        study.tell(trial.number, state=TrialState.FAIL)
        params = trial.system_attrs.get("fixed_params", trial.params)
        if params.keys() == space.describe().keys():  # a controller may die between two parameters
            study.enqueue_trial(dict(params), user_attrs={"repeats": trial.number})
        log.info("trial %d did not end: %s; its parameters will be tried again", trial.number, reason)


def assignment(params: Mapping[str, Value]) -> str:
    """Parameters on one line, numbers to four digits."""
    shown = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in params.items()}
    return " ".join(f"{key}={text}" for key, text in shown.items())


def _cell_key(params: Mapping[str, Value]) -> str:
    return repr(sorted((key, str(value)) for key, value in params.items()))
