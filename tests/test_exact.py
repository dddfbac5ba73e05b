"""Arithmetic that gives every machine the same bits."""

import json
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.exact import (
    UNIT_BITS,
    bell,
    decimal,
    exact_share,
    exponential,
    logarithm,
    on_grid,
    product,
    unit_rows_on_grid,
    weighted,
)
from trustmm.seeding import stream

PROPERTY = settings(derandomize=True, deadline=None, max_examples=40, database=None)


@pytest.mark.parametrize(
    ("share", "count", "expected"), [(0.29, 100, 29), (0.57, 100, 57), (0.1, 29, 2), (0.0, 29, 0), (1.0, 29, 29),
                                     (1, 29, 29), (0.07, 100, 7), (1e-05, 100000, 1), (0.999, 10, 9)]
)  # fmt: skip
def test_exact_share_is_the_floor_of_the_decimal_number(share: float, count: int, expected: int) -> None:
    assert exact_share(share, count) == expected


@PROPERTY
@given(hundredths=st.integers(0, 100), count=st.integers(0, 5000))
def test_exact_share_never_loses_one_to_rounding(hundredths: int, count: int) -> None:
    assert exact_share(hundredths / 100, count) == hundredths * count // 100
    assert exact_share(1 - decimal(hundredths / 100), count) == (100 - hundredths) * count // 100


def test_decimal_is_the_number_as_typed() -> None:
    assert math.floor(0.29 * 100) == 28
    assert decimal(0.29) == Fraction(29, 100)
    assert decimal(np.float64(0.1)) == decimal(0.1) == Fraction(1, 10)


def test_logarithm_is_the_logarithm() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([np.exp(8 * rng.standard_normal(9999)), rng.random(9999), [2.0**-33, 1 - 2.0**-33, 1.0, 2]])
    assert_allclose(logarithm(values), np.log(values), rtol=3e-8, atol=1.1e-8)


def test_exponential_and_bell_variates_have_their_moments_and_are_never_infinite() -> None:
    drawn, normal = exponential(stream(0, "a"), 200_000), bell(stream(0, "b"), (400, 500))
    assert_allclose([drawn.mean(), drawn.var()], [1, 1], atol=0.03)
    assert 0 < drawn.min() < 1e-4
    assert np.isfinite(logarithm(drawn)).all()
    assert_allclose([normal.mean(), normal.var(), (normal**3).mean()], [0, 1, 0], atol=0.02)
    assert_allclose((normal**4).mean(), 2.9, atol=0.05)  # 3 - 6 / (5 * 12)
    assert normal.shape == (400, 500)


def test_the_least_and_the_largest_draw_are_finite() -> None:
    class Ends:
        def integers(self, low: int, high: int, shape: int, dtype: type) -> np.ndarray:
            return np.array([low, high - 1], dtype=dtype)

    assert_allclose(np.sort(exponential(Ends(), 2)), [2.0**-33, 33 * math.log(2)], rtol=1e-7)


def test_products_of_numbers_on_a_grid_do_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    left, right = (on_grid(rng.standard_normal(shape), 16) for shape in ((9, 301), (301, 7)))
    order = rng.permutation(301)
    assert_array_equal(product(left, right), product(left[:, order], right[order]))
    exact = [
        [sum(Fraction(a) * Fraction(b) for a, b in zip(row, column, strict=True)) for column in right.T] for row in left
    ]
    assert_array_equal(product(left, right), np.array(exact, dtype=np.float64))
    zero = product(np.array([[-1.0]]), np.array([[0.0]]))
    assert not np.signbit(zero).any()


@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1.0, 1e19, 1e30])
def test_unit_rows_on_the_grid_have_length_one_at_any_scale(scale: float) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 9)).astype(np.float32)
    rows[7] = 0
    found = unit_rows_on_grid((rows * scale).astype(np.float32))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    assert_allclose(found, rows / np.where(lengths > 0, lengths, 1), atol=4e-6)
    assert_array_equal(found, on_grid(found, UNIT_BITS))
    assert not found[7].any()


def test_weighted_places_come_in_proportion_and_never_with_weight_zero() -> None:
    counts = np.bincount(weighted(stream(0, "w"), np.array([0, 3, 0, 1, 0]), 40_000), minlength=5)
    assert_array_equal(counts[[0, 2, 4]], 0)
    assert_allclose(counts[1] / 40_000, 0.75, atol=0.01)


MACHINES = {
    "as it is": {},
    "Nehalem, 1 thread": {
        "OPENBLAS_CORETYPE": "Nehalem",
        "OPENBLAS_NUM_THREADS": "1",
        "NPY_DISABLE_CPU_FEATURES": "all",
    },
    "Haswell, 2 threads": {
        "OPENBLAS_CORETYPE": "Haswell",
        "OPENBLAS_NUM_THREADS": "2",
        "NPY_DISABLE_CPU_FEATURES": "512",
    },
    "Zen, 4 threads": {"OPENBLAS_CORETYPE": "Zen", "OPENBLAS_NUM_THREADS": "4"},
    "SkylakeX, 1 thread": {"OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_NUM_THREADS": "1"},
    "SkylakeX, 4 threads": {
        "OPENBLAS_CORETYPE": "SkylakeX",
        "OPENBLAS_NUM_THREADS": "4",
        "NPY_DISABLE_CPU_FEATURES": "512",
    },
    "C library without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F", "OPENBLAS_CORETYPE": "Haswell"},
}
NEEDS = {"Haswell": "AVX2", "Zen": "AVX2", "SkylakeX": "AVX512_SKX"}


def environment(name: str) -> dict[str, str]:
    """The variables of a machine as far as this CPU can play it."""
    machine = dict(MACHINES[name])
    needed = NEEDS.get(machine.get("OPENBLAS_CORETYPE", ""))
    if needed and not __cpu_features__[needed]:
        pytest.skip(f"this CPU has no {needed}")
    switched = machine.pop("NPY_DISABLE_CPU_FEATURES", None)
    off = [
        each
        for each in __cpu_dispatch__
        if __cpu_features__[each] and (switched == "all" or "V4" in each or "512" in each)
    ]
    if switched and off:
        machine["NPY_DISABLE_CPU_FEATURES"] = " ".join(off)
    inherited = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key and "OPENBLAS" not in key}
    return inherited | machine


@pytest.mark.parametrize("machine", MACHINES)
def test_every_machine_draws_the_same_data_finds_the_same_clusters_and_runs_a_sweep(
    machine: str, request: pytest.FixtureRequest
) -> None:
    """The recorded values are the data's: another one is another data set, and says so in CHANGELOG.md."""
    script, recorded = Path(__file__).with_name("drawn.py"), Path(__file__).parent / "golden" / "drawn.json"
    done = subprocess.run(
        [sys.executable, str(script)], env=environment(machine), capture_output=True, text=True, check=True
    )
    found, known = json.loads(done.stdout), json.loads(recorded.read_text(encoding="utf-8"))
    if request.config.getoption("--rewrite-golden"):
        recorded.write_text(json.dumps(known := known | found, indent=1) + "\n", encoding="utf-8")
    assert found == known
