"""The words of a command line before Hydra sees them: templates found, secrets concealed, endless sweeps refused."""

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from trustmm.options.config import TEMPLATES, template_folder
from trustmm.tracking.redact import conceal_config
from trustmm.tracking.typed import conceal_word, parse_word

NEW_KEY = re.compile(r"\+{1,2}(hydra\.((launcher|sweeper|run|sweep|job)\.)?\w+=.*)", re.DOTALL)
"""A key that is added to where Hydra and our launchers and sweepers read theirs: what is not there, nobody reads."""
MOST_JOBS = 100_000
"""Of a sweep: more would not fit into memory, nor into a life."""


class ConcealSecrets(Callback):
    """Conceals secrets that come from YAML files, before Hydra or a sweeper writes the configuration down."""

    def on_run_start(self, config: DictConfig, **others: Any) -> None:
        """Before a job."""
        conceal_config(config)

    def on_multirun_start(self, config: DictConfig, **others: Any) -> None:
        """Before a sweep, whose configuration Hydra writes with `open`, which would follow a link."""
        conceal_config(config)
        path = Path(config.hydra.sweep.dir) / "multirun.yaml"
        if path.is_symlink():
            path.unlink()


def enter() -> None:
    """Put the words of this process's command line into the form that may be written down.

    A plus before a key of `hydra.` is taken away, so that a mistyped one is refused like any other.

    Raises: ValueError for a sweep of more than `MOST_JOBS` jobs.
    """
    sys.argv[1:] = [NEW_KEY.sub(r"\1", word) for word in sys.argv[1:]]
    parsed = [parse_word(word) for word in sys.argv[1:]]
    _refuse_endless([override for override in parsed if override is not None])
    words = [conceal_word(word, override) for word, override in zip(sys.argv[1:], parsed, strict=True)]
    templates = {f"{flag}{TEMPLATES}": f"{flag}{template_folder()}" for flag in ("", "--config-dir=")}
    sys.argv[1:] = [templates.get(word, word) for word in words]


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
