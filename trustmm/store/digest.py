"""Hashes of values: equal contents have equal digests, whatever they are called."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest(value: Any) -> str:
    """Hash of a nested value of mappings, sequences, scalars and arrays: 32 hexadecimal digits.

    The digest of an array covers dtype, shape and bytes; the order of mappings does not matter.

    Raises: TypeError for any other type, so that nothing is hashed by its address.
    """
    state = hashlib.blake2b(digest_size=16)
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        state.update(f"array {value.dtype.str} {value.shape} ".encode())
        state.update(np.ascontiguousarray(value).data)
    elif isinstance(value, Mapping):
        state.update(f"mapping {len(value)} ".encode())
        for key in sorted(value):
            _feed(state, key)
            _feed(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(f"sequence {len(value)} ".encode())
        for element in value:
            _feed(state, element)
    elif value is None or isinstance(value, bool | int | float | str):
        state.update(json.dumps([type(value).__name__, value]).encode())
    else:
        raise TypeError(f"cannot hash a {type(value).__name__} by content")
