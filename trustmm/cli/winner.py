"""``python -m trustmm winner SWEEP_FOLDER``: the winners of a finished study as options of the group experiment.

Writes ``conf/experiment/tuned/BACKBONE_DATASET.yaml`` for the study without a repair and ``..._RECTIFIER.yaml`` for one
with: each chooses backbone, data and rectifier, and sets what was tuned. Afterwards::

    python -m trustmm -m experiment=tuned/freedom_sports,tuned/freedom_sports_mr seed=0,1,2,3,4
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from trustmm.options.config import config_folder
from trustmm.store.files import atomic
from trustmm.study.summary import SUMMARY

CHOSEN = ("dataset", "backbone", "rectifier")
"""Groups that a winner is for."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the winners of all studies in a sweep folder; exit status 1 with one message if there are none."""
    parser = argparse.ArgumentParser(prog="python -m trustmm winner", description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=Path, help="folder of the sweep, such as outputs/sweeps/tune_backbone-0123456789ab"
    )
    parser.add_argument(
        "--to", type=Path, default=config_folder() / "experiment" / "tuned", help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    try:
        for path in write_winners(options.folder, options.to):
            sys.stdout.write(f"{path}\n")
    except ValueError as error:
        sys.stderr.write(f"trustmm: {error}\n")
        raise SystemExit(1) from None


def write_winners(folder: Path, to: Path) -> list[Path]:
    """Write an option for every study of a sweep.

    Args:
        folder: of the sweep.
        to: where the options go.

    Returns: the files.

    Raises: ValueError if there is no study, one is not complete, has several metrics, or two would share a file.
    """
    found = sorted([*folder.glob(SUMMARY), *folder.glob(f"*/{SUMMARY}")])
    if not found:
        raise ValueError(f"{folder} holds no {SUMMARY}; give the folder of a sweep with hydra/sweeper=trustmm_optuna")
    options: dict[str, str] = {}
    for path in found:
        study = _read_study(path)
        _refuse_unfinished(study)
        name = winner_name(study)
        if name in options:
            raise ValueError(f"{folder} holds two studies for {name}")
        options[name] = winner_option(study)
    for name, text in options.items():
        with atomic(to / f"{name}.yaml") as path:
            path.write_text(text, encoding="utf-8")
    return [to / f"{name}.yaml" for name in options]


def winner_name(study: Mapping[str, Any]) -> str:
    """Stem of the option's file."""
    choices = study["best"][0]["choices"]
    name = f"{choices['backbone']}_{choices['dataset']}"
    return name if choices["rectifier"] == "none" else f"{name}_{choices['rectifier']}"


def winner_option(study: Mapping[str, Any]) -> str:
    """The option's text: deltas only, seeds left out."""
    (best,) = study["best"]
    kept = [f"{key.lstrip('+')}={value}" for key, value in best["params"].items() if _is_tuned(key, best["choices"])]
    values = OmegaConf.from_dotlist(kept)
    (metric, score), counts = next(iter(best["values"].items())), study["trials"]
    tried = counts["finished"] + counts["pruned"]
    groups = dict.fromkeys([*CHOSEN, *(key for key in best["params"] if key in best["choices"])])
    head = [
        "# @package _global_",
        f"# Best of {tried} trials ({study['sampler']}) by validation {metric}={score:.4f}; job {best['job_id']}.",
        f"# Written by python -m trustmm winner from the study {study['name']}; trial {best['trial']}:",
        f"# {' '.join(best['overrides'])}",
        "defaults:",
        *(f"  - override /{group}: {best['choices'][group]}" for group in groups),
        "  - _self_",
    ]
    return "\n".join(head) + "\n" + OmegaConf.to_yaml(values)


def _is_tuned(key: str, choices: Mapping[str, str]) -> bool:
    """Whether a key is a hyper-parameter of the winner: no seed, no group, nothing of a repair that is not there."""
    idle = choices["rectifier"] == "none" and key.startswith("rectifier.")
    return not (idle or key in choices or key.split(".")[-1] == "seed")


def _read_study(path: Path) -> dict[str, Any]:
    """A study's summary, which may come from somebody else: names stay names, texts stay on their line.

    Raises: ValueError that names the file.
    """
    try:
        study: dict[str, Any] = json.loads(path.read_bytes())
        for best in study["best"]:
            names = [*(best["choices"][group] for group in CHOSEN), *best["choices"], best["job_id"]]
            names += [best["choices"][key] for key in best["params"] if key in best["choices"]]
            _allow(names, r"\w[\w./-]*")
            _allow([best["choices"][group] for group in CHOSEN], r"\w[\w-]*")
            _allow([key.lstrip("+") for key in best["params"]], r"[A-Za-z_][\w.]*(/\w+)*")
            _allow([value for value in best["params"].values() if not isinstance(value, bool | int | float)], r"[^$]*")
            _allow([*best["overrides"], str(best["trial"])], r"[^\n\r]*")
            dict(best["values"])
        _allow([study["name"], study["sampler"]], r"[^\n\r]*")
        _allow(study["metrics"], r"\w+@\d+")
        {name: int(study["trials"][name]) for name in ("finished", "pruned")}
        bool(study["complete"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the summary of a study: {type(error).__name__} {error}") from error
    return study


def _allow(texts: Sequence[Any], pattern: str) -> None:
    for text in texts:
        if not isinstance(text, str) or not re.fullmatch(pattern, text) or ".." in text.split("/"):
            raise ValueError(f"{text!r} is not allowed there")


def _refuse_unfinished(study: Mapping[str, Any]) -> None:
    if not study["complete"]:
        raise ValueError(f"the study {study['name']} is not complete; repeat its command to continue")
    if len(study["metrics"]) > 1:
        raise ValueError(f"the study {study['name']} has several metrics and no single winner; choose one by hand")
