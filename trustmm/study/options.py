"""Options of a study, as Hydra's typed configuration: ``hydra.sweeper.KEY=value``."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TPE:
    """Tree-structured Parzen estimator; needs some random trials first."""

    n_startup_trials: int = 10
    n_ei_candidates: int = 24
    multivariate: bool | None = None
    """Null: true for one objective."""
    constant_liar: bool = True
    """Keeps parallel trials apart."""


@dataclass
class QMC:
    """Quasi-random points, which fill the space evenly."""

    qmc_type: str = "sobol"
    """Or halton."""
    scramble: bool = True


@dataclass
class GP:
    """Gaussian process; for few, expensive trials."""

    n_startup_trials: int = 10
    deterministic_objective: bool = False


@dataclass
class CMAES:
    """Covariance matrix adaptation; continuous parameters only, choices are drawn at random."""

    n_startup_trials: int = 1
    sigma0: float | None = None
    """First step, as a share of the space; null: a sixth."""
    popsize: int | None = None
    with_margin: bool = False
    """Keeps integers from freezing."""


@dataclass
class Median:
    """Stops a trial whose best epoch so far lies below the median of the others at the same epoch."""

    n_startup_trials: int = 5
    n_warmup_steps: int = 5
    """Epochs that are never judged."""
    interval_steps: int = 1
    n_min_trials: int = 1


@dataclass
class SuccessiveHalving:
    """Promotes the best 1 in `reduction_factor` trials at each of a growing series of epochs."""

    min_resource: int = 5
    """First epoch that is judged."""
    reduction_factor: int = 3
    min_early_stopping_rate: int = 0
    bootstrap_count: int = 0


@dataclass
class StudyOptions:
    """What is asked, of how many trials, and who asks."""

    params: dict[str, Any] = field(default_factory=dict)
    """Key to values in Hydra's grammar: ``interval(0,1)``, ``a,b``, ``int(interval(5,50))``, ``tag(log, ...)``."""
    each: dict[str, Any] = field(default_factory=dict)
    """Key to choices; the study is repeated for each, with the same budget: ``rectifier: none,mr``."""
    n_trials: int | None = 30
    """Finished and pruned trials in total, restarts included; null: the whole grid."""
    metric: Any = "recall@10"
    """Validation metric, or a list of them."""
    direction: Any = "maximize"
    """Or minimize; a list for a list of metrics."""
    sampler: str = "tpe"
    """tpe, random, qmc, grid, gp or cmaes."""
    seed: int = 0
    """Of the sampler."""
    pruner: str = "none"
    """none, median or successive_halving: stops hopeless trials by their validation values."""
    parallel: int | None = None
    """Trials at a time; null: as many as the launcher can, for tpe, gp and cmaes at most a fifth of n_trials."""
    max_failures: int = 5
    """Failed trials that one command survives."""
    storage: str | None = None
    """Null: a journal file in the sweep folder. Or a database: ``sqlite:///study.db``, ``postgresql+psycopg://...``."""
    study_name: str | None = None
    """Null: the name of the sweep folder."""
    importance: str = "fanova"
    """Evaluator of the importances: fanova or ped_anova."""
    tpe: TPE = field(default_factory=TPE)
    qmc: QMC = field(default_factory=QMC)
    gp: GP = field(default_factory=GP)
    cmaes: CMAES = field(default_factory=CMAES)
    median: Median = field(default_factory=Median)
    successive_halving: SuccessiveHalving = field(default_factory=SuccessiveHalving)
