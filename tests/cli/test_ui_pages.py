"""MLflow's pages in a real browser: what a reader must see of a sweep is on them."""

import csv
import html
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from trustmm.cli.ui import HOST

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs a headless browser: apt-get install chromium"),
]
TINY = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=500", "training.epochs=3")
SWEEP = ("backbone=bpr,vbpr", "corruption.eta=0,0.4", *TINY)
NAMES = [f"{backbone} eta={eta}" for backbone in ("bpr", "vbpr") for eta in ("0", "0.4")]
Shows = Callable[..., str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep."""
    folder = tmp_path_factory.mktemp("ui")
    command = [sys.executable, "-m", "trustmm", "-m", *SWEEP, "hydra.launcher.n_workers=1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def link(place: Path) -> Iterator[str]:
    """The address that ``trustmm ui`` prints, while it serves."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "trustmm", "ui", "--port", str(port)]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            lines = [server.stdout.readline() for _ in range(2)]
            _wait(f"http://{HOST}:{port}/health")
            yield lines[1].partition(": ")[2].strip()
        finally:
            server.terminate()


def _wait(address: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(address).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    pytest.fail(f"nothing answers at {address}")


@pytest.fixture(scope="module")
def shows(tmp_path_factory: pytest.TempPathFactory) -> Shows:
    """Opens an address in the browser, waits for words, and returns all words of the page."""

    def read(address: str, *expected: str) -> str:
        assert BROWSER is not None
        profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
        quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1600,1200", profile)
        command = [BROWSER, *quiet, "--virtual-time-budget=15000", "--dump-dom", address]
        text = ""
        for _ in range(4):  # a page may be drawn before its data have come
            page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            plain = re.sub(r"<[^>]+>", " ", re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL))
            text = " ".join(html.unescape(plain).split())
            if all(word in text for word in expected):
                return text
        pytest.fail(f"{address}: {[word for word in expected if word not in text]} not in {text}")

    return read


@pytest.fixture(scope="module")
def runs(place: Path) -> dict[str, dict[str, str]]:
    """Rows of the sweep's summary by the name of the run."""
    (path,) = place.glob("outputs/sweeps/*/summary.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return {f"{row['backbone']} eta={row['corruption.eta']}": row for row in csv.DictReader(file)}


def test_the_table_has_every_job_with_its_numbers_best_first(
    link: str, runs: dict[str, dict[str, str]], shows: Shows
) -> None:
    columns = "corruption.eta test/ndcg_at_10 test/recall_at_10 valid/recall_at_10 backbone"
    values = [runs[name][f"test_{metric}@10"][:8] for name in NAMES for metric in ("recall", "ndcg")]
    text = shows(link, *NAMES, columns, *values, "4 matching runs")
    recalls = [float(runs[name]["test_recall@10"]) for name in sorted(NAMES, key=lambda name: text.index(f" {name} "))]
    assert recalls == sorted(recalls, reverse=True)


def test_the_run_of_a_sweep_has_its_means_and_what_varied(
    link: str, runs: dict[str, dict[str, str]], shows: Shows
) -> None:
    experiment, parent = re.findall(r"experiments/(\d+)/runs\?viewStateShareKey=(\w+)", link)[0]
    page = link.partition("#")[0] + f"#/experiments/{experiment}/runs/{parent}"
    means = [f"{float(row['test_recall@10']):.4f}" for row in runs.values()]
    shows(page, "Test recall@10", *means, "mean recall_at_10/backbone vbpr", "varied/corruption.eta", *NAMES)


def test_the_run_of_a_job_opens_on_its_learning_curve(link: str, runs: dict[str, dict[str, str]], shows: Shows) -> None:
    experiment = re.findall(r"experiments/(\d+)/", link)[0]
    job = runs[NAMES[-1]]["run_id"]
    page = link.partition("#")[0] + f"#/experiments/{experiment}/runs/{job}/model-metrics"
    text = shows(page, NAMES[-1], "loss bpr", "valid recall_at_10")
    assert text.index("loss bpr") < text.index("test (")


def test_two_jobs_can_be_compared(link: str, runs: dict[str, dict[str, str]], shows: Shows) -> None:
    experiment = re.findall(r"experiments/(\d+)/", link)[0]
    asked = urlencode(
        {"runs": json.dumps([runs[name]["run_id"] for name in NAMES[-2:]]), "experiments": f'["{experiment}"]'}
    )
    shows(
        link.partition("#")[0] + f"#/compare-runs?{asked}", *NAMES[-2:], "corruption.eta 0.0 0.4", "test/recall_at_10"
    )
