"""What a number depends on: the options of every stage, and the code of the modules that compute it."""

import ast
import dataclasses
import functools
import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

VOLATILE = frozenset({"root", "device", "checkpoint_every"})
"""Options that say where and how, not what."""
PLUMBING = frozenset(
    {
        "trustmm.options.checks",
        "trustmm.store.cache",
        "trustmm.store.digest",
        "trustmm.store.files",
        "trustmm.store.identity",
        "trustmm.training.checkpoint",
    }
)
"""Modules that compute no number."""


def describe(stage: Any) -> Any:
    """Options of a built stage as plain values: its class and fields, or what its method `identity` returns.

    A whole number is an integer, however it was typed: ``eta=0`` and ``eta=0.0`` are one job.

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
    """Modules of this package named by the classes in a description."""
    if isinstance(description, Mapping):
        own = description.get("_target_", "")
        nested = [module for value in description.values() for module in targets(value)]
        return [own.rpartition(".")[0], *nested] if own.startswith("trustmm.") else nested
    if isinstance(description, list):
        return [module for value in description for module in targets(value)]
    return []


def code_digest(*modules: str) -> str:
    """Hash of the code of these modules and of all modules of this package that they import, however deep.

    Comments, docstrings and layout do not count: only a change that can move a number does.
    """
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(_closure(modules)):
        state.update(f"{name} {_bare_code(name)}".encode())
    return state.hexdigest()


def _closure(modules: Sequence[str]) -> set[str]:
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in seen | PLUMBING:
            seen.add(name)
            waiting += _imports(name)
    return seen


@functools.cache
def _imports(module: str) -> list[str]:
    names = []
    for node in ast.walk(_bare_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("trustmm"):
            nested = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [node.module, *(name for name in nested if _is_module(name))]
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("trustmm")]
    return names


def _is_module(name: str) -> bool:
    parent, _, _ = name.rpartition(".")
    found = importlib.util.find_spec(parent)
    return found is not None and found.submodule_search_locations is not None and bool(importlib.util.find_spec(name))


@functools.cache
def _bare_tree(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, module
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            body[:] = [line for line in body if not _is_text(line)] or [ast.Pass()]
    return tree


@functools.cache
def _bare_code(module: str) -> str:
    return _plain_dump(_bare_tree(module))


def _plain_dump(node: Any) -> str:
    """A tree as text that every Python writes alike: what a version adds to a node is empty, and left out."""
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
