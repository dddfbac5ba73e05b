"""``python -m trustmm prepare``: a data set folder from raw interactions, texts, images and features."""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

import torch

from trustmm.dataset.access import is_file, named, sentence
from trustmm.dataset.layout import is_modality
from trustmm.dataset.prepare.encode import Encoder
from trustmm.dataset.prepare.feature_files import FeatureFile
from trustmm.dataset.prepare.hashed_text import HashedTextEncoder
from trustmm.dataset.prepare.histograms import HistogramEncoder
from trustmm.dataset.prepare.images import ImageFile, VisionEncoder
from trustmm.dataset.prepare.options import Preparation
from trustmm.dataset.prepare.pipeline import prepare
from trustmm.dataset.prepare.records import KINDS, UTF_8
from trustmm.dataset.prepare.text import FIELDS, SentenceEncoder
from trustmm.options.checks import check_value
from trustmm.process.signals import INTERRUPTED, Terminated, termination_as_exception
from trustmm.run.environment import environment

HASHED_TEXT, HISTOGRAM = "tfidf", "histogram"
"""Values of --text-model and --vision-model that need no download."""
EXAMPLES = """examples:
  a CSV file, a table of products and a folder of pictures, without any download:
    python -m trustmm prepare --out data/toys --interactions clicks.csv \\
      --metadata products.csv --text-model tfidf --images pictures --vision-model histogram
  MovieLens, with genres as a modality:
    python -m trustmm prepare --out data/ml --interactions ratings.csv --attributes movies.csv genres
  MovieLens 1M:
    python -m trustmm prepare --out data/ml --interactions ratings.dat --attributes movies.dat genres \\
      --item-header item,title,genres --encoding latin-1
  RecBole's atomic files:
    python -m trustmm prepare --out data/ml --interactions ml.inter --attributes ml.item genre
  Amazon Baby of 2014, as published:
    python -m trustmm prepare --out data/baby --interactions reviews_Baby.json.gz \\
      --metadata meta_Baby.json.gz --text-model sentence-transformers/all-MiniLM-L6-v2 \\
      --image-features image_features_Baby.b
  Amazon's ratings table, which has no header:
    python -m trustmm prepare --out data/baby --interactions ratings_Baby.csv --header user,item,rating,time
  any table with precomputed features:
    python -m trustmm prepare --out data/toys --interactions clicks.parquet --user customer --item product \\
      --features visual clip.npy clip_items.txt textual bert.parquet
then:
    python -m trustmm dataset=folder dataset.root=data/toys backbone=freedom"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    result = argparse.ArgumentParser(
        "python -m trustmm prepare",
        description="Make a data set folder from interactions, texts, images and features. See docs/data.md.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--out", type=Path, required=True, metavar="ROOT/NAME", help="folder to create; it must not exist yet")
    add(
        "--interactions",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help=f"tables of users and items: {', '.join(KINDS)}; all but .parquet also with .gz",
    )
    for name in ("user", "item", "time"):
        ignored = "; '' ignores times" if name == "time" else ""
        add(f"--{name}", metavar="COLUMN", help=f"column of the {name}, if its name is not recognised{ignored}")
    add("--header", type=_names, metavar="A,B,...", help="columns of a text table without a header line")
    add(
        "--item-header",
        type=_names,
        metavar="A,B,...",
        help="columns of --metadata and --attributes where they are text tables without a header line",
    )
    add(
        "--encoding",
        default=UTF_8,
        metavar="NAME",
        help="of all tables of text (default utf-8); latin-1 for movies.dat and u.item of MovieLens",
    )
    add("--core", type=int, default=5, metavar="K", help="minimum number of pairs per user and item (default 5)")
    add("--split", choices=("random", "time"), default="random", help="8:1:1 for each user, or by time for all at once")
    add("--seed", type=int, default=0, metavar="N", help="seed of the random split (default 0)")
    add("--metadata", type=Path, metavar="FILE", help="table with the texts of items, in a format as above")
    add(
        "--item-column",
        metavar="COLUMN",
        help="column of the item in --metadata, --attributes and Parquet features",
    )
    add(
        "--text-fields",
        type=_names,
        default=FIELDS,
        metavar="A,B,...",
        help=f"columns of --metadata, joined in this order (default {','.join(FIELDS)})",
    )
    add(
        "--text-model",
        metavar="MODEL",
        help=f"{HASHED_TEXT}, which needs no download, or a sentence-transformers model: a name or a local folder "
        "(extra text)",
    )
    add(
        "--attributes",
        nargs="+",
        metavar=("FILE", "COLUMN"),
        help="table with the attributes of items, and its columns (default: genres, class or categories)",
    )
    add("--image-features", type=Path, metavar="FILE", help="binary records of a 10-byte item and 4096 float32")
    add("--images", type=Path, metavar="FOLDER", help="images named after items, such as B00A.jpg")
    add(
        "--vision-model",
        metavar="MODEL",
        help=f"{HISTOGRAM}, which needs no download, or a torchvision model such as vgg16, or timm/NAME (extra vision)",
    )
    add("--vision-weights", type=Path, metavar="FILE", help="local weights of --vision-model (.pth, .safetensors)")
    add(
        "--features",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME FILE [ITEMS]",
        help="a modality and its .parquet file, .npy file or folder of ITEM.npy; for a .npy file, ITEMS is a text file "
        "with the item of each row",
    )
    add(
        "--missing",
        choices=("mean", "zeros"),
        default="mean",
        help="features of items that have none: the mean of the others, or zeros (default mean)",
    )
    add(
        "--tolerance",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="largest share of unusable records per file, and of items without content per modality (default 0.05)",
    )
    add("--batch-size", type=int, default=64, metavar="N", help="texts or images encoded at a time (default 64)")
    add("--device", default="cpu", help="where encoders run (default cpu)")
    add("--cache", type=Path, metavar="FOLDER", help="keep encoded batches here for other preparations")
    return result


def feature_groups(
    words: list[str], item_column: str | None = None, encoding: str = UTF_8
) -> Iterator[tuple[str, FeatureFile]]:
    """Modality and file from the words after ``--features``: NAME FILE [ITEMS], once or more.

    ITEMS is told from the next NAME by a dot or a slash in it.

    Raises: ValueError.
    """
    waiting = list(words)
    while waiting:
        if len(waiting) < 2 or not is_modality(waiting[0]):
            expected = "expected NAME FILE [ITEMS], such as visual clip.npy clip_items.txt"
            raise ValueError(f"--features {' '.join(words)}: {expected}; write a list without a dot in its name ./LIST")
        name, file = waiting.pop(0), Path(waiting.pop(0))
        items = Path(waiting.pop(0)) if waiting and not is_modality(waiting[0]) else None
        yield name, FeatureFile(file, items, item_column, encoding)


def options_of(arguments: argparse.Namespace) -> Preparation:
    """The checked options.

    Raises: ValueError that names the option.
    """
    features: dict[str, FeatureFile] = {}
    for words in arguments.features:
        for name, file in feature_groups(words, arguments.item_column, arguments.encoding):
            if name in features:
                raise ValueError(f"--features: the modality {name} is given twice")
            features[name] = file
    hints = get_type_hints(Preparation, include_extras=True)
    values: dict[str, Any] = {name: value for name, value in vars(arguments).items() if name in hints}
    for name in ("core", "seed", "tolerance", "batch_size"):
        check_value(f"--{name.replace('_', '-')}", values[name], hints[name])
    attributes, *columns = arguments.attributes or [None]
    values["attributes"] = Path(attributes) if attributes is not None else None
    values |= {"interactions": tuple(arguments.interactions), "features": features}
    return Preparation(**values, attribute_columns=tuple(columns))


def main(words: list[str] | None = None) -> None:
    """Run the command; exit status 1 on the user's mistakes, with one message and no traceback."""
    arguments = parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    for library in ("httpx", "sentence_transformers", "trustmm.store.cache"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        with termination_as_exception():
            made = _run(arguments)
    except ValueError as error:
        _exit(str(error))
    except OSError as error:
        _exit(sentence(error, "preparing", arguments.out))
    except KeyboardInterrupt:
        _exit("interrupted; repeat the command to continue", status=INTERRUPTED)
    except Terminated:
        _exit("terminated; repeat the command to continue", status=143)
    sys.stdout.write(_summary(made, arguments.out))


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    options = options_of(arguments)
    model, vision, weights = arguments.text_model, arguments.vision_model, arguments.vision_weights
    if weights is not None and vision is None:
        raise ValueError("--vision-weights needs --vision-model")
    if weights is not None and vision == HISTOGRAM:
        raise ValueError(f"--vision-model {HISTOGRAM} has no weights; leave out --vision-weights")
    if weights is not None:
        with named("--vision-weights", weights):
            if not is_file(weights):
                raise ValueError(f"--vision-weights {weights} is missing or not a file")
    options.check(has_text_encoder=model is not None, has_image_encoder=vision is not None)
    text: Encoder[str] | None = None
    if model is not None:
        text = HashedTextEncoder() if model == HASHED_TEXT else SentenceEncoder(model, arguments.device)
    image: Encoder[ImageFile] | None = None
    if vision is not None:
        image = HistogramEncoder() if vision == HISTOGRAM else VisionEncoder(vision, weights, arguments.device)
    on_gpu = arguments.device.startswith("cuda") and torch.cuda.is_available()
    here = environment(torch.device(arguments.device if on_gpu else "cpu"))
    return prepare(options, text_encoder=text, image_encoder=image, environment=here)


def _summary(made: dict[str, Any], out: Path) -> str:
    last, split = made["steps"][-1], made["split"]
    counts = f"{last['users']} users, {last['items']} items, {last['interactions']} interactions"
    parts = f"{split['train']} / {split['valid']} / {split['test']} in train / valid / test"
    features = ", ".join(
        f"{name} {facts['shape'][1]} wide ({facts['items_filled']} items filled with {facts['filled_with']})"
        for name, facts in made["features"].items()
    )
    unused = sum(case["count"] for source in made["not_used"] for case in source["cases"].values())
    lines = [
        f"{counts}; {parts}",
        f"features: {features or 'none'}",
        f"records or items left out or filled: {unused}, by reason in {out}/dataset.json",
    ]
    return "\n".join([*lines, f"prepared {out}"]) + "\n"


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"must be distinct names separated by commas, got {text!r}")
    return names


def _exit(message: str, status: int = 1) -> NoReturn:
    sys.stderr.write(f"trustmm: {message}\n")
    raise SystemExit(status)
