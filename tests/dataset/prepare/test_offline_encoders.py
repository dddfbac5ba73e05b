"""Encoders without a download: equal inputs give equal rows, similar ones similar rows, signs are settled."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageDraw

from trustmm.dataset.folder import FolderDataset
from trustmm.dataset.prepare.hashed_text import HashedTextEncoder, words
from trustmm.dataset.prepare.histograms import HistogramEncoder, colours, edges
from trustmm.dataset.prepare.images import ImageFile

THINGS = {"bottle": "glass water drink", "shirt": "cotton blue sleeve", "lamp": "light bulb desk"}
TEXTS = [f"{thing} {words} number {place}" for place in range(10) for thing, words in THINGS.items()]


def cosine(rows: np.ndarray) -> np.ndarray:
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def test_texts_about_the_same_are_near() -> None:
    rows = HashedTextEncoder(width=3).encode(TEXTS)
    assert rows.shape == (30, 3)
    same = np.equal.outer(np.arange(30) % 3, np.arange(30) % 3)
    assert cosine(rows)[same].min() > cosine(rows)[~same].max() + 0.5


def test_rows_are_the_leading_components_with_positive_largest_loadings() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{word}" for word in rng.integers(0, 40, 12)) for _ in range(20)]
    weights = HashedTextEncoder()._weighted(texts).toarray()
    assert_allclose(np.linalg.norm(weights, axis=1), 1)
    left, values, right = np.linalg.svd(weights, full_matrices=False)
    signs = np.sign(right[np.arange(20), np.abs(right).argmax(axis=1)])
    assert_allclose(HashedTextEncoder().encode(texts), (left * values * signs)[:, :19], atol=1e-5)
    assert_allclose(HashedTextEncoder(5).encode(texts), (left * values * signs)[:, :5], atol=1e-5)


@pytest.mark.parametrize("kernel", ["Nehalem", "Haswell"])
def test_signs_and_numbers_are_the_same_with_another_blas_kernel(kernel: str) -> None:
    script = (
        "import sys, numpy as np\n"
        "from trustmm.dataset.prepare.hashed_text import HashedTextEncoder\n"
        f"sys.stdout.buffer.write(HashedTextEncoder(8).encode({TEXTS!r}).tobytes())"
    )
    environment = os.environ | {"OPENBLAS_CORETYPE": kernel}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=120, env=environment)
    found = np.frombuffer(done.stdout, np.float32).reshape(30, 8)
    assert_allclose(found, HashedTextEncoder(8).encode(TEXTS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "texts", [["one"], ["", "one two", "three"], ["...", "!"], ["same same"] * 5, ["a", "b"]], ids=range(5)
)
def test_few_and_empty_texts_give_finite_rows(texts: list[str]) -> None:
    rows = HashedTextEncoder().encode(texts)
    assert rows.shape[0] == len(texts)
    assert rows.shape[1] >= 1
    assert np.isfinite(rows).all()


def test_words_are_found_in_every_script() -> None:
    assert list(words("Ｃafé, ﬁne! x2")) == ["café", "fine", "x2"]
    assert list(words("東京都 a")) == ["東京", "京都", "a"]
    assert list(words("cafe\u0301")) == list(words("caf\u00e9"))


def picture(path: Path, colour: str, line: tuple[int, int, int, int]) -> ImageFile:
    image = Image.new("RGB", (200, 160), "white")
    ImageDraw.Draw(image).rectangle((20, 20, 180, 140), fill=colour)
    ImageDraw.Draw(image).line(line, fill="black", width=9)
    image.save(path)
    return ImageFile(path)


def test_histograms_tell_colours_and_edges_apart(tmp_path: Path) -> None:
    across, down = (30, 80, 170, 80), (100, 30, 100, 130)
    files = [
        picture(tmp_path / f"{place}.png", colour, line)
        for place, (colour, line) in enumerate([("red", across), ("red", down), ("blue", across), ("red", across)])
    ]
    (tmp_path / "4.png").write_bytes(b"no image")
    rows = HistogramEncoder().encode([*files, ImageFile(tmp_path / "4.png")])
    assert rows.shape == (5, 192)
    assert np.isnan(rows[4]).all()
    assert_allclose(np.linalg.norm(rows[:4, :64], axis=1), 1, rtol=1e-6)
    assert_allclose(np.linalg.norm(rows[:4, 64:], axis=1), 1, rtol=1e-6)
    near = cosine(rows[:4])
    assert near[0, 3] > 1 - 1e-6
    assert max(near[0, 1], near[0, 2]) < 0.98


def test_colours_and_edges_of_known_pictures() -> None:
    black, stripes = np.zeros((8, 8, 3)), np.repeat((np.arange(16) // 2 % 2 * 255.0)[None], 16, axis=0)
    assert_array_equal(np.flatnonzero(colours(black)), [0])
    assert_array_equal(np.flatnonzero(colours(black + 255)), [63])
    assert_array_equal(edges(np.ones((16, 16))), 0)
    upright, flat = edges(stripes).reshape(16, 8).sum(axis=0), edges(stripes.T).reshape(16, 8).sum(axis=0)
    assert upright.argmax() == 0
    assert flat.argmax() == 4
    assert_allclose([upright.sum(), flat.sum()], 1)


def test_page_of_own_data_runs_as_written(project: Path, tmp_path: Path) -> None:
    """The commands of docs/data.md from a CSV file, a table of products and a folder of pictures."""
    page = (project / "docs" / "data.md").read_text(encoding="utf-8")
    block = page.split("<!-- runs in a test -->")[1].split("```")[1].removeprefix("bash\n")
    command = "set -e\nexport MPLBACKEND=Agg\n" + block.replace("python ", f"{sys.executable} ")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    data = FolderDataset(name=None, root=str(tmp_path / "data" / "toys"), modalities=None)()
    assert set(data.features) == {"textual", "visual", "attribute"}
    assert (tmp_path / "data" / "toys" / "toys.png").is_file()
