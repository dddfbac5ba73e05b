"""Options of a study that knows when to stop, as Hydra's typed configuration: ``hydra.sweeper.KEY=value``."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class EvidenceOptions:
    """What is compared with what, when it is read, and how much it may cost."""

    params: dict[str, Any] = field(default_factory=dict)
    """Key to values in Hydra's grammar, one of them the key in `compare`; the seed is not among them."""
    compare: str = "rectifier"
    """The key whose values are compared, pair by pair; all other keys make the rows of the study."""
    base: Any = "none"
    """The value that every other value of `compare` is held against."""
    metric: str = "recall@10"
    """Test metric."""
    sided: int = 2
    """2, or 1 where only a gain counts; where only a loss does, exchange base and treated."""
    margin: float = 0.02
    """Differences below this share of the base's mean count as none; 0 asks for no equivalence."""
    looks: list[int] = field(default_factory=lambda: [3, 4, 5, 6, 8, 10, 13, 16, 20])
    """Numbers of seeds at which a comparison is read."""
    alpha: float = 0.05
    """Chance of a false verdict over all looks and all comparisons (Holm)."""
    futility: float = 0.1
    """A comparison ends as futile where a verdict at the looks that are left is less likely than this."""
    max_jobs: int | None = None
    """A look that needs jobs beyond this many is not begun; those that were finished before count."""
    max_hours: float | None = None
    """Hours of jobs together, which two workers spend in half the time. A look that would exceed them is not begun: its
    jobs are expected to take what their cells took so far. Those that were finished before count."""
    seed: int = 0
    """Of the simulated boundary."""
