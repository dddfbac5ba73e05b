"""Messages and limits of what the user types."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest

from trustmm.options.checks import Count, NonNegative, Positive, Seed, Share, Within, check_value

Rho = Annotated[float, Within("(0, 1]")] | Literal["paper", "drop", "estimate"]


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (0, Share), (1, Share), (0.5, Share), (1e-3, Positive), (0, NonNegative), (1, Count), (10**9, Count), (0, Seed),
        (0.01, Annotated[float, Within("[0.01, inf)")]), (1.0, Annotated[float, Within("(-1, 1]")]),
        (0.3, Rho), (1, Rho), ("paper", Rho), ("estimate", Rho), (True, bool), ("x", str), (None, float | None),
        (3, int | None), ([5, 10], Sequence[Count]), ((), Sequence[Count]), ({"visual": 0.2}, Mapping[str, Share]),
        ({}, Mapping[str, Share]), (object(), object), ([1, {"a": [2]}], Sequence[Any]),
        ({"a": None}, Mapping[str, float | None]),
    ],
)  # fmt: skip
def test_what_is_allowed_passes(value: Any, annotation: Any) -> None:
    check_value("key", value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (1.7, Share, "key must be in [0, 1], got 1.7"),
        (-1e-9, Share, "key must be in [0, 1], got -1e-09"),
        (math.nan, Share, "key must be in [0, 1], got nan"),
        (True, Share, "key must be a number, got True"),
        ("half", Share, "key must be a number, got 'half'"),
        (None, Share, "key must be a number, got None"),
        (0, Positive, "key must be in (0, inf), got 0"),
        (math.inf, Positive, "key must be in (0, inf), got inf"),
        (math.inf, NonNegative, "key must be in [0, inf), got inf"),
        (-1, Annotated[float, Within("(-1, 1]")], "key must be in (-1, 1], got -1"),
        (0.5, Annotated[float, Within("(0, 0.5)")], "key must be in (0, 0.5), got 0.5"),
        (0, Count, "key must be in [1, inf), got 0"),
        (2.0, Count, "key must be an integer, got 2.0"),
        (False, Count, "key must be an integer, got False"),
        (-1, Seed, "key must be in [0, inf), got -1"),
        (1, bool, "key must be true or false, got 1"),
        (3, str, "key must be text, got 3"),
        ("clena", Literal["clean", "edited"], "key must be clean or edited, got 'clena'"),
        (1.7, Rho, "key must be in (0, 1] or paper or drop or estimate, got 1.7"),
        ("papr", Rho, "key must be a number or paper or drop or estimate, got 'papr'"),
        (2.5, int | None, "key must be an integer or null, got 2.5"),
        (5, Sequence[Count], "key must be a list, got 5"),
        ("510", Sequence[Count], "key must be a list, got '510'"),
        ([5, 0], Sequence[Count], "key[1] must be in [1, inf), got 0"),
        ([0.1], Mapping[str, Share], "key must be a mapping of names to values, got [0.1]"),
        ({"visual": 2}, Mapping[str, Share], "key.visual must be in [0, 1], got 2"),
        ({3: 0.2}, Mapping[str, Share], "key must be text, got 3"),
        ({"a": [1, "b"]}, Mapping[str, Sequence[int]], "key.a[1] must be an integer, got 'b'"),
    ],
)
def test_what_is_not_allowed_is_refused_with_key_value_and_limits(value: Any, annotation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_value("key", value, annotation)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1]", [0, 1], [-0.01, 1.01]),
        ("(0, 1)", [0.5], [0, 1]),
        ("(-1, 1]", [1], [-1]),
        ("[1, inf)", [1e300], [0.9]),
    ],
)
def test_intervals_close_and_open_as_written(interval: str, inside: list[float], outside: list[float]) -> None:
    assert all(value in Within(interval) for value in inside)
    assert not any(value in Within(interval) for value in [*outside, math.nan])
