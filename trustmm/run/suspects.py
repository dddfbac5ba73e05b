"""Which features look wrong, as files that people can act on: a table of all items, a page of the most suspicious."""

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from trustmm.dataset.layout import is_plain
from trustmm.rectifier.diagnostics import reliability
from trustmm.trust.mismatch import Trust

SHOWN = 100
"""Items of a modality on the page."""
IMAGES = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "gif": "gif"}
LARGEST_IMAGE = 200_000
"""Bytes of a picture that is put into the page."""
STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.3em .6em;border-bottom:1px solid #ddd;text-align:left}"
    "td.number{text-align:right;font-variant-numeric:tabular-nums}img{max-width:6em;max-height:6em}"
)


def mismatch_frame(trust: Mapping[str, Trust], names: Sequence[str] | None) -> pd.DataFrame:
    """A row per item and modality: item, item_id (its name in the sources, where known), modality, probability, views.

    Views are the agreements that the probability was judged by, in columns ``view_NAME``; NaN where there is none.
    """
    parts = []
    for modality, one in sorted(trust.items()):
        columns: dict[str, object] = {"item": np.arange(len(one.probability))}
        columns |= {"item_id": list(names)} if names else {}
        columns |= {"modality": modality, "probability": one.probability}
        parts.append(pd.DataFrame(columns | {f"view_{name}": values for name, values in one.views.items()}))
    return pd.concat(parts, ignore_index=True)


def worst(trust: Trust, warm: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The judged items of highest probability, worst first; nobody where nothing can be believed."""
    judged = np.flatnonzero(warm)
    if trust.hopeless:
        return judged[:0]
    return judged[np.argsort(-trust.probability[judged], kind="stable")[:SHOWN]]


def suspects_page(
    title: str,
    trust: Mapping[str, Trust],
    words: Mapping[str, str],
    warm: NDArray[np.bool_],
    names: Sequence[str] | None,
    titles: Sequence[str] | None,
    images: Path | None,
) -> str:
    """One self-contained page of HTML, everything in it escaped.

    Args:
        title: of the page.
        trust: by modality.
        words: what is said of each modality.
        warm: items that were judged, (I,).
        names: of items in the sources.
        titles: what items are called.
        images: folder of pictures, ``NAME.jpg``; small ones are put into the page.
    """
    blocks = []
    for modality, one in sorted(trust.items()):
        rows = "".join(_row(int(item), one, names, titles, images) for item in worst(one, warm))
        head = "<tr><th></th><th>item</th><th>title</th><th>probability of being wrong</th><th>agreement</th></tr>"
        table = f"<table>{head}{rows}</table>" if rows else ""
        blocks.append(f"<h2>{html.escape(modality)}</h2><p>{html.escape(words[modality])}</p>{table}")
    heading = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{heading}</title><style>{STYLE}</style>'
        f"<h1>{heading}</h1>{''.join(blocks)}</html>\n"
    )


def _row(
    item: int, trust: Trust, names: Sequence[str] | None, titles: Sequence[str] | None, images: Path | None
) -> str:
    name = names[item] if names else str(item)
    views = ", ".join(f"{view} {values[item]:.2f}" for view, values in trust.views.items())
    cells = [picture(images, name), html.escape(name), html.escape(titles[item] if titles else "")]
    number = f'<td class="number">{trust.probability[item]:.2f}</td>'
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}{number}<td>{html.escape(views)}</td></tr>"


def picture(images: Path | None, name: str) -> str:
    """An image element that holds the item's picture; empty where there is no small one inside the folder."""
    if images is None or not is_plain(name):
        return ""
    for suffix, kind in IMAGES.items():
        path = images / f"{name}.{suffix}"
        inside = path.is_file() and path.resolve().is_relative_to(images.resolve())
        if inside and path.stat().st_size <= LARGEST_IMAGE:
            data = base64.b64encode(path.read_bytes()).decode()
            return f'<img alt="" src="data:image/{kind};base64,{data}">'
    return ""


def reliability_figure(
    trust: Mapping[str, Trust], touched: Mapping[str, NDArray[np.bool_]], warm: NDArray[np.bool_]
) -> Figure:
    """What was said against what is true, a line per modality: for data whose damage is known."""
    figure = Figure(figsize=(4.5, 4), layout="constrained", dpi=150)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for modality, one in sorted(trust.items()):
        points = list(_said_and_true(one.probability[warm], touched[modality][warm]))
        axis.plot([said for said, _ in points], [true for _, true in points], "o-", label=modality)
    axis.set_xlabel("predicted probability of being wrong")
    axis.set_ylabel("observed share that is wrong")
    axis.legend(frameon=False)
    return figure


def _said_and_true(probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> Iterator[tuple[float, float]]:
    for _, (_, said, true) in reliability(probability, truth):
        yield said, true
