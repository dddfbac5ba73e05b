"""``python -m trustmm prepare``: raw reviews, texts and images to a data set folder."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from trustmm.dataset.prepare.feature_files import FeatureFile
from trustmm.dataset.prepare.images import VisionEncoder
from trustmm.dataset.prepare.pipeline import Preparation, prepare
from trustmm.dataset.prepare.text import FIELDS, SentenceEncoder
from trustmm.options.checks import check_value
from trustmm.process.signals import Terminated, termination_as_exception

EXAMPLES = """examples:
  Amazon Baby of 2014, as published:
    python -m trustmm prepare --out data/baby --interactions reviews_Baby.json.gz \\
      --metadata meta_Baby.json.gz --text-model sentence-transformers/all-MiniLM-L6-v2 \\
      --image-features image_features_Baby.b
  Amazon's ratings table, which has no header:
    python -m trustmm prepare --out data/baby --interactions ratings_Baby.csv --header user,item,rating,time
  any table with ready-made features:
    python -m trustmm prepare --out data/toys --interactions clicks.parquet --user customer --item product \\
      --features visual clip.npy clip_items.txt --features textual bert.parquet
then:
    python -m trustmm dataset=folder dataset.root=data/toys backbone=freedom"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    result = argparse.ArgumentParser(
        "python -m trustmm prepare",
        description="Raw reviews, texts and images to a data set folder. See docs/data.md.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--out", type=Path, required=True, metavar="ROOT/NAME", help="folder to be made; must not exist")
    add(
        "--interactions",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help=".json[l], .csv, .tsv (also .gz), .parquet",
    )
    for name in ("user", "item", "time"):
        add(f"--{name}", metavar="COLUMN", help=f"column of the {name}, where it is not found by a known name")
    add("--header", type=_names, metavar="A,B,...", help="columns of a CSV or TSV file that has no header line")
    add("--core", type=int, default=5, metavar="K", help="least pairs of each user and item (default 5)")
    add("--split", choices=("random", "time"), default="random", help="8:1:1 within each user, or by one time for all")
    add("--seed", type=int, default=0, metavar="N", help="of the random split (default 0)")
    add("--metadata", type=Path, metavar="FILE", help="texts of items, in any of the formats above")
    add("--item-column", metavar="COLUMN", help="column of the item in --metadata and Parquet features")
    add(
        "--text-fields",
        type=_names,
        default=FIELDS,
        metavar="A,B,...",
        help=f"joined in order (default {','.join(FIELDS)})",
    )
    add("--text-model", metavar="MODEL", help="sentence-transformers name or local folder; needs the extra text")
    add("--image-features", type=Path, metavar="FILE", help="binary records: 10-byte item, 4096 float32")
    add("--images", type=Path, metavar="FOLDER", help="images named after items, such as B00A.jpg")
    add("--vision-model", metavar="MODEL", help="torchvision name such as vgg16, or timm/NAME; needs the extra vision")
    add("--vision-weights", type=Path, metavar="FILE", help="local weights of --vision-model (.pth, .safetensors)")
    add(
        "--features",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME FILE [ITEMS]",
        help="modality and its .parquet or .npy; a .npy may have a text file with the item of each row",
    )
    add("--missing", choices=("mean", "zeros"), default="mean", help="what items without a feature get (default mean)")
    add("--batch-size", type=int, default=64, metavar="N", help="texts or images encoded at a time (default 64)")
    add("--device", default="cpu", help="where encoders run (default cpu)")
    add("--cache", type=Path, metavar="FOLDER", help="where encoded batches stay for other preparations")
    return result


def options_of(arguments: argparse.Namespace) -> Preparation:
    """The checked options.

    Raises: ValueError that names the option.
    """
    features = {}
    for given in arguments.features:
        if len(given) not in (2, 3):
            raise ValueError(f"--features must be a modality, a file and for .npy maybe a list of items, got {given}")
        if given[0] in features:
            raise ValueError(f"--features: the modality {given[0]} is given twice")
        items = Path(given[2]) if len(given) == 3 else None
        features[given[0]] = FeatureFile(Path(given[1]), items, arguments.item_column)
    hints = get_type_hints(Preparation, include_extras=True)
    values: dict[str, Any] = {name: value for name, value in vars(arguments).items() if name in hints}
    for name in ("core", "seed", "batch_size"):
        check_value(f"--{name.replace('_', '-')}", values[name], hints[name])
    return Preparation(**values | {"interactions": tuple(arguments.interactions), "features": features})


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
        _exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        _exit("interrupted; the same command goes on", status=130)
    except Terminated:
        _exit("terminated; the same command goes on", status=143)
    sys.stdout.write(_summary(made, arguments.out))


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    options = options_of(arguments)
    model, vision, weights = arguments.text_model, arguments.vision_model, arguments.vision_weights
    if weights is not None and vision is None:
        raise ValueError("--vision-weights needs --vision-model")
    if weights is not None and not weights.is_file():
        raise ValueError(f"--vision-weights {weights} is missing or no file")
    options.check(has_text_encoder=model is not None, has_image_encoder=vision is not None)
    text = SentenceEncoder(model, arguments.device) if model is not None else None
    image = VisionEncoder(vision, weights, arguments.device) if vision is not None else None
    return prepare(options, text_encoder=text, image_encoder=image)


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
        f"cases counted as not used or missing: {unused}, see {out}/dataset.json",
    ]
    return "\n".join([*lines, f"prepared {out}"]) + "\n"


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"must be different names with commas between, got {text!r}")
    return names


def _exit(message: str, status: int = 1) -> NoReturn:
    sys.stderr.write(f"trustmm: {message}\n")
    raise SystemExit(status)
