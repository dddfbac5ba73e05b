"""The Python API: docs/api.md runs as it is written, and what it promises holds."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import trustmm
from trustmm.cli.recommend import main as recommend
from trustmm.dataset.layout import ITEMS, write_names
from trustmm.store.identity import PARTS

TINY = (
    "dataset.num_users=60",
    "dataset.num_items=40",
    "dataset.num_interactions=700",
    "training.epochs=2",
    "tracking=none",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def result(place: Path) -> trustmm.Result:
    return trustmm.run("backbone=bpr", *TINY, f"output_dir={place / 'outputs'}")


def arrays() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    pairs = np.unique(np.concatenate([rng.integers(0, [30, 20], size=(300, 2)), [[29, 19]]]), axis=0)
    return *pairs.T, {"visual": rng.standard_normal((20, 8)).astype(np.float32)}


@pytest.mark.slow
def test_the_page_runs_as_it_is_written(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (project / "docs" / "api.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    names: dict[str, object] = {}
    exec(compile(code, "docs/api.md", "exec"), names)
    assert (tmp_path / "report" / "report.md").is_file()


def test_import_loads_neither_torch_nor_hydra() -> None:
    code = "import sys, trustmm; print({'torch', 'hydra', 'numpy'} & set(sys.modules), trustmm.__version__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert shown == f"set() {trustmm.__version__}\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        trustmm.nothing  # noqa: B018
    assert {"run", "sweep", "rectify", "load", "Dataset"} <= set(dir(trustmm))


def test_a_job_is_the_same_as_the_command_lines(result: trustmm.Result, place: Path) -> None:
    words = ["backbone=bpr", *TINY, f"output_dir={place / 'outputs'}"]
    done = subprocess.run([sys.executable, "-m", "trustmm", *words], capture_output=True, text=True, cwd=place)
    assert done.stdout.strip().endswith(f"result={result.folder / 'result.json'}")
    assert "reused the finished job" in done.stderr


def test_a_wrong_key_is_a_value_error_with_the_nearest_keys() -> None:
    with pytest.raises(ValueError, match=r"unknown key corruption.eat; did you mean corruption.eta"):
        trustmm.run("corruption.eat=1")


def test_recommendations_are_the_best_unseen_items_of_each_user(result: trustmm.Result) -> None:
    model = trustmm.load(result)
    users, items = np.divmod(np.arange(60 * 40), 40)
    every = model.scores(users, items).reshape(60, 40)
    best = model.recommend(np.arange(60), k=5)
    train = model.data.train
    every[train.users, train.items] = -np.inf
    np.testing.assert_array_equal(best.items, np.argsort(-every, axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(best.scores, -np.sort(-every, axis=1)[:, :5])
    seen = model.recommend([3], k=40, exclude_seen=False)
    assert sorted(seen.items[0]) == list(range(40))


def test_loaded_weights_have_the_recorded_metrics(result: trustmm.Result) -> None:
    model = trustmm.load(result)
    users = np.unique(model.data.test.users[model.data.train.user_degree[model.data.test.users] > 0])
    best = model.recommend(users, k=10).items
    recall = [
        np.isin(best[row], mine).sum() / len(mine)
        for row, user in enumerate(users)
        for mine in [model.data.test.items[model.data.test.users == user]]
    ]
    assert np.mean(recall) == pytest.approx(result.metrics["recall@10"], abs=1e-6)


@pytest.mark.parametrize(("users", "message"), [([60], r"users must be in \[0, 60\)"), ([0.5], "must be integers")])
def test_unknown_users_are_refused(result: trustmm.Result, users: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trustmm.load(result).recommend(users)


def test_a_job_without_weights_says_how_to_keep_them(place: Path) -> None:
    words = ("backbone=bpr", "seed=5", *TINY, f"output_dir={place / 'outputs'}")
    without = trustmm.run(*words, "keep_model=false")
    with pytest.raises(ValueError, match="keep_model=true"):
        trustmm.load(without)
    again = trustmm.run(*words, "keep_model=true")
    assert again.folder == without.folder
    assert trustmm.load(again).recommend([0]).items.shape == (1, 10)


def test_weights_of_other_code_or_data_are_refused(result: trustmm.Result, monkeypatch: pytest.MonkeyPatch) -> None:
    was = {part: result.summary[part] for part in PARTS if part in result.summary}
    now = was | {"job_id": "another", "code_digest": "beef"}
    monkeypatch.setattr("trustmm.run.model.identity_facts", lambda cell, data: now)
    with pytest.raises(ValueError, match=f"run the job again: code: {was['code_digest']}, now beef$"):
        trustmm.load(result)


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[: len(whole) // 2], lambda whole: b"{" * 99])
def test_damaged_weights_are_named_in_a_line(result: trustmm.Result, damage: Callable[[bytes], bytes]) -> None:
    path = result.folder / "model.npz"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    try:
        with pytest.raises(
            ValueError, match=rf"^{re.escape(str(path))} is damaged \(.*\); remove it and run"
        ) as caught:
            trustmm.load(result)
    finally:
        path.write_bytes(whole)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused_in_a_line(result: trustmm.Result) -> None:
    path = result.folder / "model.npz"
    whole = path.read_bytes()
    np.savez(path, other=np.zeros(3))
    try:
        with pytest.raises(ValueError, match=r"model\.npz is damaged \(Error\(s\) in loading state_dict"):
            trustmm.load(result)
    finally:
        path.write_bytes(whole)


def test_arrays_are_a_data_set_wherever_an_option_is(place: Path, tmp_path: Path) -> None:
    users, items, features = arrays()
    data = trustmm.Dataset.from_arrays(users, items, features=features)
    assert len(data.observed) == len(users)
    words = ("training.epochs=1", "tracking=none", f"output_dir={place / 'own'}")
    own = trustmm.run("backbone=vbpr", *words, dataset=data)
    assert own.summary["dataset_digest"] == data.digest
    folder = Path(own.summary["config"]["dataset"]["root"])
    write_names(folder / ITEMS, "item", [f"shirt {number}" for number in range(20)])
    out = tmp_path / "best.parquet"
    recommend([str(own.folder), "--top", "3", "--out", str(out)])
    table = pq.read_table(out)
    assert table.column_names == ["user", "item", "rank", "score"]
    assert set(table["rank"].to_pylist()) == {1, 2, 3}
    first = trustmm.load(own).recommend([0], k=3).items[0]
    assert table["item"].to_pylist()[:3] == [f"shirt {number}" for number in first]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": [0, 1]}, "one entry per pair"),
        ({"split": [0, 0, 0]}, r"split must have 0 \(train\), 1 \(validation\) and 2 \(test\)"),
        ({"features": {"visual": np.zeros((2, 3))}}, "one row for each of 3 items"),
        ({"users": [0.5, 1, 2]}, "array of integers"),
        ({"users": [0, 0, 0], "items": [0, 0, 2]}, "pair"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"users": [0, 1, 2], "items": [0, 1, 2], "split": [0, 1, 2]}
    with pytest.raises(ValueError, match=message):
        trustmm.Dataset.from_arrays(**given | change)  # type: ignore[arg-type]


def test_rectify_answers_in_the_form_of_its_question(tmp_path: Path) -> None:
    users, items, features = arrays()
    words = ("rectifier.k=5", "prior.epochs=1", f"cache_dir={tmp_path}")
    one = trustmm.rectify(features["visual"], users, items, *words)
    several = trustmm.rectify(features, users, items, *words)
    assert one.features.shape == (20, 8)
    assert several.mismatch["visual"].shape == one.mismatch.shape == (20,)
    assert 0 <= np.nanmin(one.mismatch) <= np.nanmax(one.mismatch) <= 1
    assert 0 <= one.eta_hat <= 1


def test_a_password_is_no_word_of_the_process_that_runs_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def run(command: list[str], **pipes: object) -> subprocess.CompletedProcess[str]:
        started.extend(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ValueError, match="^$"):
        trustmm.sweep("tracking.uri='http://u:s3cr3t@h'", "seed=0,1")
    assert "seed=0,1" in started
    assert "s3cr3t" not in " ".join(started)
    for name in [name for name in os.environ if name.startswith("TRUSTMM_SECRET_")]:
        del os.environ[name]
