"""Equal science, equal identity; changed science or code, another."""

import ast
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir  # noqa: TID251

from trustmm.dataset.data import Dataset
from trustmm.graph.edges import Edges
from trustmm.options.config import config_folder, register
from trustmm.run.cell import Cell, build_stages, identity_facts
from trustmm.store import identity
from trustmm.store.identity import code_digest, describe, targets

DATA = Dataset(
    "toys",
    Edges.of([0, 1], [0, 1], 2, 3),
    Edges.of([0, 1], [1, 2], 2, 3),
    Edges.of([0, 1], [2, 0], 2, 3),
    {"visual": np.eye(3, dtype=np.float32)},
)


@functools.cache
def job_id(*overrides: str, data: Dataset = DATA) -> str:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        config = compose("config", overrides=["tracking=none", *overrides])
    cell = Cell(config, {}, *build_stages(config))
    return identity_facts(cell, data.digest)["job_id"]


BASE = ("dataset=sports", "dataset.root=/a", "rectifier=mr")


@pytest.mark.parametrize(
    "same",
    [
        ["dataset.root=/b"],
        ["training.device=cpu"],
        ["training.checkpoint_every=3"],
        ["tracking=mlflow", "tracking.experiment=other"],
        ["output_dir=/elsewhere", "cache_dir=/tmp/cache"],
        ["resume=false"],
        ["corruption.eta=0"],
        ["corruption.eta=-0.0"],
        ["corruption.eta_of.visual=0"],
        ["corruption.kind=normal"],
        ["rectifier.tau=1e-1"],
        ["evaluation.cutoffs=[5,10,20,50]"],
    ],
    ids=lambda overrides: overrides[0],
)
def test_job_id_does_not_depend_on_where_or_how_a_job_is_kept(same: list[str]) -> None:
    assert job_id(*BASE, *same) == job_id(*BASE)


@pytest.mark.parametrize(
    "change",
    [
        "seed=1", "corruption.eta=0.1", "corruption.eta_of.visual=0.1", "corruption.eta_e=-0.1", "prior.epochs=3",
        "prior.reg=0.1", "rectifier.lam=0.4", "rectifier.rho=0.5", "rectifier.rho=drop", "rectifier.k=5",
        "rectifier.cold=keep", "rectifier.projection.epochs=2", "rectifier=mr_row_norm", "rectifier=none",
        "backbone=bpr", "backbone.reg=0.5", "backbone.modality_weight.visual=0.3", "training.epochs=9",
        "training.learning_rate=0.01", "training.batch_size=9", "training.optimizer.fused=false",
        "rectifier=trust", "rectifier=oracle", "rectifier=smooth", "training.optimizer._target_=torch.optim.SGD",
        "evaluation.cutoffs=[10]", "evaluation.filter=edited",
    ],
)  # fmt: skip
def test_job_id_changes_with_every_scientific_key(change: str) -> None:
    assert job_id(*BASE, change) != job_id(*BASE)


def test_kind_of_damage_is_science_where_features_are_damaged() -> None:
    kinds = ("permute", "constant", "normal", "missing", "swap_similar", "replace", "shift")
    assert len({job_id(*BASE, "corruption.eta=0.1", f"corruption.kind={kind}") for kind in kinds}) == 7
    assert len({job_id(*BASE, "corruption.eta_e=0.1", f"corruption.kind={kind}") for kind in kinds}) == 1
    assert job_id(*BASE, "corruption.eta=0.1", "corruption.kind=permute") == job_id(*BASE, "corruption.eta=0.1")


def test_joint_damage_is_science_where_features_are_damaged() -> None:
    joint = "corruption.joint=true"
    assert job_id(*BASE, joint) == job_id(*BASE)
    assert job_id(*BASE, "corruption.eta_e=0.1", joint) == job_id(*BASE, "corruption.eta_e=0.1")
    assert job_id(*BASE, "corruption.eta=0.1", joint) != job_id(*BASE, "corruption.eta=0.1")


def test_job_id_changes_with_the_data() -> None:
    other = Dataset(DATA.name, DATA.train, DATA.valid, DATA.test, {"visual": np.eye(3, dtype=np.float32) * 2})
    renamed = Dataset("other", DATA.train, DATA.valid, DATA.test, DATA.features)
    swapped = Dataset(DATA.name, DATA.train, DATA.test, DATA.valid, DATA.features)
    assert len({job_id(data=data) for data in (DATA, other, swapped)}) == 3
    assert job_id(data=renamed) == job_id()


def test_no_rectifier_is_one_identity_whatever_its_ignored_keys() -> None:
    assert job_id("rectifier=none", "rectifier.lam=0.1", "rectifier.k=3") == job_id("rectifier=none")


def test_corruption_seed_counts_only_where_something_is_damaged() -> None:
    assert job_id("corruption.seed=7") == job_id()
    for damage in ("corruption.eta=0.1", "corruption.eta_of.visual=0.1", "corruption.eta_e=0.1"):
        assert job_id(damage, "corruption.seed=7") != job_id(damage)


@pytest.mark.parametrize(
    "change",
    [("rectifier=mr", "rectifier.lam=1"), ("rectifier=mr_all_pairs", "rectifier.rho=1"), ("corruption.eta=1",)],
    ids=lambda overrides: overrides[-1],
)
def test_whole_numbers_are_one_identity_however_they_are_typed(change: tuple[str, ...]) -> None:
    assert job_id(*change) == job_id(*change[:-1], f"{change[-1]}.0")


def test_job_id_is_16_hexadecimal_digits_and_the_same_again() -> None:
    assert job_id() == job_id()
    assert len(job_id()) == 16
    int(job_id(), 16)


def test_description_of_a_value_without_plain_form_is_refused() -> None:
    with pytest.raises(TypeError, match="a object has no plain form"):
        describe({"a": [object()]})
    with pytest.raises(TypeError, match="a ndarray has no plain form"):
        describe(functools.partial(dict, a=np.zeros(2)))


def test_description_and_targets_of_nested_values() -> None:
    partial = functools.partial(identity.describe, stage=[1, 2.5, None, True, "x", 3.0])
    assert describe({"a": partial}) == {
        "a": {"_target_": "trustmm.store.identity.describe", "stage": [1, 2.5, None, True, "x", 3]}
    }
    nested = {"_target_": "trustmm.a.B", "x": [{"_target_": "torch.optim.Adam"}, {"_target_": "trustmm.c.D"}]}
    assert targets(nested) == ["trustmm.a", "trustmm.c"]


MODULES = {
    "__init__": "",
    "top": "from trustmm.probe.middle import double\nimport trustmm.probe.plain\n\n"
    "def f(x):\n    return double(x) + 1\n",
    "middle": "from trustmm.probe import bottom\n\n\ndef double(x):\n    return bottom.two() * x\n",
    "bottom": '"""Two."""\n\n\ndef two():\n    """Two."""\n    return 2  # two\n',
    "plain": "X = 1\n",
    "lonely": "Y = 1\n",
}
Write = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules of a package `trustmm.probe`, seen by the digest as if they were ours."""
    folder = tmp_path / "probe"
    folder.mkdir()
    monkeypatch.setattr(sys.modules["trustmm"], "__path__", [*sys.modules["trustmm"].__path__, str(tmp_path)])

    def write(**modules: str) -> None:
        for name, source in (MODULES | modules).items():
            (folder / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        identity._imports.cache_clear()
        identity._bare_tree.cache_clear()
        identity._bare_code.cache_clear()

    yield write
    for name in [name for name in sys.modules if name.startswith("trustmm.probe")]:
        del sys.modules[name]
    identity._imports.cache_clear()
    identity._bare_tree.cache_clear()
    identity._bare_code.cache_clear()


def probe(write: Write, **modules: str) -> str:
    write(**modules)
    return code_digest("trustmm.probe.top")


@pytest.mark.parametrize(
    "changes",
    [
        {"bottom": "def two():\n    return 2\n"},
        {"bottom": '"""Another text."""\n# a comment\ndef two( ):\n\n\n    """More."""\n    return (2)\n'},
        {"lonely": "Y = 2\n"},
        {"top": MODULES["top"].replace("def f(x):", "def f(x):  # noqa")},
        {"plain": '"""New text."""\n\nX  =  1\n'},
    ],
)
def test_code_digest_ignores_comments_texts_layout_and_strangers(changes: dict[str, str], package: Write) -> None:
    assert probe(package, **changes) == probe(package)


@pytest.mark.parametrize(
    "changes",
    [
        {"top": MODULES["top"].replace("+ 1", "+ 2")},
        {"middle": MODULES["middle"].replace("* x", "+ x")},
        {"bottom": MODULES["bottom"].replace("return 2", "return 3")},
        {"plain": "X = 2\n"},
        {"bottom": MODULES["bottom"].replace("def two()", "def two(n=1)")},
        {"bottom": MODULES["bottom"].replace("return 2", 'return "2"')},
        {"middle": "def double(x):\n    return 2 * x\n"},
        {"top": MODULES["top"].replace("def f(x):", "def f(x):\n    import trustmm.probe.lonely")},
    ],
)
def test_code_digest_changes_with_code_however_deep(changes: dict[str, str], package: Write) -> None:
    assert probe(package, **changes) != probe(package)


def test_code_digest_follows_imports_within_functions(package: Write) -> None:
    top = MODULES["top"].replace("def f(x):", "def f(x):\n    from trustmm.probe import lonely")
    assert probe(package, top=top) != probe(package, top=top, lonely="Y = 2\n")


def test_code_digest_of_cyclic_imports_ends(package: Write) -> None:
    assert probe(package, bottom="import trustmm.probe.top\n\n\ndef two():\n    return 2\n") != probe(package)


def test_code_digest_depends_on_the_set_of_modules_and_not_their_order(package: Write) -> None:
    package()
    both = code_digest("trustmm.probe.top", "trustmm.probe.lonely")
    assert both == code_digest("trustmm.probe.lonely", "trustmm.probe.top", "trustmm.probe.lonely")
    assert both != code_digest("trustmm.probe.top")
    assert code_digest("trustmm.probe.top", "trustmm.probe.plain") == code_digest("trustmm.probe.top")


def test_plumbing_is_not_part_of_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    closure = identity._closure(["trustmm.job"])
    assert "trustmm.store.cache" not in closure
    assert not {name for name in closure if name.split(".")[1] in ("app", "tracking", "progress", "report")}
    assert {"trustmm.rectifier.matching", "trustmm.graph.segment", "trustmm.training.sampling"} <= closure


def test_the_plain_form_of_code_forgets_only_what_is_empty() -> None:
    def plain(text: str) -> str:
        return identity._plain_dump(ast.parse(text))

    assert plain("f('')") != plain("f()")
    assert plain("x = [None]") != plain("x = []")
    assert plain("x = 0") != plain("x = False") != plain("x = None")
    assert plain("f'{a}'") != plain("f'{a} '")
    tree = ast.parse("def f(): pass")
    function = tree.body[0]
    before = identity._plain_dump(tree)
    function._fields = (*type(function)._fields, "new_in_some_python")  # type: ignore[misc]
    function.new_in_some_python = []  # type: ignore[attr-defined]
    assert identity._plain_dump(tree) == before
