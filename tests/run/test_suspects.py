"""What a user sees of suspects: a table of all items, a page that carries everything and trusts nothing."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from trustmm.run.suspects import LARGEST_IMAGE, mismatch_frame, picture, reliability_figure, suspects_page, worst
from trustmm.trust.mismatch import Trust
from trustmm.trust.storey import Estimate

PROBABILITY = np.array([0.1, 0.9, 0.4, 1.0, 0.2])
WARM = np.array([True, True, True, True, False])
TRUST = {"visual": Trust(PROBABILITY, Estimate(0.2, 0.01), {"anchor": np.array([0.5, -0.1, 0.2, 0.0, np.nan])})}
NAMES = ["B00", "B01", "B02", "B03", "B04"]


def page(**changes: object) -> str:
    given = {"names": NAMES, "titles": ["a", "b & <script>alert(1)</script>", "c", "d", "e"], "images": None} | changes
    return suspects_page("toys", TRUST, {"visual": "about 20%"}, WARM, **given)  # type: ignore[arg-type]


def test_table_has_a_row_per_item_and_modality_with_the_users_own_ids() -> None:
    both = TRUST | {"textual": TRUST["visual"]}
    frame = mismatch_frame(both, NAMES)
    assert list(frame.columns) == ["item", "item_id", "modality", "probability", "view_anchor"]
    assert list(frame["modality"]) == ["textual"] * 5 + ["visual"] * 5
    assert_array_equal(frame["probability"][5:], PROBABILITY)
    assert list(frame["item_id"][:5]) == NAMES
    assert "item_id" not in mismatch_frame(TRUST, None)


def test_worst_come_first_and_unjudged_and_hopeless_are_not_listed() -> None:
    assert_array_equal(worst(TRUST["visual"], WARM), [3, 1, 2, 0])
    assert not len(worst(Trust(np.ones(5), Estimate(1.0, 0.0), {}), WARM))
    text = page()
    assert text.index("B03") < text.index("B01") < text.index("B02")
    assert "B04" not in text


def test_page_is_escaped_and_fetches_nothing() -> None:
    text = page(names=["<b>x", *NAMES[1:]])
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text
    assert "about 20%" in text


def test_small_pictures_are_put_into_the_page_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "B01.jpg").write_bytes(b"small")
    (images / "B03.png").write_bytes(b"x" * (LARGEST_IMAGE + 1))
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (images / "B02.jpg").symlink_to(tmp_path / "secret.jpg")
    text = page(images=images)
    assert text.count("<img") == 1
    assert "data:image/jpeg;base64,c21hbGw=" in text
    assert picture(images, "../secret") == ""


def test_reliability_has_a_line_per_modality_beside_the_diagonal() -> None:
    truth = {"visual": np.array([False, True, False, True, True])}
    axis = reliability_figure(TRUST, truth, WARM).axes[0]
    said, true = axis.lines[1].get_data()
    assert said == pytest.approx([0.1, 0.4, 0.95])
    assert list(true) == [0, 0, 1]
