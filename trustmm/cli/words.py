"""The words of a command line before Hydra sees them: secrets concealed, sweeps without an end refused."""

import math
import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString, RangeSweep, Transformer
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from trustmm.tracking.redact import conceal, conceal_config, public

MOST_JOBS = 100_000
"""Of a sweep: more would not fit into memory, nor into a life."""


class ConcealSecrets(Callback):
    """Conceals secrets that come from YAML files, before Hydra or a sweeper writes the configuration down."""

    def on_run_start(self, config: DictConfig, **others: Any) -> None:
        """Before a job."""
        conceal_config(config)

    def on_multirun_start(self, config: DictConfig, **others: Any) -> None:
        """Before a sweep."""
        conceal_config(config)


def enter() -> None:
    """Put the words of this process's command line into the form that may be written down.

    Raises: ValueError for a sweep of more than `MOST_JOBS` jobs.
    """
    parsed = [_parse(word) for word in sys.argv[1:]]
    _refuse_endless([override for override in parsed if override is not None])
    words = zip(sys.argv[1:], parsed, strict=True)
    sys.argv[1:] = [conceal(word) if override is None else _concealed(word, override) for word, override in words]


def _parse(word: str) -> Override | None:
    """A word as an override; None for a flag, and for what Hydra will refuse."""
    if word.startswith("-") or "=" not in word:
        return None
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _concealed(word: str, override: Override) -> str:
    """The word with each of its addresses concealed; a choice of several stays one."""
    if public(word) == word:
        return word
    key, value = override.get_key_element(), override._value
    if isinstance(value, ChoiceSweep):
        return f"{key}=choice({','.join(_element(element) for element in value.list)})"
    return f"{key}={_element(value)}"


def _element(value: Any) -> str:
    text = value.text if isinstance(value, QuotedString) else value
    hidden = conceal(text) if isinstance(text, str) else text
    return str(Transformer.str(value)) if hidden == text else str(hidden)


def _refuse_endless(overrides: Sequence[Override]) -> None:
    counts = {override.get_key_element(): _count(override) for override in overrides}
    for key, count in counts.items():
        if count > MOST_JOBS:
            raise ValueError(f"{key} has {count:.3g} values; a sweep has at most {MOST_JOBS} jobs")
    jobs = math.prod(counts.values())
    if jobs > MOST_JOBS:
        most = " ".join(key for key, count in counts.items() if count > 1)
        raise ValueError(f"{most}: the sweep has {jobs:.3g} jobs; at most {MOST_JOBS} are allowed")


def _count(override: Override) -> float:
    value = override._value
    if isinstance(value, ChoiceSweep):
        return max(1, len(value.list))
    if not isinstance(value, RangeSweep):
        return 1
    key, start, stop, step = override.get_key_element(), value.start, value.stop, value.step
    if start is None or stop is None or not step or not all(math.isfinite(end) for end in (start, stop, step)):
        raise ValueError(f"{key} must be a range of finite numbers with a step, got {override.get_value_string()}")
    return max(0, (stop - start) / step)
