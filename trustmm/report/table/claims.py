"""The claims as two tables: the paper's, on the paper's data, and the same rules on the data of these runs."""

from collections.abc import Iterator, Sequence

import pandas as pd

from trustmm.report.evidence import published
from trustmm.report.evidence.claims import AMAZON, CLAIMS, Claim, Finding
from trustmm.report.evidence.verdict import Effect, Verdict, both, every, seeds_of, settle, some_above
from trustmm.report.runs.cells import axes_of, describe, key_of, spread
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import grids
from trustmm.report.table.table import Number, Table, interval_text

CLAIM_AXES = frozenset(
    {"dataset", "backbone", "rectifier", "rectifier.lam", "rectifier.tau", "edit", "edit.op"}
    | {f"corruption.{name}" for name in ("kind", "eta", "eta_of", "eta_e")}
)
"""Options that claims speak of."""
MOST_SETTINGS = 6
"""More settings than this are a search, not a study."""
SHOWN = 12
"""Effects of a claim that a table spells out."""
Settings = list[tuple[str, str, pd.DataFrame]]
"""Label of the data, other options, and runs."""


def claim_tables(runs: Runs) -> Iterator[Table]:
    """First the paper's scope, then what was run; nothing of the second where nothing applies."""
    compared = grids(runs)
    found = settings(compared.table)
    findings = {
        (name, label, setting): claim.check(rows) for label, setting, rows in found for name, claim in CLAIMS.items()
    }
    left_out = sorted(set(compared.table.get("dataset", ())) - {label for label, _, _ in found})
    yield _paper_table(runs, found, findings, left_out)
    local = _local_table(found, findings)
    if local.rows:
        yield local


def settings(table: pd.DataFrame) -> Settings:
    """Runs by data set, and by options that no claim speaks of; none for data with too many settings of them."""
    found: Settings = []
    for label, rows in table.groupby("dataset") if len(table) else ():
        others = [axis for axis in axes_of(rows) if axis not in CLAIM_AXES]
        for axis in others:
            rows = spread(_free(rows, axis), axis)
        groups = list(rows.groupby(key_of(rows, others), sort=False))
        if len(groups) <= MOST_SETTINGS:
            for _, part in groups:
                setting = describe({axis: part.iloc[0][axis] for axis in others}) if others else ""
                found.append((str(label), setting, part.reset_index(drop=True)))
    return found


def _free(rows: pd.DataFrame, axis: str) -> pd.DataFrame:
    """An option of a backbone or a rectifier is none of another one's that has a single value of it."""
    choice = axis.partition(".")[0]
    if choice not in ("backbone", "rectifier"):
        return rows
    fixed = rows.groupby(choice)[axis].transform("nunique") == 1
    return rows.assign(**{axis: rows[axis].mask(fixed)})


def _paper_table(
    runs: Runs, found: Settings, findings: dict[tuple[str, str, str], Finding], left_out: Sequence[str]
) -> Table:
    measured = [
        (name, label, setting)
        for label, setting, rows in found
        if (name := published.same_data(label, "freedom", rows)) is not None
    ]
    rows = [_paper_row(runs, name, claim, measured, findings) for name, claim in CLAIMS.items()]
    caption = (
        f"Claims and rules: {published.facts()['source']}; the rules are ours, fixed before the runs. "
        f"{published.facts()['rules']} These are claims about {', '.join(AMAZON)} with the published features: "
        + (
            f"measured here: {', '.join(sorted({name for name, _, _ in measured}))}."
            if measured
            else "no run here used them, so none of the claims is measured; other data say nothing about them."
        )
        + (f" Left out: {', '.join(left_out)}, with more than {MOST_SETTINGS} settings." if left_out else "")
    )
    columns = ("claim", "where", "statistic", "supported if", "data", "seeds", "verdict", "why")
    return Table("claims", "The paper's claims", columns, rows, caption)


def _paper_row(
    runs: Runs,
    name: str,
    claim: Claim,
    measured: Sequence[tuple[str, str, str]],
    findings: dict[tuple[str, str, str], Finding],
) -> list[str]:
    words = published.facts()["claims"][name]
    head = [words["claim"], words["where"], words["statistic"], words["supported_if"]]
    parts = list(_best_setting(name, claim, measured, findings).items())
    if name == "lattice_oom":
        return [*head, "Electronics", "", "no verdict", _memory(runs)]
    effects = [effect for _, finding in parts for effect in finding.effects]
    gains = [effect for _, finding in parts for effect in finding.gains]
    rule = _combined([finding.rule for _, finding in parts]) if not gains else both(every(effects), some_above(gains))
    have = {data for data, finding in parts if finding.complete}
    complete = have == set(claim.datasets)
    verdict, why = settle(rule, effects, min_seeds=words["min_seeds"], complete=complete, for_all=claim.for_all)
    missing = [data for data in claim.datasets if data not in have]
    if verdict == "not measured" and missing:
        why = f"no complete cells on {', '.join(missing)}"
    return [*head, ", ".join(sorted({data for data, _ in parts})), str(seeds_of(effects) or ""), verdict, why]


def _best_setting(
    name: str, claim: Claim, measured: Sequence[tuple[str, str, str]], findings: dict[tuple[str, str, str], Finding]
) -> dict[str, Finding]:
    """By data: of the settings that were run, the one with all cells, then with the most seeds, then the first."""
    parts = [(data, findings[name, label, setting]) for data, label, setting in measured if data in claim.datasets]
    best: dict[str, Finding] = {}
    for data, finding in sorted(parts, key=lambda part: (part[1].complete, seeds_of(part[1].effects)), reverse=True):
        if finding.effects:
            best.setdefault(data, finding)
    return best


def _combined(rules: Sequence[Verdict]) -> Verdict:
    if "not supported" in rules:
        return "not supported"
    return "supported" if rules and all(rule == "supported" for rule in rules) else "undecided"


def _memory(runs: Runs) -> str:
    """What is known of LATTICE on Electronics."""
    table = runs.table
    names = zip(table.get("backbone", ()), table.get("dataset", ()), strict=True)
    done = [1 for backbone, label in names if backbone == "lattice" and label.startswith("electronics")]
    failed = [
        cell
        for cell in runs.failures
        if cell.values.get("backbone") == "lattice" and cell.values.get("dataset", "").startswith("electronics")
    ]
    memory = sum(cell.out_of_memory for cell in failed)
    if not len(done) and not failed:
        return "no run of LATTICE on Electronics here"
    return f"{len(done)} runs finished, {memory} ran out of memory, {len(failed) - memory} failed otherwise"


def _local_table(found: Settings, findings: dict[tuple[str, str, str], Finding]) -> Table:
    rows: list[list[object]] = []
    for name in CLAIMS:
        words = published.facts()["claims"][name]
        for label, setting, part in found:
            finding = findings[name, label, setting]
            same = published.same_data(label, "freedom", part)
            if finding.effects:
                verdict, why = settle(finding.rule, finding.effects, min_seeds=words["min_seeds"], complete=True)
                notes = [why, "" if finding.complete else "on part of the cells"]
                data = f"{label} {setting}".strip()
                rows += _effect_rows(name, data, finding.effects, verdict, ", ".join(filter(None, notes)), same)
    caption = (
        "The same statistics and rules on the data that were run. A verdict here is about these data; only rows whose "
        "last column names a published data set speak about the paper. Intervals: 95%, over seeds."
    )
    columns = (
        "claim",
        "data",
        "effect",
        "value",
        "95% interval",
        "seeds",
        "rule on these data",
        "limits",
        "published data",
    )
    return Table("claims_here", "The same rules on the data of these runs", columns, rows, caption)


def _effect_rows(
    name: str, data: str, effects: Sequence[Effect], verdict: Verdict, limits: str, same: str | None
) -> list[list[object]]:
    rows: list[list[object]] = []
    for place, effect in enumerate(effects[:SHOWN]):
        first = place == 0
        value = Number(effect.interval.estimate, signed=True)
        numbers = [value, interval_text(effect.interval), str(effect.interval.num_seeds)]
        head = [name, data] if first else ["", ""]
        tail = [verdict, limits, same or "no"] if first else ["", "", ""]
        rows.append([*head, effect.label, *numbers, *tail])
    if len(effects) > SHOWN:
        rows.append(["", "", f"and {len(effects) - SHOWN} more", "", "", "", "", "", ""])
    return rows
