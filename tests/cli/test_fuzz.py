"""Keys times bad values: exit status 1, one line that names the key, no traceback, bounded memory."""

import contextlib
import gc
import io
import os
import random
import re
import resource
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from trustmm.cli.ending import file_sentence
from trustmm.cli.run import run_command
from trustmm.options.config import config_folder, register
from trustmm.options.explain import known_keys
from trustmm.run.cell import build_cell
from trustmm.study.options import StudyOptions
from trustmm.study.question import Objectives, check_options
from trustmm.study.space import parse_space
from trustmm.sweep.launch import SweepLauncher
from trustmm.sweep.pool.pool import pool

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Hydra's log of a run
CHOSEN = ("rectifier=mr", "edit=both", "tracking=mlflow")
NONSENSE = ("nope", "[]", "{}", "{a: 1}", "null", "''", "-7", "1e999", "nan", "5.5", "true", "${nope}", "[1,a]")
"""For every key those that it does not allow."""
TEXT_OR_OPEN = re.compile(r"root|_dir$|experiment$|\.name$|eta_of$|k_of$|modality_weight|modalities")
"""Keys whose values are any text, or any names."""


@pytest.fixture(autouse=True, scope="module")
def _logs_end_here() -> Iterator[None]:
    """Hydra's logs are found open here, where nobody minds, and not in the next module."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def config() -> DictConfig:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        return compose("config", overrides=list(CHOSEN))


def keys(config: DictConfig) -> list[str]:
    return [key for key in known_keys(config) if not key.startswith("hydra")]


def allowed(value: str, now: object, key: str) -> bool:
    """Whether the value is of the kind that the key holds now, or may be a word or null for all we know."""
    if TEXT_OR_OPEN.search(key) or isinstance(now, dict):
        return True
    if value in ("null", "-7", "5.5", "nope", "''", "true", "nan"):
        return {
            "true": isinstance(now, bool) or key == "keep_model",
            "-7": True,
            "5.5": True,
            "null": True,
            "nan": False,
        }.get(value, isinstance(now, str))
    return value in ("[]", "[1,a]") and isinstance(now, list)


def build_only(config: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    build_cell(config, HydraConfig.get().runtime.choices)


def run(*words: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Exit status and what was said, of a command that would build its job."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["trustmm", *words])
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            run_command(build_only, "config")
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    except Exception:  # noqa: BLE001 - what the test is about
        return 99, said.getvalue() + traceback.format_exc()
    return 0, said.getvalue()


def complaint(status: int, said: str, key: str) -> str:
    """What is wrong with an answer to a bad value; empty for a clear error."""
    lines = [line for line in said.splitlines() if line]
    if "Traceback" in said or status == 99:
        return "traceback"
    if status != 1:
        return f"accepted nonsense (status {status})"
    if len(lines) != 1:
        return f"{len(lines)} lines"
    return "" if key.split(".")[0] in lines[0] else "the key is not named"


def inputs(config: DictConfig, count: int, seed: int) -> Iterator[tuple[str, str]]:
    draw = random.Random(seed)
    found = [(key, value) for key in keys(config) for value in NONSENSE]
    found = [
        (key, value)
        for key, value in found
        if not allowed(value, OmegaConf.to_container(OmegaConf.create({"v": OmegaConf.select(config, key)}))["v"], key)
    ]
    draw.shuffle(found)
    yield from found[:count]


def check_many(config: DictConfig, count: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    run(*CHOSEN, monkeypatch=monkeypatch)  # loads the libraries
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong, counts = [], Counter()
    for key, value in inputs(config, count, seed=13):
        status, said = run(*CHOSEN, f"{key}={value}", monkeypatch=monkeypatch)
        found = complaint(status, said, key)
        counts[found or "clear error"] += 1
        wrong += [f"{key}={value}: {found}\n{said[-600:]}"] if found else []
    assert not wrong, "\n".join([str(counts), *wrong])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "kB"
    return counts


def test_bad_values_are_one_line(config: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    check_many(config, 15, monkeypatch)


@pytest.mark.slow
def test_every_key_with_every_bad_value(config: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = check_many(config, int(os.environ.get("TRUSTMM_FUZZ", "10000")), monkeypatch)
    sys.__stderr__.write(f"fuzz: {sum(counts.values())} inputs, {dict(counts)}\n")


SPECIMENS = [
    ("resume=5", "resume must be true or false, got 5"),
    ("training.optimizer=null", "training.optimizer must be an option with a _target_, got None"),
    ("training.optimizer.fused=[1,a]", "training.optimizer.fused must be true or false or null, got [1, 'a']"),
    ("training.optimizer=5", "training.optimizer must be an option with a _target_, got 5"),
    ("tracking.uri=sqlite+nope:///x.db", "tracking.uri must be a database file"),
    ("backbone=mgnc", "did you mean backbone=mgcn or backbone=mmgcn?"),
    ("corruption.eta=range(0,1,1e-12)", "corruption.eta has 1e+12 values; a sweep has at most 100000 jobs"),
    ("seed=range(0,1000000000000)", "seed has 1e+12 values"),
    ("corruption.eta=range(0,1,0)", "corruption.eta must be a range of finite numbers with a step"),
    ("hydra.launcher.n_worker=2", "did you mean hydra.launcher.n_workers"),
    ("hydra.swep.dir=x", "did you mean hydra.sweep"),
    ("hydra.nonsense=1", "unknown key hydra.nonsense"),
    ("seed=true", "seed must be"),
    ("output_dir=null", "output_dir"),
    ("dataset=null", "dataset=null: give one of the group's options"),
    ("backbone=[bpr,mgcn]", "backbone"),
]


@pytest.mark.parametrize(("word", "expected"), SPECIMENS)
def test_specimen_is_one_line(word: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status, said = run(word, monkeypatch=monkeypatch)
    assert expected in said
    assert complaint(status, said, word.partition("=")[0]) == ""


HYDRA = [
    *(f"hydra.{node}={value}" for node in ("launcher", "sweeper") for value in ("null", "5", "nope")),
    *(f"{plus}hydra.{node}nope=1" for plus in ("", "+", "++") for node in ("", "launcher.", "sweeper.", "sweep.")),
    *(f"hydra.launcher.n_workers={value}" for value in ("null", "[1,a]", "{a: 1}", "nan", "-7")),
    *(f"hydra.sweeper.{rest}" for rest in ("max_batch_size=-7", "max_batch_size=nope", "params={a: 1}", "params=5")),
    *("hydra=null", "hydra=5", "hydra.help=5", "hydra.output_subdir=[1]", "hydra.job.chdir=nope", "hydra.mode=nope"),
    *("hydra.callbacks=5", "hydra.job_logging=5", "hydra.verbose={a: 1}", "hydra.searchpath=5", "hydra.sweep.dir=[]"),
]
"""Words that speak to Hydra, of a sweep."""


@pytest.mark.parametrize("word", HYDRA)
def test_a_word_that_hydra_cannot_use_is_one_line(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(launcher: SweepLauncher, *_: object) -> None:
        launcher.executor(2)

    monkeypatch.setattr(SweepLauncher, "launch", launch)
    status, said = run("-m", word, "seed=0,1", monkeypatch=monkeypatch)
    assert complaint(status, said, word.lstrip("+")) == "", said[-2000:]


@pytest.mark.parametrize("words", [("-m",), ("-m", "hydra/sweeper=trustmm_optuna", "hydra.sweeper.sampler=grid")])
def test_a_glob_that_nothing_matches_is_no_sweep_of_no_jobs(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said = run(*words, *CHOSEN, "tracking=none", "backbone=glob(nope*)", monkeypatch=monkeypatch)
    assert complaint(status, said, "backbone") == "", said[-2000:]
    assert re.search(r"backbone(=|: )glob\(nope\*\) matches nothing", said)


@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_a_study_refuses_a_key_of_its_own_that_it_does_not_have(plus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("-m", "hydra/sweeper=trustmm_optuna", f"{plus}hydra.sweeper.n_trialz=5", "seed=0,1")
    status, said = run(*words, monkeypatch=monkeypatch)
    assert complaint(status, said, "hydra") == ""
    assert "unknown key hydra.sweeper.n_trialz; did you mean hydra.sweeper.n_trials" in said


STUDY_MISTAKES = [
    {"metric": 5},
    {"metric": []},
    {"metric": None},
    {"direction": 5},
    {"n_trials": -1},
    {"parallel": 0},
    {"tpe": {"n_startup_trials": -1}},
    {"tpe": {"n_ei_candidates": 0}},
    {"cmaes": {"sigma0": -0.5}},
    {"cmaes": {"popsize": 0}},
    {"qmc": {"qmc_type": "nope"}},
    {"median": {"n_warmup_steps": -5}},
    {"median": {"interval_steps": 0}},
    {"successive_halving": {"reduction_factor": 1}},
    {"successive_halving": {"min_resource": 0}},
    {"sampler": "nope"},
    {"pruner": "nope"},
    {"importance": "nope"},
    {"study_name": "../x"},
    {"seed": -1},
]


@pytest.mark.parametrize("mistake", STUDY_MISTAKES, ids=str)
def test_options_of_a_study_are_checked(mistake: dict[str, object]) -> None:
    options = StudyOptions()
    for key, value in mistake.items():
        if isinstance(value, dict):
            for name, inner in value.items():
                setattr(getattr(options, key), name, inner)
        else:
            setattr(options, key, value)
    (key,) = mistake
    with pytest.raises(ValueError, match=rf"^hydra\.sweeper\.{key}"):
        check_options(options, parse_space({"x": "interval(0,1)"}, []), Objectives.of(options))


@pytest.mark.parametrize("bad", [-1, 0, 2.5, "many", None, True, [1], float("inf"), float("nan")])
@pytest.mark.parametrize("key", ["n_workers", "jobs_per_gpu", "gpus", "threads", "timeout", "grace"])
def test_options_of_the_pool_are_checked(key: str, bad: object) -> None:
    fine = {"n_workers": 1, "jobs_per_gpu": 1, "gpus": 0, "threads": 1, "timeout": None, "grace": 1.0}
    if (key, bad) in [("gpus", 0), ("timeout", None), ("timeout", 2.5), ("grace", 0), ("grace", 2.5)]:
        return
    with pytest.raises(ValueError, match=rf"^hydra\.launcher\.{key}"):
        pool(lambda task: task, lambda assignment: assignment, tracked=False, num_tasks=1, options=fine | {key: bad})  # type: ignore[arg-type,return-value]


FILES = [
    ("output_dir=/proc/nope", "output_dir: cannot use /proc/nope"),
    ("output_dir={file}/x", "output_dir: cannot use"),
    ("output_dir=" + "x" * 300, "File name too long"),
    ("output_dir={loop}", "Too many levels of symbolic links"),
    ("cache_dir=/proc/nope", "cache_dir: cannot use /proc/nope"),
]


@pytest.mark.parametrize(("word", "expected"), FILES)
def test_a_folder_that_cannot_be_used_is_one_line(
    word: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from trustmm.cli.ending import one_sentence
    from trustmm.store.files import atomic

    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.chdir(tmp_path)
    typed = word.format(file=tmp_path / "file", loop=tmp_path / "loop")
    monkeypatch.setattr(sys, "argv", ["trustmm", typed])
    with pytest.raises(SystemExit) as end, one_sentence(), atomic(Path(typed.partition("=")[2]) / "a" / "b"):
        pass
    said = capsys.readouterr().err
    assert end.value.code == 1
    assert expected in said
    assert len(said.splitlines()) == 1
    assert os.getcwd() == str(tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "No space left on device; files go to output_dir=here; make room"),
        (
            OSError(28, "No space left on device", "here/a"),
            "output_dir: cannot use here/a: No space left on device; m",
        ),
        (OSError(5, "Input/output error"), "the system says: Input/output error"),
        (OSError(13, "Permission denied", "there/x"), "--out: cannot use there/x: Permission denied"),
        (OSError(13, "Permission denied", "data/x"), "data: cannot use data/x: Permission denied"),
        (OSError(2, "No such file or directory", "/proc/no"), "--uri: cannot use /proc/no: No such file or directory"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(error: OSError, said: str) -> None:
    assert said in file_sentence(
        error, ["output_dir=here", "data", "--out", "there", "--uri", "sqlite:////proc/no/a/b.db"]
    )
