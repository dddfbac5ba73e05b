"""Who asks and who prunes: Optuna's samplers and pruners by name, with the options of a study."""

import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import asdict
from math import ceil
from typing import Any

from trustmm.seeding import stream
from trustmm.study.options import StudyOptions
from trustmm.study.space import Space

SAMPLERS = ("tpe", "random", "qmc", "grid", "gp", "cmaes")
LEARNS = ("tpe", "gp", "cmaes")
"""Samplers that ask where results were good."""
ROUNDS = 5
PRUNERS = ("none", "median", "successive_halving")
_NEEDS = {"cmaes": ("cmaes",), "gp": ("torch", "scipy"), "qmc": ("scipy",)}


def check_choice(options: StudyOptions, space: Space, num_objectives: int) -> None:
    """Raise ValueError if the chosen sampler or pruner cannot do what is asked of it."""
    for key, value, known in (("sampler", options.sampler, SAMPLERS), ("pruner", options.pruner, PRUNERS)):
        if value not in known:
            raise ValueError(f"hydra.sweeper.{key} must be {' or '.join(known)}, got {value!r}")
    for package in _NEEDS.get(options.sampler, ()):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"hydra.sweeper.sampler={options.sampler} needs the package {package}: pip install {package}; "
                "or use hydra.sweeper.sampler=tpe"
            )
    if options.sampler == "grid":
        space.cells()
    if options.sampler == "cmaes" and num_objectives > 1:
        raise ValueError("hydra.sweeper.sampler=cmaes supports one objective; use tpe, gp, random or qmc for several")
    if options.pruner != "none" and num_objectives > 1:
        raise ValueError("hydra.sweeper.pruner must be none with several metrics, by which trials cannot be ranked")


def most_at_a_time(options: StudyOptions) -> int | None:
    """Trials that may run side by side; None for no bound but the engine's.

    A sampler that learns must know the results of most trials before it asks the others: of 30 trials asked at once it
    would learn nothing. Without a number of the user's own, it asks in five rounds at least.
    """
    if options.parallel is not None or options.sampler not in LEARNS or options.n_trials is None:
        return options.parallel
    return max(2, ceil(options.n_trials / ROUNDS))


def make_sampler(options: StudyOptions, turn: int) -> Any:
    """The sampler that draws the `turn`-th trial of a study.

    Every turn has its own seed, so a study that was interrupted goes on with the draws that it would have had; a
    sampler that started again from one seed would repeat its first ones.
    """
    seed = int(stream(options.seed, "study", str(turn)).integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # samplers that are called experimental since years
        return _build(options, seed)


def _build(options: StudyOptions, seed: int) -> Any:
    from optuna import samplers

    if options.sampler == "tpe":
        return samplers.TPESampler(seed=seed, **asdict(options.tpe))
    if options.sampler == "qmc":  # its place in the sequence is in the storage, and the sequence is one
        first = samplers.RandomSampler(seed=seed)  # draws until a trial has ended, each time anew
        given = asdict(options.qmc) | {"independent_sampler": first, "warn_independent_sampling": False}
        return samplers.QMCSampler(seed=options.seed, **given)
    if options.sampler == "gp":
        return samplers.GPSampler(seed=seed, warn_independent_sampling=False, **asdict(options.gp))
    if options.sampler == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False, **asdict(options.cmaes))
    return samplers.RandomSampler(seed=seed)


def make_pruner(options: StudyOptions) -> Any:
    """The pruner; one that never prunes for "none"."""
    from optuna import pruners

    makers: dict[str, Callable[[], Any]] = {
        "none": pruners.NopPruner,
        "median": lambda: pruners.MedianPruner(**asdict(options.median)),
        "successive_halving": lambda: pruners.SuccessiveHalvingPruner(**asdict(options.successive_halving)),
    }
    return makers[options.pruner]()
