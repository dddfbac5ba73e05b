"""Several studies in one report: settings that only tell them apart are one axis, the study, with a legend."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

STUDY = "study"
SETTINGS = frozenset({"dataset", "prior", "backbone", "training", "evaluation"})
"""Groups of options that a study fixes once for all of its cells, if it does not ask about them."""
Fixed = Mapping[tuple[str, str], str]
"""Value by option and choice of its group."""


def told_by_study(table: pd.DataFrame, options: Sequence[str]) -> pd.DataFrame:
    """The rows with a column `study`, where sweeps fix a setting differently; a row of two studies stands in both.

    Args:
        table: finished jobs, with the column ``sweeps``.
        options: columns that hold options; those with a dot may be settings.
    """
    names = sorted({name for row in table["sweeps"] for name in row}) if len(table) else []
    rows = {name: table[[name in row for row in table["sweeps"]]] for name in names}
    settings = [key for key in options if key.partition(".")[0] in SETTINGS and "." in key]
    settings = [key for key in settings if all(_values(part, key) is not None for part in rows.values())]
    studies: list[tuple[list[str], dict[tuple[str, str], str]]] = []
    for name, part in rows.items():
        fixed = {place: value for key in settings for place, value in (_values(part, key) or {}).items()}
        agreeing = [study for study in studies if all(study[1].get(at, value) == value for at, value in fixed.items())]
        if agreeing:
            agreeing[0][0].append(name)
            agreeing[0][1].update(fixed)
        else:
            studies.append(([name], fixed))
    if len(studies) < 2:
        return table
    parts = [
        table[[bool(set(members) & set(row)) for row in table["sweeps"]]].assign(**{STUDY: label})
        for label, (members, _) in zip(_labels([members for members, _ in studies]), studies, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def legend_of_studies(table: pd.DataFrame, options: Sequence[str]) -> list[str]:
    """A line a study: its name, and the options that are the same in all of its cells and others elsewhere."""
    if STUDY not in table:
        return []
    lines = []
    for name, part in table.groupby(STUDY):
        others = table[table[STUDY] != name]
        fixed = {key: _only(part, key) for key in options if "." in key}
        told = [f"{key}={value}" for key, value in fixed.items() if value and value != _only(others, key, several=True)]
        lines.append(f"{name}: {' '.join(told)}")
    return lines


def _labels(studies: Sequence[Sequence[str]]) -> list[str]:
    """Names of the folders; numbered where two are the same."""
    names = [" + ".join(Path(member).name for member in members) for members in studies]
    return [name if names.count(name) == 1 else f"{name} {place}" for place, name in enumerate(names, 1)]


def _values(rows: pd.DataFrame, key: str) -> Fixed | None:
    """The value of an option for each choice of its group; None where it varies within one."""
    group = key.partition(".")[0]
    known = rows[rows[key].notna()]
    choices = known[group].map(str) if group in known else pd.Series("", index=known.index)
    found = {str(choice): set(values.map(str)) for choice, values in known[key].groupby(choices)}
    if any(len(values) > 1 for values in found.values()):
        return None
    return {(key, choice): value for choice, values in found.items() for value in values}


def _only(rows: pd.DataFrame, key: str, *, several: bool = False) -> str:
    """The single value of an option; empty where there is none or, unless `several` are joined, more than one."""
    values = sorted(set(rows[key].dropna().map(str)))
    return " or ".join(values) if len(values) == 1 or several else ""
