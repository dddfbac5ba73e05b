"""The search space, in Hydra's grammar."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from trustmm.study.question import distributions
from trustmm.study.space import parse_space


@pytest.mark.parametrize(
    ("typed", "shown", "ends"),
    [
        ("choice(a,b,c)", "choice(a,b,c)", ["a", "b", "c"]),
        ("a,b", "choice(a,b)", ["a", "b"]),
        ("0,0.5,1", "choice(0,0.5,1)", [0, 0.5, 1]),
        ("true,null", "choice(True,null)", [True, "null"]),
        ("interval(0,1)", "interval(0,1)", [0.0, 1.0]),
        ("interval(1e-4, 0.01)", "interval(0.0001,0.01)", [1e-4, 0.01]),
        ("tag(log, interval(0.02, 0.5))", "tag(log, interval(0.02,0.5))", [0.02, 0.5]),
        ("int(interval(5,50))", "int(interval(5,50))", [5, 50]),
        ("tag(log, int(interval(1,64)))", "tag(log, int(interval(1,64)))", [1, 64]),
        ("range(1,5)", "int(interval(1,4))", [1, 4]),
        ("range(0,1,0.25)", "range(0,0.75,step=0.25)", [0.0, 0.75]),
        ("range(10,40,10)", "range(10,30,step=10)", [10, 30]),
    ],
)
def test_grammar_is_read_and_shown(typed: str, shown: str, ends: list[object]) -> None:
    (axis,) = parse_space({"rectifier.lam": typed}, []).axes
    assert str(axis) == shown
    assert axis.ends == ends
    assert [type(end) for end in axis.ends] == [type(end) for end in ends]


@pytest.mark.parametrize("typed", ["a,b", "interval(0,1)", "int(interval(5,50))", "range(0,1,0.1)", "'x y',\"a,b\""])
def test_values_survive_the_way_through_the_command_line(typed: str) -> None:
    (axis,) = parse_space({"key": typed}, []).axes
    for value in axis.ends:
        (parsed,) = OverridesParser.create().parse_overrides([axis.override(value)])
        assert not parsed.is_sweep_override()
        assert parsed.value() == (str(value).strip("'\"") if isinstance(value, str) else value)


def test_drawn_floats_keep_every_digit_and_steps_have_no_tails() -> None:
    smooth, stepped = parse_space({"a": "interval(0,1)", "b": "range(0,1,0.1)"}, []).axes
    assert smooth.override(0.1 + 0.2) == "a=0.30000000000000004"
    assert stepped.override(0.1 + 0.2) == "b=0.3"
    assert stepped.values == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def test_command_line_wins_over_the_template_and_fixed_arguments_stay_fixed() -> None:
    params = {"rectifier.lam": "interval(0,1)", "rectifier.k": "int(interval(5,50))", "corruption.eta": 0.2}
    space = parse_space(params, ["rectifier.lam=0.5", "seed=0,1", "rectifier.k=10,20", "+new=1", "~tracking.uri"])
    assert space.describe() == {"rectifier.k": "choice(10,20)", "seed": "choice(0,1)"}
    assert space.fixed == ("rectifier.lam=0.5", "corruption.eta=0.2", "+new=1", "~tracking.uri")
    assert space.overrides({"rectifier.k": 10, "seed": 1})[-2:] == ("rectifier.k=10", "seed=1")


def test_cells_are_all_combinations_and_probes_hold_every_choice() -> None:
    space = parse_space({"a": "x,y,z", "b": "int(interval(1,2))"}, [])
    assert len(space.cells()) == len({str(cell) for cell in space.cells()}) == 6
    probes = space.probes()
    assert {probe["a"] for probe in probes} == {"x", "y", "z"}
    assert {probe["b"] for probe in probes} == {1, 2}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("interval(1,0)", r"key must be an interval with its smaller end first, got interval\(1,0\)"),
        ("tag(log, interval(0,1))", "key: a logarithmic interval starts above 0, got 0"),
        ("tag(log, choice(1,2))", r"key: tag\(log, ...\) needs an interval"),
        ("tag(linear, interval(0,1))", "key: the only tag is log, got linear"),
        ("range(3,3)", r"key: range\(3,3\) is empty; the end is excluded"),
        ("a,b,a", "key names a choice twice: a,b,a"),
    ],
)
def test_space_that_cannot_be_is_refused(typed: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_space({"key": typed}, [])


def test_optuna_draws_from_the_same_ends() -> None:
    params = {"a": "interval(0,1)", "b": "int(interval(5,50))", "c": "x,y", "d": "tag(log, interval(0.1,10))"}
    found = distributions(parse_space(params, []))
    assert (found["a"].low, found["a"].high, found["a"].log) == (0, 1, False)
    assert (found["b"].low, found["b"].high, found["b"].step) == (5, 50, 1)
    assert found["c"].choices == ("x", "y")
    assert found["d"].log
