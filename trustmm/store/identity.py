"""What a number depends on: the options of every stage, and the code of the modules that compute it."""

import ast
import dataclasses
import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trustmm.store.plugins import is_ours, names_plugin

VOLATILE = frozenset({"root", "device", "checkpoint_every"})
"""Options that say where and how, not what."""
PLUMBING = frozenset(
    {
        "trustmm.options.checks",
        "trustmm.store.cache",
        "trustmm.store.digest",
        "trustmm.store.files",
        "trustmm.store.identity",
        "trustmm.store.plugins",
        "trustmm.store.room",
        "trustmm.training.checkpoint",
    }
)
"""Modules that compute no number."""
DIAGNOSTICS = {"rectifier": "trustmm.rectifier.diagnostics", "edit": "trustmm.edit.alignment"}
"""Modules that measure what a stage did, and move no other number: they have a digest of their own."""

PARTS = ("options", "dataset_digest", "code_digest", "diagnostics_digest")
"""What the identity of a job is made of."""
SHOWN = 5
"""Differences that a line spells out."""


class DataIdentity(NamedTuple):
    """What the identity of a job takes from its data."""

    digest: str
    modalities: tuple[str, ...]
    """In alphabetical order."""


def describe(stage: Any) -> Any:
    """Options of a built stage as plain values: its class and fields, or the result of its method `identity`.

    A whole number becomes an integer, however it was typed: ``eta=0`` and ``eta=0.0`` are one job.

    Raises: TypeError for a value that has no plain form.
    """
    if isinstance(stage, functools.partial):
        options = {key: describe(value) for key, value in stage.keywords.items()}
        return {"_target_": _name(stage.func), **options}
    if hasattr(stage, "identity"):
        return {"_target_": _name(type(stage)), **describe(stage.identity())}
    if dataclasses.is_dataclass(stage):
        fields = {f.name: getattr(stage, f.name) for f in dataclasses.fields(stage) if f.name not in VOLATILE}
        return {"_target_": _name(type(stage)), **{key: describe(value) for key, value in fields.items()}}
    if isinstance(stage, Mapping):
        return {key: describe(value) for key, value in stage.items()}
    if isinstance(stage, Sequence) and not isinstance(stage, str):
        return [describe(value) for value in stage]
    if isinstance(stage, float) and stage.is_integer():
        return int(stage)
    if stage is None or isinstance(stage, bool | int | float | str):
        return stage
    raise TypeError(f"a {type(stage).__name__} has no plain form")


def targets(description: Any) -> list[str]:
    """Modules of this package and of plugins, named by the classes and functions in a description."""
    if isinstance(description, Mapping):
        own = str(description.get("_target_", ""))
        nested = [module for key, value in description.items() if key != "_target_" for module in targets(value)]
        return [own.rpartition(".")[0], *nested] if is_ours(own) else nested
    if isinstance(description, list):
        return [module for value in description for module in targets(value)]
    return [description.rpartition(".")[0]] if isinstance(description, str) and names_plugin(description) else []


def placeless(description: Any) -> Any:
    """A description that names classes by package and name, so that moving a module changes nothing."""
    if isinstance(description, Mapping):
        named = {key: placeless(value) for key, value in description.items()}
        return named | {"_target_": class_name(named["_target_"])} if "_target_" in named else named
    return [placeless(value) for value in description] if isinstance(description, list) else description


def class_name(target: str) -> str:
    """The class at a path without its module: "trustmm.FREEDOM", "torch.Adam"."""
    return f"{target.partition('.')[0]}.{target.rpartition('.')[2]}"


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The differences between two identities or cache keys, each with both values: "option backbone.k: 10, now 5"."""
    before, now = (dict(_leaves(placeless(dict(facts)))) for facts in (expected, found))
    keys = [key for key in (*before, *(key for key in now if key not in before)) if key != "job_id"]
    changed = [key for key in keys if before.get(key, _ABSENT) != now.get(key, _ABSENT)]
    return [f"{_part(key)}: {before.get(key, _ABSENT)}, now {now.get(key, _ABSENT)}" for key in changed]


def changes(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The `differences` in a line, the first `SHOWN` of them in full; empty if there are none."""
    parts = differences(expected, found)
    more = [f"and {len(parts) - SHOWN} more"] if len(parts) > SHOWN else []
    return "; ".join([*parts[:SHOWN], *more])


def parts_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an identity that are among these facts, such as a result's."""
    return {part: facts[part] for part in PARTS if part in facts}


_ABSENT = "absent"


def _part(key: str) -> str:
    part, _, rest = key.partition(".")
    words = {"options": "option", "dataset_digest": "data", "code_digest": "code", "diagnostics_digest": "diagnostics"}
    return " ".join(word for word in (words.get(part, part), rest) if word)


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and (node or not key):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def code_digest(*modules: str) -> str:
    """Hash of the code of these modules, and of all modules of this package and of plugins that they import.

    Only changes that can move a number count: comments, docstrings, layout, imports for annotations and the location of
    a module do not. A module is read once, when it is first needed; `remember_code` reads it early.
    """
    state = hashlib.blake2b(digest_size=16)
    for code in sorted({_code(name)[0] for name in _closure(modules)} - {""}):
        state.update(f"{len(code)} {code}".encode())
    return state.hexdigest()


def remember_code(*modules: str) -> None:
    """Record the code of these modules as just imported; later edits affect other processes only."""
    code_digest(*modules)


def _closure(modules: Sequence[str]) -> set[str]:
    """The modules and everything that they import, except diagnostics."""
    seen: set[str] = set()
    waiting = list(modules)
    left_out = (PLUMBING | set(DIAGNOSTICS.values())) - set(modules)
    while waiting:
        name = waiting.pop()
        if name not in seen | left_out:
            seen.add(name)
            waiting += _code(name)[1]
    return seen


def _is_module(name: str) -> bool:
    parent, _, _ = name.rpartition(".")
    found = importlib.util.find_spec(parent)
    return found is not None and found.submodule_search_locations is not None and bool(importlib.util.find_spec(name))


@functools.cache
def _code(module: str) -> tuple[str, list[str]]:
    """The code of a module as text, and the modules of this package that it imports.

    Import lines are replaced by the imported names, without their origin. The text is empty if there is no code, as in
    a package that only holds modules.
    """
    tree = ast.parse(_read(module))
    _keep(tree, lambda line: not _is_text(line) and not _is_for_types(line))
    lines: list[Any] = [node for node in ast.walk(tree) if _is_own_import(node)]
    names = sorted({(alias.name.rpartition(".")[2], alias.asname or "") for line in lines for alias in line.names})
    _keep(tree, lambda line: not _is_own_import(line))
    empty = not names and all(isinstance(line, ast.Pass) for line in tree.body)
    return "" if empty else f"{names} {_plain_dump(tree)}", [name for line in lines for name in _imported(line)]


def _imported(line: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(line, ast.Import):
        return [alias.name for alias in line.names]
    assert line.module is not None
    nested = [f"{line.module}.{alias.name}" for alias in line.names]
    return [line.module, *(name for name in nested if _is_module(name))]


def _read(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, module
    return Path(spec.origin).read_text(encoding="utf-8")


def _keep(tree: ast.AST, wanted: Callable[[Any], bool]) -> None:
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            lines = getattr(node, field, None)
            if isinstance(lines, list) and lines:
                lines[:] = [line for line in lines if wanted(line)] or [ast.Pass()]


def _is_own_import(node: Any) -> bool:
    if isinstance(node, ast.ImportFrom):
        return bool(node.module) and is_ours(str(node.module))
    return isinstance(node, ast.Import) and all(is_ours(alias.name) for alias in node.names)


def _is_for_types(node: Any) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _plain_dump(node: Any) -> str:
    """A syntax tree as text, the same in every Python version: empty fields, which versions add, are left out."""
    if isinstance(node, ast.AST):
        if isinstance(node, ast.JoinedStr):
            node.values = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
        fields = [f"{name}={_plain_dump(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
        return f"{type(node).__name__}({', '.join(fields)})"
    return f"[{', '.join(map(_plain_dump, node))}]" if isinstance(node, list) else repr(node)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _name(target: Any) -> str:
    return f"{target.__module__}.{target.__qualname__}"
