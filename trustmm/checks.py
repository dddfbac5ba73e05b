"""Range checks of what the user types. They run when a stage is built, before any data are read."""

from collections.abc import Collection


def check_interval(key: str, value: float, interval: str, *, hint: str = "") -> None:
    """Raise ValueError unless `value` lies in `interval`, written as in a paper: ``[0, 1]``, ``(0, inf)``, ``(-1, 1]``.

    Args:
        key: the configuration key, as the user types it, such as ``corruption.eta``.
        value: a number; NaN lies in no interval.
        interval: bounds between round (excluded) or square (included) brackets.
        hint: what to do about it, appended to the message.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    if not (above and below):
        raise ValueError(f"{key} must be in {interval}, got {value}{'; ' + hint if hint else ''}")


def check_at_least(key: str, value: int, low: int, *, hint: str = "") -> None:
    """Raise ValueError unless the integer `value` is at least `low`."""
    if value < low:
        raise ValueError(f"{key} must be >= {low}, got {value}{'; ' + hint if hint else ''}")


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{key} must be one of {', '.join(sorted(choices))}, got {value!r}")
