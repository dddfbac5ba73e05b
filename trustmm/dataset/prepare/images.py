"""Image features: Amazon's binary file of 2014, or a folder of images through a torchvision or timm model."""

import functools
import hashlib
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.dataset.prepare.lines import is_gzip, open_binary
from trustmm.dataset.prepare.names import name_of
from trustmm.dataset.prepare.tally import Tally

WIDTH = 4096
RECORD = np.dtype([("item", "S10"), ("row", "<f4", WIDTH)])
"""A record of the binary file: 10 bytes of the item's id, then 4096 numbers."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})


def check_binary(path: Path) -> None:
    """Raise ValueError unless the size of a file that is not packed is a whole number of records."""
    size = path.stat().st_size
    if not size or (not is_gzip(path) and size % RECORD.itemsize):
        raise ValueError(f"{path}: {_wrong_size(size)}")


def _wrong_size(size: int) -> str:
    rest = f"{size % RECORD.itemsize} bytes more than {size // RECORD.itemsize} records"
    return f"found {size} bytes, {rest}; expected records of 10 + 4 x {WIDTH} = {RECORD.itemsize} bytes"


def binary_rows(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Item and row (4096,) of each record of the binary file, packed or not.

    Raises: ValueError for a damaged file or one that ends inside a record.
    """
    done = 0
    try:
        with open_binary(path) as handle:
            while block := handle.read(256 * RECORD.itemsize):
                done += len(block)
                if done % RECORD.itemsize:
                    raise ValueError(f"{path}: {_wrong_size(done)}")
                for record in np.frombuffer(block, dtype=RECORD):
                    yield record["item"].decode("ascii", errors="replace"), record["row"]
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: damaged after {done} bytes ({error}); fetch the file again") from error


@dataclass(frozen=True)
class ImageFile:
    """An image and the hash of its bytes."""

    path: Path

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        with self.path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()


def item_images(folder: Path, numbers: Mapping[str, int], tally: Tally) -> tuple[list[ImageFile], list[int]]:
    """Images named after items, such as ``B00A.jpg``, and the items' ids; in the order of ids.

    Names are looked up in the folder's list of files, so that no item's name can lead out of it.

    Args:
        folder: searched without its sub-folders.
        numbers: dense id by item name.
        tally: counts other files, second images and items without an image.
    """
    found: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        files = sorted((Path(entry.path) for entry in entries if entry.is_file()), key=lambda path: path.name)
    for path in files:
        place = numbers.get(name_of(path.stem) or "")
        if path.suffix.lower() not in SUFFIXES:
            tally.add("file that is not an image", path.name)
        elif place is None:
            tally.add("item not in the data set", path.name)
        elif place in found:
            tally.add("second image of an item", path.name)
        else:
            found[place] = path
    for name, place in numbers.items():
        if place not in found:
            tally.add("item without an image", name)
    places = sorted(found)
    return [ImageFile(found[place]) for place in places], places


class VisionEncoder:
    """The last hidden layer of a torchvision or timm classifier: VGG16 gives 4096 numbers an image.

    Args:
        name: a torchvision model such as vgg16, or ``timm/NAME``.
        weights: local file of weights (.pth or .safetensors, works offline); None downloads the published ones.
        device: such as cpu or cuda.

    Raises: ValueError without the library, for an unknown name, or for weights that do not fit.
    """

    whole = False

    def __init__(self, name: str, weights: Path | None = None, device: str = "cpu") -> None:
        self._name, self._weights, self._device = name, weights, torch.device(device)
        try:
            build = _timm_model if name.startswith("timm/") else _torchvision_model
            model, self._transform, self._library = build(name.removeprefix("timm/"), weights)
        except ImportError as error:
            raise ValueError(
                f"--vision-model needs the extra vision: pip install 'trustmm[vision]' ({error})"
            ) from error
        self._model = model.eval().to(self._device)

    def identity(self) -> Mapping[str, Any]:
        """Library, version, model, and the hash of a local file of weights."""
        facts = {**self._library, "model": self._name}
        return facts | ({"sha256": ImageFile(self._weights).sha256} if self._weights else {"weights": "published"})

    def encode(self, batch: Sequence[ImageFile]) -> NDArray[np.float32]:
        """Rows (B, D); NaN where an image cannot be read."""
        images = [load_image(image.path) for image in batch]
        readable = [place for place, image in enumerate(images) if image is not None]
        blank = self._transform(_blank_image())
        inputs = torch.stack([blank if image is None else self._transform(image) for image in images])
        with torch.inference_mode():
            rows = self._model(inputs.to(self._device)).flatten(1).float().cpu().numpy()
        result = np.full(rows.shape, np.nan, dtype=np.float32)
        result[readable] = rows[readable]
        return result


def load_image(path: Path) -> Any:
    """An image as RGB, or None for one that cannot be read or is larger than an image may be."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            with Image.open(path) as image:
                return image.convert("RGB")
    except Exception:  # noqa: BLE001 - each decoder has its own errors for a damaged image
        return None


def _blank_image() -> Any:
    from PIL import Image

    return Image.new("RGB", (256, 256))


def _torchvision_model(name: str, weights: Path | None) -> tuple[torch.nn.Module, Any, dict[str, str]]:
    import torchvision
    from torchvision.models import get_model, get_model_weights, list_models

    if name not in list_models(module=torchvision.models):
        raise ValueError(f"--vision-model {name}: torchvision has no such classifier; another library's is timm/NAME")
    published = get_model_weights(name).DEFAULT
    model = get_model(name, weights=published if weights is None else None)
    if weights is not None:
        _load(model, weights)
    last = [place for place, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)][-1]
    parent, _, attribute = last.rpartition(".")
    setattr(model.get_submodule(parent), attribute, torch.nn.Identity())
    return model, published.transforms(), {"library": "torchvision", "version": torchvision.__version__}


def _timm_model(name: str, weights: Path | None) -> tuple[torch.nn.Module, Any, dict[str, str]]:
    import timm
    from timm.data import create_transform, resolve_model_data_config

    if not timm.is_model(name):
        raise ValueError(f"--vision-model timm/{name}: timm has no such model")
    model = timm.create_model(name, pretrained=weights is None)
    if weights is not None:
        _load(model, weights)
    model.reset_classifier(0)
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    return model, transform, {"library": "timm", "version": timm.__version__}


def _load(model: torch.nn.Module, weights: Path) -> None:
    """Read weights without unpickling objects."""
    try:
        if weights.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(weights)
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001 - each format has its own errors
        what = "expected tensors saved by torch.save or as .safetensors, no other objects"
        raise ValueError(f"--vision-weights {weights} cannot be read; {what}") from error
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        lines = " ".join(str(error).split())
        raise ValueError(f"--vision-weights {weights} do not fit the model: {lines[:200]}") from error
