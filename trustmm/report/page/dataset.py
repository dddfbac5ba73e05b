"""A figure of a data set: how many pairs users and items have, how long feature rows are."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from trustmm.report.palette import BLUE, GREY, ORANGE

matplotlib.use("Agg")


def draw_dataset(
    name: str, user_degree: NDArray[np.int64], item_degree: NDArray[np.int64], norms: Mapping[str, NDArray[np.float64]]
) -> Figure:
    """Degrees as the share of users or items with at least so many pairs, and a histogram of norms per modality.

    Args:
        name: of the data set, the title.
        user_degree: pairs of each user, (U,).
        item_degree: pairs of each item, (I,).
        norms: l2 norms of the feature rows by modality.
    """
    figure = Figure(figsize=(4 * (1 + len(norms)), 3.2), layout="constrained", dpi=120)
    degrees, *rest = np.atleast_1d(figure.subplots(1, 1 + len(norms)))
    for label, degree, colour in (("users", user_degree, BLUE), ("items", item_degree, ORANGE)):
        _survival(degrees, degree, label, colour)
    degrees.set(xlabel="pairs", ylabel="share with at least this many", xscale="log", yscale="log", title=name)
    degrees.legend(frameon=False)
    for axis, (modality, lengths) in zip(rest, norms.items(), strict=True):
        axis.hist(lengths, bins=60, range=(0.0, 1.05 * float(lengths.max())), color=GREY)
        axis.set(xlabel="norm of a row", ylabel="items", title=modality)
    return figure


def _survival(axis: Axes, degree: NDArray[np.int64], label: str, colour: str) -> None:
    ordered = np.sort(degree[degree > 0])
    share = (len(ordered) - np.arange(len(ordered))) / max(1, len(degree))
    axis.plot(ordered, share, color=colour, label=label, drawstyle="steps-pre")
