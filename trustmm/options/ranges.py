"""Hydra's ``range(...)`` over decimal fractions, exact: 0.5, 0.4, 0.3, 0.2, 0.1 and not 0.19999999999999998.

Hydra adds the binary values of start and step. Here their decimal values are added, so that every number of a range is
spelt as if it had been typed: ``0.2`` and the same value in ``range(0.5,0,-0.1)`` are one job. The end stays excluded.
"""

from decimal import Decimal

from hydra.core.override_parser import types


class ExactRange(types.FloatRange):
    """Numbers from `start` up to, but excluding, `stop`."""

    def __post_init__(self) -> None:
        self.start, self.stop, self.step = (Decimal(repr(end)) for end in (self.start, self.stop, self.step))


def use_exact_ranges() -> None:
    """Make ranges exact in all of Hydra's sweeps and in studies."""
    types.FloatRange = ExactRange  # type: ignore[misc]
