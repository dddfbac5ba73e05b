"""Errors, power and coverage of a study that stops by itself, by simulation: the table of docs/evidence.md.

``python benchmarks/evidence.py`` takes about two minutes of one core and prints Markdown.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trustmm.seeding import stream
from trustmm.statistics.seeds import holm
from trustmm.statistics.sequential import Looks, Question, Reading, e_value, looks, read, repeated_interval

AT = (3, 4, 5, 6, 8, 10, 13, 16, 20)
ALPHA, STUDIES, FAMILY = 0.05, 1000, 6
CASES = ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.5, 0.0), (2.0, 0.0), (3.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 2.0))
"""True difference and margin, in standard deviations of the difference of one seed."""


def ended(path_S: NDArray[np.float64], when: Looks, question: Question, name: str) -> tuple[Reading, int]:
    """How a comparison with these differences ends, and after how many seeds."""
    for seeds in when.at:
        reading = read(path_S[:seeds], when, question, stream(seeds, "future", name))
        if reading.state != "undecided":
            return reading, seeds
    raise AssertionError("the last look decides")


def single(when: Looks, effect: float, margin: float) -> Sequence[str]:
    """One comparison: a row of shares over simulated studies."""
    paths = effect + stream(0, "single", str(effect), str(margin)).standard_normal((STUDIES, AT[-1]))
    ends = [ended(path, when, Question(ALPHA, margin), str(n)) for n, path in enumerate(paths)]
    states, level = [reading.state for reading, _ in ends], when.nominal(ALPHA)
    inside = [all(low < effect < high for low, high in (repeated_interval(p[:n], level) for n in AT)) for p in paths]
    fixed = [stats.ttest_1samp(path, 0).pvalue <= ALPHA for path in paths]
    evidence = [max(e_value(path[:n]) for n in range(2, AT[-1] + 1)) >= 1 / ALPHA for path in paths]
    shares = [states.count(state) / STUDIES for state in ("better", "worse", "equivalent", "futile")]
    numbers = [np.mean([seeds for _, seeds in ends]), np.mean(fixed), np.mean(inside), np.mean(evidence)]
    shown = [f"{100 * share:.1f}" for share in (*shares, *numbers[1:])]
    return [f"{effect:g}", f"{margin:g}" if margin else "-", *shown[:4], f"{numbers[0]:.1f}", *shown[4:]]


def family(when: Looks, effects: Sequence[float]) -> Sequence[str]:
    """Several comparisons with a base in common, some of them cut short at random: false and right verdicts."""
    false = right = 0
    for n in range(STUDIES):
        rng = stream(n, "family", str(effects))
        noise_CS = rng.standard_normal((FAMILY, AT[-1])) + rng.standard_normal(AT[-1])
        paths_CS = np.array(effects)[:, None] + noise_CS / np.sqrt(2)
        readings = [ended(path, when, Question(ALPHA / FAMILY, 0.0), f"{n}/{c}") for c, path in enumerate(paths_CS)]
        cut = [min(seeds, int(rng.choice(AT))) for _, seeds in readings]
        p = holm([when.p(path[:seeds]) for path, seeds in zip(paths_CS, cut, strict=True)])
        verdicts = p <= ALPHA
        false += bool(verdicts[np.array(effects) == 0].any())
        right += int(verdicts[np.array(effects) != 0].sum())
    real = sum(effect != 0 for effect in effects) * STUDIES
    return [", ".join(f"{effect:g}" for effect in effects), f"{100 * false / STUDIES:.1f}", share(right, real)]


def share(part: int, whole: int) -> str:
    """In per cent; a dash of nothing."""
    return f"{100 * part / whole:.1f}" if whole else "-"


def table(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    """Print Markdown."""
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """Print both tables."""
    when = looks(AT, stream(0, "looks"))
    print(f"nominal level {when.nominal(ALPHA):.4f}; {STUDIES} studies a row\n")
    columns = ["difference", "margin", "better %", "worse %", "equivalent %", "futile %", "seeds, mean"]
    columns += ["t test at 20 seeds %", "covered at all looks %", "e reaches 20 %"]
    table(columns, (single(when, *case) for case in CASES))
    print()
    families = ([0.0] * FAMILY, [3.0] * 3 + [0.0] * 3, [3.0] * 5 + [0.0])
    table(["differences", "any false verdict %", "right verdicts %"], (family(when, effects) for effects in families))


if __name__ == "__main__":
    main()
