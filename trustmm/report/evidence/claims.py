"""The claims of the paper, each with its statistic and rule, held against the runs.

`facts()["claims"]` has the words; here is, for each, what is computed on one data set. Cells that differ from the
claim's in anything else (another learning rate, another kind of corruption) do not count.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from trustmm.report.evidence.verdict import Effect, Verdict, above, below, both, every, most, some_above, within
from trustmm.report.runs.cells import axes_of, pairs
from trustmm.report.runs.complete import common_seeds, complete_curves
from trustmm.report.runs.order import in_order
from trustmm.statistics.seeds import Interval, over_seeds, relative_drop, slope

R10, N10 = "test/recall@10", "test/ndcg@10"
ETA, ETA_E = "corruption.eta", "corruption.eta_e"
BACKBONES = ("vbpr", "lattice", "mgcn", "freedom", "smore")
ETAS = (0.1, 0.2, 0.3, 0.4, 0.5)
NOISES = (-0.15, -0.1, -0.05, 0.05, 0.1, 0.15)
OPS, MODES = ("complete", "prune"), ("train_only", "graph_only", "both")
EQUAL = 1e-9


@dataclass(frozen=True)
class Finding:
    """What the runs of one data set say about one claim."""

    effects: Sequence[Effect]
    rule: Verdict
    """By the intervals alone."""
    complete: bool
    """Whether every cell that the claim names was there."""
    gains: Sequence[Effect] = ()
    """Of which at least one must hold, over all data together."""


Check = Callable[[pd.DataFrame], Finding]


@dataclass(frozen=True)
class Claim:
    """How a claim is checked."""

    check: Check
    """On the runs of one data set."""
    datasets: Sequence[str]
    """Published data that the claim is about."""
    for_all: bool = True
    """Whether it is about every effect, so that one which is contradicted decides."""


PAPERS_OWN = {
    "corruption.kind": "permute",
    "corruption.edge_kind": "uniform",
    "edit.amount": "fixed",
    "edit.evidence": "prior",
}
"""The paper's choice among kinds of damage and of edits; a job that does not say has made it."""


def paper_setting(table: pd.DataFrame, **fixed: object) -> pd.DataFrame:
    """Rows at the paper's setting: features permuted in every modality, no edge noise, no edit, lam 0.5, tau 0.1.

    Args:
        table: runs.
        **fixed: other values, by the last word of the key (eta, eta_e, edit, lam, tau, backbone); None lifts one.
    """
    wanted: dict[str, object] = {"eta_e": 0, "edit": "none", "lam": 0.5, "tau": 0.1, **fixed}
    names = {"eta": ETA, "eta_e": ETA_E, "lam": "rectifier.lam", "tau": "rectifier.tau"}
    keep = table["corruption.eta_of"].isna()
    for key, own in PAPERS_OWN.items():
        if key in table:
            keep &= table[key].isna() | (table[key] == own)
    for name, value in wanted.items():
        key = names.get(name, name)
        if value is not None and key in table:
            keep &= table[key].isna() | _equal(table[key], value)
    return table[keep]


def _equal(column: pd.Series, value: object) -> pd.Series:
    if isinstance(value, int | float):
        return (pd.to_numeric(column) - value).abs() < EQUAL
    return column == value


def _gains(table: pd.DataFrame, choice: str, base: str, metric: str, treated: str, keys: Sequence[str]) -> pd.DataFrame:
    """Paired differences, a column per cell of `keys`, a row per seed; empty where there is none."""
    rows = table[table[choice].isin((base, treated))]
    axes = list(dict.fromkeys([*axes_of(table), choice, *keys]))
    found = pairs(rows, choice, base, metric, axes)
    named = {tuple({**pair.values, **pair.treated}[key] for key in keys): pair.by_seed for pair in found}
    return pd.DataFrame(named)


def _interval(values: pd.Series) -> Interval:
    return over_seeds(values.dropna().to_numpy())


def _each(gains: pd.DataFrame, rule: Callable[[str, Interval], Effect], name: str) -> list[Effect]:
    """An effect per column."""
    return [rule(name.format(*column), _interval(values)) for column, values in gains.items() if values.notna().any()]


def clean(table: pd.DataFrame) -> Finding:
    """D = MR - base on clean data: above -2 % of the base in every backbone, above 0 in one."""
    rows = paper_setting(table, eta=0)
    rows = rows[rows["rectifier"].isin(("none", "mr")) & rows["backbone"].isin(BACKBONES)]
    found = pairs(rows, "rectifier", "none", R10, [*dict.fromkeys([*axes_of(rows), "backbone", "rectifier"])])
    effects = [above(pair.values["backbone"], pair.interval, -0.02 * pair.base) for pair in found]
    gains = [above(pair.values["backbone"], pair.interval) for pair in found]
    rule = both(every(effects), some_above(gains)) if found else "undecided"
    return Finding(effects, rule, {pair.values["backbone"] for pair in found} == set(BACKBONES), gains)


def rect_above(table: pd.DataFrame) -> Finding:
    """D = MR - base above 0 at every eta > 0."""
    effects, complete = [], True
    for backbone in ("freedom", "vbpr"):
        rows = paper_setting(table, backbone=backbone)
        gains = _gains(rows[rows[ETA] > 0], "rectifier", "none", R10, "mr", [ETA])
        effects += _each(gains, above, f"{backbone}, eta {{:g}}")
        complete &= set(ETAS) <= {round(float(column[0]), 6) for column in gains}
    return Finding(effects, every(effects), complete)


def widens(table: pd.DataFrame) -> Finding:
    """Slope of d over eta, per seed."""
    effects, complete = [], True
    for backbone in ("freedom", "vbpr"):
        gains = _gains(paper_setting(table, backbone=backbone), "rectifier", "none", R10, "mr", [ETA])
        gains = common_seeds(gains)
        etas = [float(column[0]) for column in gains]
        complete &= {0.0, *ETAS} <= {round(eta, 6) for eta in etas}
        if len(gains) and len(etas) > 2:
            effects.append(above(f"{backbone}, slope", over_seeds([slope(etas, line) for line in gains.to_numpy()])))
    return Finding(effects, every(effects), complete and len(effects) == 2)


def vbpr_flat(table: pd.DataFrame) -> Finding:
    """Relative drop of the base from eta 0 to 0.5, FREEDOM minus VBPR, per seed."""
    drops = {}
    for backbone in ("freedom", "vbpr"):
        rows = paper_setting(table[table["rectifier"] == "none"], backbone=backbone)
        curve = complete_curves(rows[rows[ETA].isin((0, 0.5))], R10)
        if curve is not None:
            drops[backbone] = pd.Series([relative_drop(*line) for line in curve.to_numpy()], index=curve.index)
    both_known = pd.DataFrame(drops).dropna()
    if both_known.shape[1] < 2 or not len(both_known):
        return Finding([], "undecided", False)
    effect = above("drop of FREEDOM - drop of VBPR", _interval(both_known["freedom"] - both_known["vbpr"]))
    return Finding([effect], every([effect]), True)


def plus_0007(table: pd.DataFrame) -> Finding:
    """D where only the images are corrupted, at 0.2: above 0, and 0.007 within its interval (FREEDOM)."""
    rows = table[(table["corruption.eta_of"] == "visual=0.2") & (table[ETA] == 0)]
    rows = paper_setting(rows.assign(**{"corruption.eta_of": None}), backbone="freedom", eta=0)
    effects = []
    for interval in map(
        _interval, _gains(rows, "rectifier", "none", R10, "mr", ["backbone"]).to_dict("series").values()
    ):
        effects.append(Effect("freedom", interval, _plus_0007, lambda found: not found.low <= 0.007 <= found.high))
    return Finding(effects, every(effects), bool(effects))


def _plus_0007(interval: Interval) -> bool:
    return 0 < interval.low <= 0.007 <= interval.high


def lam(table: pd.DataFrame) -> Finding:
    """The lam of 0.3-0.6 that validation chooses, minus lam 0, minus lam 1."""
    rows = paper_setting(table[table["rectifier"] == "mr"], backbone="freedom", eta=0.2, lam=None)
    grid, valid = (_by_knob(rows, "rectifier.lam", metric) for metric in (R10, "valid/recall@10"))
    middle = [value for value in grid if 0.3 - EQUAL <= value <= 0.6 + EQUAL]
    ends = [value for value in (0.0, 1.0) if value in grid]
    if not middle or not ends:
        return Finding([], "undecided", False)
    best = max(middle, key=lambda value: float(valid[value].mean()))
    gains = pd.DataFrame({(best, end): grid[best] - grid[end] for end in ends})
    effects = _each(gains, above, "lam {0:g} (by validation) - lam {1:g}")
    return Finding(effects, every(effects), len(ends) == 2 and len(middle) > 1)


def tau(table: pd.DataFrame) -> Finding:
    """Tau 0.05, 0.1, 0.2: no two differ by 2 % of their mean; their mean minus tau 0.5."""
    rows = paper_setting(table[table["rectifier"] == "mr"], backbone="freedom", eta=0.2, tau=None)
    grid = _by_knob(rows, "rectifier.tau", R10)
    grid = grid[[value for value in (0.05, 0.1, 0.2, 0.5) if value in grid]].dropna()
    low = [value for value in grid if value < 0.5]
    if len(low) < 2 or not len(grid):
        return Finding([], "undecided", False)
    scale = float(grid[low].to_numpy().mean())
    couples = [(one, other) for place, one in enumerate(low) for other in low[:place]]
    effects = [
        within(f"tau {one:g} - tau {other:g}, share of the mean", _interval((grid[one] - grid[other]) / scale), 0.02)
        for one, other in couples
    ]
    if 0.5 in grid:
        effects.append(above("mean of 0.05-0.2 - tau 0.5", _interval(grid[low].mean(axis=1) - grid[0.5])))
    return Finding(effects, every(effects), len(low) == 3 and 0.5 in grid)


def _by_knob(rows: pd.DataFrame, knob: str, metric: str) -> pd.DataFrame:
    """Values by seed (rows) and knob (columns); empty where no job has the knob."""
    if knob not in rows or not len(rows):
        return pd.DataFrame()
    return rows.pivot_table(index="seed", columns=knob, values=metric, aggfunc="mean")


def _edit_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Edited minus unedited of MGCN by (operation, mode, eta_e), a row per seed."""
    if "edit.op" not in table:
        return pd.DataFrame()
    rows = paper_setting(table[table["rectifier"] == "none"], backbone="mgcn", eta=0, eta_e=None, edit=None)
    parts = [_gains(rows, "edit", "none", R10, mode, ["edit.op", "edit", ETA_E]) for mode in MODES]
    known = [part for part in parts if len(part)]
    return pd.concat(known, axis=1) if known else pd.DataFrame()


def edit_clean(table: pd.DataFrame) -> Finding:
    """D of each operation and mode without noise."""
    gains = _edit_gains(table)
    quiet = gains[[column for column in gains if column[2] == 0]]
    effects = _each(quiet, above, "{0} {1}")
    return Finding(effects, every(effects), len(effects) == len(OPS) * len(MODES))


def edit_noise(table: pd.DataFrame) -> Finding:
    """Gain at eta_e minus gain at 0, per operation and mode, below 0 for most."""
    gains = _edit_gains(table)
    changes = {
        column: gains[column] - gains[(*column[:2], 0)]
        for column in gains
        if column[2] != 0 and (*column[:2], 0) in gains
    }
    effects = _each(pd.DataFrame(changes), below, "{0} {1}, eta_e {2:g}")
    return Finding(effects, most(effects), len(effects) == len(OPS) * len(MODES) * len(NOISES))


def edit_volatile(table: pd.DataFrame) -> Finding:
    """Standard deviation over eta_e of the gain, train_only minus graph_only, per seed and operation."""
    gains = _edit_gains(table)
    effects = []
    for op in in_order("edit.op", list({column[0] for column in gains})):
        spreads = {}
        for mode in ("train_only", "graph_only"):
            columns = [column for column in gains if column[:2] == (op, mode)]
            if len(columns) > 2:
                spreads[mode] = gains[columns].dropna().std(axis=1, ddof=1)
        known = pd.DataFrame(spreads).dropna()
        if known.shape[1] == 2 and len(known):
            effects.append(above(f"{op}", _interval(known["train_only"] - known["graph_only"])))
    return Finding(effects, every(effects), len(effects) == len(OPS) and _all_noises(gains))


def edit_compound(table: pd.DataFrame) -> Finding:
    """Largest loss (over the operations) of `both` minus the larger of the two others', above 0 at some eta_e."""
    gains = _edit_gains(table)
    effects = []
    for noise in sorted({column[2] for column in gains} - {0}):
        losses = {}
        for mode in MODES:
            columns = [column for column in gains if column[1:] == (mode, noise)]
            if columns:
                losses[mode] = (-gains[columns].dropna()).clip(lower=0).max(axis=1)
        known = pd.DataFrame(losses).dropna()
        if known.shape[1] == len(MODES) and len(known):
            excess = known["both"] - known[["train_only", "graph_only"]].max(axis=1)
            effects.append(above(f"eta_e {noise:g}", _interval(excess)))
    return Finding(effects, some_above(effects) if effects else "undecided", _all_noises(gains))


def _all_noises(gains: pd.DataFrame) -> bool:
    cells = {(column[0], column[1], round(float(column[2]), 6)) for column in gains}
    return all((op, mode, noise) in cells for op in OPS for mode in MODES for noise in (*NOISES, 0.0))


def ablated(variant: str) -> Check:
    """D = full repair minus a variant of it, recall and NDCG, FREEDOM at eta 0.2."""

    def check(table: pd.DataFrame) -> Finding:
        rows = paper_setting(table, backbone="freedom", eta=0.2)
        names = {R10: "Recall@10", N10: "NDCG@10"}
        gains = {metric: _gains(rows, "rectifier", variant, metric, "mr", ["rectifier"]) for metric in names}
        effects = [effect for metric, name in names.items() for effect in _each(gains[metric], above, name)]
        return Finding(effects, every(effects), len(effects) == len(names))

    return check


def base_worst(table: pd.DataFrame) -> Finding:
    """Every variant minus the base above 0: the smallest of them, without picking one by its noise."""
    rows = paper_setting(table, backbone="freedom", eta=0.2)
    effects = []
    for variant in ("mr", "mr_row_norm", "mr_all_pairs"):
        for metric, name in ((R10, "Recall@10"), (N10, "NDCG@10")):
            effects += _each(_gains(rows, "rectifier", "none", metric, variant, ["rectifier"]), above, f"{{}}, {name}")
    return Finding(effects, every(effects), len(effects) == 6)


def hubness(table: pd.DataFrame) -> Finding:
    """Gini of the column mass without Sinkhorn minus with it, in the same run, by modality."""
    rows = paper_setting(table[table["rectifier"] == "mr"])
    effects = []
    for name in sorted(column for column in rows if column.startswith("diagnostics/") and column.endswith("/hub_gini")):
        change = pd.to_numeric(rows[f"{name}_row_norm"]) - pd.to_numeric(rows[name]) if len(rows) else pd.Series()
        by_seed = change.groupby(rows["seed"]).mean().dropna()
        if len(by_seed):
            effects.append(above(name.split("/")[1], _interval(by_seed)))
    return Finding(effects, every(effects), bool(effects))


def filter_artefact(table: pd.DataFrame) -> Finding:
    """Recall under the mask `edited` minus under `clean`, where training positives were pruned."""
    if "edit.op" not in table:
        return Finding([], "undecided", False)
    rows = table[(table["edit"] == "train_only") & (table["edit.op"] == "prune")]
    effects = []
    for (backbone, noise), part in rows.groupby(["backbone", ETA_E]):
        change = (part["edited/recall@10"] - part["clean/recall@10"]).groupby(part["seed"]).mean()
        effects.append(above(f"{backbone}, eta_e {noise:g}", _interval(change)))
    return Finding(effects, every(effects), bool(effects))


def lattice_oom(table: pd.DataFrame) -> Finding:
    """Reported, no verdict."""
    return Finding([], "no verdict", True)


AMAZON, FIG2, BABY = ("Baby", "Sports", "Electronics"), ("Baby", "Sports"), ("Baby",)
CLAIMS: Mapping[str, Claim] = {
    "clean": Claim(clean, AMAZON),
    "rect_above": Claim(rect_above, FIG2),
    "widens": Claim(widens, FIG2),
    "vbpr_flat": Claim(vbpr_flat, FIG2),
    "plus_0007": Claim(plus_0007, BABY),
    "lambda": Claim(lam, FIG2),
    "tau": Claim(tau, FIG2),
    "edit_clean": Claim(edit_clean, BABY),
    "edit_noise": Claim(edit_noise, BABY, for_all=False),
    "edit_volatile": Claim(edit_volatile, BABY),
    "edit_compound": Claim(edit_compound, BABY, for_all=False),
    "sinkhorn": Claim(ablated("mr_row_norm"), FIG2),
    "small_loss": Claim(ablated("mr_all_pairs"), FIG2),
    "base_worst": Claim(base_worst, FIG2),
    "hubness": Claim(hubness, AMAZON),
    "filter_artefact": Claim(filter_artefact, BABY),
    "lattice_oom": Claim(lattice_oom, ("Electronics",)),
}
