"""Ranges of decimal fractions: every number as if it had been typed, in plain sweeps and in studies."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from trustmm.options.ranges import use_exact_ranges
from trustmm.study.space import parse_space

CASES = {
    "0.5,0,-0.1": ["0.5", "0.4", "0.3", "0.2", "0.1"],
    "0.4,0,-0.1": ["0.4", "0.3", "0.2", "0.1"],
    "0,0.5,0.1": ["0.0", "0.1", "0.2", "0.3", "0.4"],
    "0.1,1,0.3": ["0.1", "0.4", "0.7"],
    "1e-5,4e-5,1e-5": ["1e-05", "2e-05", "3e-05"],
    "0.05,0.2,0.05": ["0.05", "0.1", "0.15"],
}


def plain_sweep(text: str) -> list[str]:
    use_exact_ranges()
    return list(OverridesParser.create().parse_override(f"corruption.eta=range({text})").sweep_string_iterator())


@pytest.mark.parametrize(("text", "expected"), CASES.items())
def test_numbers_of_a_range_are_spelt_as_typed(text: str, expected: list[str]) -> None:
    assert plain_sweep(text) == expected


@pytest.mark.parametrize(("text", "expected"), CASES.items())
def test_a_study_spells_them_alike_whatever_the_sampler_computes(text: str, expected: list[str]) -> None:
    (axis,) = parse_space({}, [f"corruption.eta=range({text})"]).axes
    typed = [f"corruption.eta={each}" for each in sorted(expected, key=float)]
    assert [axis.override(value) for value in axis.values] == typed
    assert axis.step is not None
    drawn = [axis.low + place * axis.step for place in range(len(expected))]  # as a sampler adds
    assert [axis.override(value) for value in drawn] == [axis.override(value) for value in axis.values]


def test_five_rows_pair_with_numbers_typed_one_by_one() -> None:
    typed = OverridesParser.create().parse_override("corruption.eta=0.1,0.2,0.3,0.4,0.5")
    assert sorted(plain_sweep("0.5,0,-0.1")) == sorted(typed.sweep_string_iterator())
