"""The real encoders, where their libraries are installed: models made on the spot, no network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from trustmm.dataset.prepare.images import ImageFile, VisionEncoder, load_image
from trustmm.dataset.prepare.text import SentenceEncoder, plain_text


def installed(name: str) -> None:
    """Skip where a library is missing or does not load beside this torch."""
    try:
        __import__(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name}: {error}")


@pytest.fixture
def pictures(tmp_path: Path) -> list[ImageFile]:
    from PIL import Image

    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    return [ImageFile(tmp_path / f"{number}.png") for number in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "timm/resnet10t"])
def test_vision_model_gives_its_last_hidden_layer(name: str, pictures: list[ImageFile], tmp_path: Path) -> None:
    installed("torchvision")
    if name.startswith("timm/"):
        installed("timm")
        import timm

        model = timm.create_model(name.removeprefix("timm/"), pretrained=False)
    else:
        import torchvision

        model = torchvision.models.get_model(name, weights=None)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    encoder = VisionEncoder(name, tmp_path / "weights.pth")
    rows = encoder.encode(pictures)
    assert rows.shape == (3, 512)
    assert np.isnan(rows).any(axis=1).tolist() == [False, False, True]
    assert_allclose(encoder.encode(pictures[1:2])[0], rows[1], rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="cannot be read; expected tensors"):
        VisionEncoder(name, pictures[2].path)


def test_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ValueError, match=r"--text-model needs the extra text: pip install 'trustmm\[text\]'"):
        SentenceEncoder("all-MiniLM-L6-v2")
    with pytest.raises(ValueError, match=r"--vision-model needs the extra vision: pip install 'trustmm\[vision\]'"):
        VisionEncoder("vgg16")


def test_huge_or_broken_image_is_none(pictures: list[ImageFile], monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    assert load_image(pictures[0].path).size == (60, 40)
    assert load_image(pictures[2].path) is None
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert load_image(pictures[0].path) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\n b", "a b"),
        ([["x", "y"], "z"], "x y z"),
        (None, ""),
        (3, "3"),
        ({"a": "b"}, ""),
        (float("nan"), ""),
        ([True, "a"], "a"),
    ],
)
def test_plain_text_of_anything(value: object, text: str) -> None:
    assert plain_text(value) == text
