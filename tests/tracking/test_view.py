import json
from urllib.parse import parse_qs, urlsplit

from trustmm.tracking.view import EXPERIMENT_TAGS, SHARED_VIEW, link_to_sweep, view_of_sweep


def test_the_shared_view_shows_this_sweeps_jobs_with_the_columns_that_vary() -> None:
    (tag, text), *others = view_of_sweep("abc", ["corruption.eta", "rectifier", "seed"]).items()
    state = json.loads(text)
    assert (tag, others) == (f"{SHARED_VIEW}abc", [])
    assert state["searchFilter"] == "tags.`mlflow.parentRunId` = 'abc'"
    assert state["selectedColumns"][:3] == ["params.`corruption.eta`", "tags.`rectifier`", "tags.`seed`"]
    assert state["orderByKey"] in state["selectedColumns"]


def test_the_link_opens_the_training_view_on_the_shared_view() -> None:
    page = urlsplit(link_to_sweep("7", "abc")).fragment
    assert page.startswith("/experiments/7/runs?")
    assert parse_qs(urlsplit(page).query) == {"viewStateShareKey": ["abc"], "workflowType": ["machine_learning"]}
    assert EXPERIMENT_TAGS == {"mlflow.experimentKind": "custom_model_development"}
