"""What MLflow's pages show first: the training view, and a sweep's jobs as a table whose columns tell them apart.

MLflow 3.17 opens an experiment in its view of language models unless the address says ``workflowType=machine_learning``
(the tag ``mlflow.experimentKind`` decides only within a view). Columns are kept in the browser, so no address can name
them; but a shared view, a tag of the experiment with the page's whole state as JSON, brings columns, filter and order
along, and an address can name that. Seen in MLflow 3.17.2 with headless Chromium.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep found, for its own run."""

    axes: Sequence[str] = ()
    """What varied: keys such as "corruption.eta", groups such as "rectifier", seeds."""
    params: Mapping[str, str] = field(default_factory=dict)
    """What varied with its values, and what was fixed."""
    metrics: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """Numbers by step; the page draws a curve over the steps."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What may change when the sweep goes on."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Files to keep, by their names there."""
    note: str = ""
    """Markdown for its page."""

    @property
    def curves(self) -> list[str]:
        """Metrics with a mean at several steps."""
        known = [name for metrics in self.metrics.values() for name in metrics if name.startswith("mean ")]
        return [name for name, times in Counter(known).items() if times > 1]


EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""An experiment of trainings, not of prompts."""
SHARED_VIEW = "mlflow.sharedViewState."
METRICS = ("test/recall_at_10", "test/ndcg_at_10", "valid/recall_at_10")
"""Columns of every table of jobs, under the names that MLflow permits."""


def view_of_sweep(parent_run_id: str, axes: Sequence[str]) -> dict[str, str]:
    """A tag of the experiment: the jobs of one sweep, best first, with the columns that tell them apart.

    Args:
        parent_run_id: run of the sweep.
        axes: what varies: keys such as "corruption.eta", which are parameters, and groups and seeds, which are tags.
    """
    kinds = {axis: "params" if "." in axis else "tags" for axis in axes}
    columns = [f"{kind}.`{axis}`" for axis, kind in kinds.items()] + [f"metrics.`{metric}`" for metric in METRICS]
    state = {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent_run_id}'",
        "orderByKey": f"metrics.`{METRICS[0]}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "runsPinned": [],
        "runsHidden": [],
        "runListHidden": False,
        "viewMaximized": False,
        "groupBy": None,
        "runsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
    }
    return {f"{SHARED_VIEW}{parent_run_id}": json.dumps(state)}


def link_to_curves(experiment_id: str, run_id: str, metrics: Sequence[str]) -> str:
    """Place, on MLflow's pages, of a chart with these metrics of a run over their steps, a line each."""
    asked = {
        "runs": [run_id],
        "metric": metrics[0],
        "experiments": [experiment_id],
        "plot_metric_keys": list(metrics),
        "plot_layout": {"autosize": True, "xaxis": {}, "yaxis": {}},
        "deselected_curves": [],
        "last_linear_y_axis_range": [],
    }
    plain = {"x_axis": "step", "y_axis_scale": "linear", "line_smoothness": "1", "show_point": "true"}
    words = {name: json.dumps(value, separators=(",", ":")) for name, value in asked.items()} | plain
    return f"#/metric?{urlencode(words, quote_via=quote)}"


def link_to_sweep(experiment_id: str, parent_run_id: str, server: str = "http://127.0.0.1:5000") -> str:
    """Address of the table of one sweep's jobs."""
    shown = f"runs?viewStateShareKey={parent_run_id}&workflowType=machine_learning"
    return f"{server}/#/experiments/{experiment_id}/{shown}"
