"""Equal science, equal identity; changed science or code, another."""

import ast
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir  # noqa: TID251

from trustmm.backbone.freedom import FREEDOM
from trustmm.dataset.data import Dataset
from trustmm.graph.edges import Edges
from trustmm.options.config import config_folder, register
from trustmm.run.cell import Cell, build_stages, identity_facts
from trustmm.store import identity
from trustmm.store.identity import (
    class_name,
    code_digest,
    describe,
    differences,
    placeless,
    remember_code,
    targets,
)

DATA = Dataset(
    "toys",
    Edges.of([0, 1], [0, 1], 2, 3),
    Edges.of([0, 1], [1, 2], 2, 3),
    Edges.of([0, 1], [2, 0], 2, 3),
    {"visual": np.eye(3, dtype=np.float32)},
)


@functools.cache
def cell(*overrides: str) -> Cell:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        config = compose("config", overrides=["tracking=none", *overrides])
    return Cell(config, {}, *build_stages(config))


def job_id(*overrides: str, data: Dataset = DATA) -> str:
    return identity_facts(cell(*overrides), data.identity)["job_id"]


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
        "training.seed=0", "training.average=5",
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


def test_one_share_is_one_identity_whether_it_is_of_all_modalities_or_of_each() -> None:
    assert job_id(*BASE, "corruption.eta_of.visual=0.2") == job_id(*BASE, "corruption.eta=0.2")
    assert job_id(*BASE, "corruption.eta=0.5", "corruption.eta_of.visual=0.2") == job_id(*BASE, "corruption.eta=0.2")


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
        forget()

    yield write
    for name in [name for name in sys.modules if name.startswith("trustmm.probe")]:
        del sys.modules[name]
    forget()


def forget() -> None:
    """As in a new process."""
    importlib.invalidate_caches()
    identity._code.cache_clear()


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


def test_code_digest_ignores_what_only_a_type_checker_imports(package: Write) -> None:
    head = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from trustmm.probe.lonely import Y\n\n"
    plain = probe(package, top="from typing import TYPE_CHECKING\n\n" + MODULES["top"])
    assert probe(package, top=head + MODULES["top"], lonely="Y = 2\n") == plain


def test_a_moved_module_is_the_same_code(package: Write, tmp_path: Path) -> None:
    before = probe(package)
    deep = tmp_path / "probe" / "deep"
    deep.mkdir()
    (deep / "__init__.py").write_text('"""Where it went."""\n')
    for name in ("middle", "plain"):
        (deep / f"{name}.py").write_text(MODULES[name])
        (tmp_path / "probe" / f"{name}.py").unlink()
    top = "import trustmm.probe.deep.plain\nfrom trustmm.probe.deep.middle import double\n\n\n"
    (deep / "head.py").write_text(top + MODULES["top"].partition("\n\n")[2])
    forget()
    assert code_digest("trustmm.probe.deep.head") == before
    (deep / "middle.py").write_text(MODULES["middle"].replace("*", "+"))
    forget()
    assert code_digest("trustmm.probe.deep.head") != before


def test_a_job_keeps_its_identity_when_the_module_of_a_stage_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    one = cell("dataset=sports", "dataset.root=/a", "backbone=freedom")
    before = identity_facts(one, DATA.identity)
    code = identity._code
    monkeypatch.setattr(FREEDOM, "__module__", "trustmm.backbone.elsewhere")
    monkeypatch.setattr(identity, "_code", lambda name: code(name.replace("elsewhere", "freedom")))
    after = identity_facts(one, DATA.identity)
    assert after["options"] != before["options"]
    assert after["job_id"] == before["job_id"]


def test_code_is_what_was_imported_not_what_is_edited_while_a_job_runs(package: Write, tmp_path: Path) -> None:
    package()
    remember_code("trustmm.probe.top")
    before = code_digest("trustmm.probe.middle")
    (tmp_path / "probe" / "middle.py").write_text(MODULES["middle"].replace("*", "+"))
    assert code_digest("trustmm.probe.middle") == before
    forget()
    assert code_digest("trustmm.probe.middle") != before


def test_code_of_a_job_is_remembered_before_its_data_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    cell.cache_clear()
    built = cell(*BASE, "backbone=vbpr")
    monkeypatch.setattr(identity, "_read", lambda module: pytest.fail(f"{module} is read late"))
    identity_facts(built, DATA.identity)


@pytest.mark.parametrize("module", sorted(identity.PLUMBING | set(identity.DIAGNOSTICS.values())))
def test_modules_named_here_exist(module: str) -> None:
    assert importlib.util.find_spec(module) is not None


STAGES_OF = {
    "lightgcn": ("dataset=sports", "dataset.root=/a", "backbone=lightgcn"),
    "lightgcn_mr": ("dataset=sports", "dataset.root=/a", "backbone=lightgcn", "rectifier=mr"),
    "edited": ("dataset=sports", "dataset.root=/a", "backbone=lightgcn", "edit=both"),
    "freedom": ("dataset=sports", "dataset.root=/a", "backbone=freedom"),
}
USED_BY = {
    "trustmm.rectifier.diagnostics": {"lightgcn_mr"},
    "trustmm.edit.alignment": {"edited"},
    "trustmm.rectifier.mr": {"lightgcn_mr"},
    "trustmm.rectifier.matching": {"lightgcn_mr"},
    "trustmm.edit.prune": {"edited"},
    "trustmm.prior.lightgcn": {"lightgcn_mr", "edited"},
    "trustmm.backbone.freedom": {"freedom"},
    "trustmm.backbone.lightgcn": {"lightgcn", "lightgcn_mr", "edited"},
    "trustmm.training.sampling": set(STAGES_OF),
    "trustmm.report.page.job": set(),
}


@pytest.mark.parametrize("module", USED_BY)
def test_changed_code_is_another_identity_of_the_jobs_that_use_it_alone(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = {name: cell(*overrides) for name, overrides in STAGES_OF.items()}
    before = {name: identity_facts(one, DATA.identity)["job_id"] for name, one in cells.items()}
    code = identity._code
    changed = (code(module)[0] + "changed", code(module)[1])
    monkeypatch.setattr(identity, "_code", lambda name: changed if name == module else code(name))
    after = {name: identity_facts(one, DATA.identity)["job_id"] for name, one in cells.items()}
    assert {name for name in STAGES_OF if before[name] != after[name]} == USED_BY[module]


@pytest.mark.parametrize("change", ["prior.epochs=3", "prior.reg=0.1", "prior.embedding_dim=8"])
def test_prior_options_count_where_a_stage_asks_for_the_prior(change: str) -> None:
    plain = ("dataset=sports", "dataset.root=/a")
    assert job_id(*plain, change) == job_id(*plain)
    assert job_id(*plain, "edit=both", "edit.ratio=0", change) == job_id(*plain, "edit=both", "edit.ratio=0")
    graphda = ("edit=graph_only", "edit.op=graphda", "edit.ratio=0")
    for asks in (("rectifier=mr",), ("rectifier=smooth",), ("edit=both",), graphda):
        assert job_id(*plain, *asks, change) != job_id(*plain, *asks)


def test_classes_are_told_apart_by_name_and_not_by_place() -> None:
    here = {"optimizer": {"_target_": "torch.optim.adam.Adam"}, "x": [{"_target_": "trustmm.a.B"}]}
    there = {"optimizer": {"_target_": "torch.optim.Adam"}, "x": [{"_target_": "trustmm.c.d.B"}]}
    assert placeless(here) == placeless(there)
    assert placeless(here) != placeless({**here, "optimizer": {"_target_": "torch.optim.adamw.AdamW"}})
    assert class_name("trustmm.backbone.freedom.FREEDOM") == "trustmm.FREEDOM"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"options": {"backbone": {"_target_": "trustmm.x.A", "k": 5}}}, ["option backbone.k: 10, now 5"]),
        ({"options": {"backbone": {"_target_": "trustmm.y.A", "k": 10}}}, []),
        ({"dataset_digest": "d1"}, ["data: d0, now d1"]),
        ({"code_digest": "c1"}, ["code: c0, now c1"]),
        ({"diagnostics_digest": "x1"}, ["diagnostics: absent, now x1"]),
        ({"job_id": "other"}, []),
    ],
)
def test_differences_name_the_part_and_both_values(change: dict[str, Any], said: list[str]) -> None:
    options = {"backbone": {"_target_": "trustmm.x.A", "k": 10}}
    facts = {"job_id": "0", "options": options, "dataset_digest": "d0", "code_digest": "c0"}
    assert differences(facts, facts | change) == said


def test_code_digest_of_cyclic_imports_ends(package: Write) -> None:
    assert probe(package, bottom="import trustmm.probe.top\n\n\ndef two():\n    return 2\n") != probe(package)


def test_code_digest_depends_on_the_set_of_modules_and_not_their_order(package: Write) -> None:
    package()
    both = code_digest("trustmm.probe.top", "trustmm.probe.lonely")
    assert both == code_digest("trustmm.probe.lonely", "trustmm.probe.top", "trustmm.probe.lonely")
    assert both != code_digest("trustmm.probe.top")
    assert code_digest("trustmm.probe.top", "trustmm.probe.plain") == code_digest("trustmm.probe.top")


def test_plumbing_is_not_part_of_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    closure = identity._closure(["trustmm.job", "trustmm.rectifier.mr"])
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
