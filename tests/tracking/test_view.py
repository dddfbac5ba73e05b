import json
from urllib.parse import parse_qs, urlsplit

from trustmm.tracking.view import EXPERIMENT_TAGS, SHARED_VIEW, link_to_curves, link_to_sweep, view_of_sweep


def test_the_shared_view_shows_this_sweeps_jobs_with_the_columns_that_vary() -> None:
    (tag, text), *others = view_of_sweep("abc", ["corruption.eta", "rectifier", "seed"]).items()
    state = json.loads(text)
    assert (tag, others) == (f"{SHARED_VIEW}abc", [])
    assert state["searchFilter"] == "tags.`mlflow.parentRunId` = 'abc'"
    assert state["selectedColumns"][:3] == ["params.`corruption.eta`", "tags.`rectifier`", "tags.`seed`"]
    assert state["orderByKey"] in state["selectedColumns"]


def test_a_chart_has_a_line_for_each_metric_over_the_steps() -> None:
    page = urlsplit(link_to_curves("7", "abc", ["mean recall_at_10/rectifier none", "mean recall_at_10/rectifier mr"]))
    asked = parse_qs(urlsplit(page.fragment).query)
    assert page.fragment.startswith("/metric?")
    assert json.loads(asked["plot_metric_keys"][0]) == [
        f"mean recall_at_10/rectifier {name}" for name in ("none", "mr")
    ]
    assert (asked["runs"], asked["experiments"], asked["x_axis"]) == (['["abc"]'], ['["7"]'], ["step"])
    assert " " not in page.fragment


def test_the_link_opens_the_training_view_on_the_shared_view() -> None:
    page = urlsplit(link_to_sweep("7", "abc")).fragment
    assert page.startswith("/experiments/7/runs?")
    assert parse_qs(urlsplit(page).query) == {"viewStateShareKey": ["abc"], "workflowType": ["machine_learning"]}
    assert EXPERIMENT_TAGS == {"mlflow.experimentKind": "custom_model_development"}
