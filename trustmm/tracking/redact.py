"""Passwords and tokens in addresses: never shown, never written, handed to child processes by the environment.

Where an address with a secret enters, `conceal` leaves ``${secret:NAME}`` in its place; the address itself stays in the
variable ``TRUSTMM_SECRET_NAME`` of this process and of those that it starts, and comes back where it is resolved.
"""

import logging
import os
import re
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write

VARIABLE = "TRUSTMM_SECRET_"
_NAMES = "pass|pwd|token|secret|key|auth|sig|cred|session|jwt|sas"
_USER = re.compile(r"(?<!sqlite)(?<!file)://\S*@")  # a path may hold an @
_CONNECT = re.compile(r"(?i)(odbc_connect=)[^&\n'\"]*")
_QUERY = re.compile(rf"(?i)([?&;][^=&;?\s]*(?:{_NAMES})[^=&;?\s]*=)(?!\*\*\*)[^&;\s'\"]*")
_PLAIN = re.compile(r"(?i)\b(pwd|passwd|password)(\s*=\s*)(?!\*\*\*)[^&;,\s'\"]+")
SHORTEST = 4
"""Characters of a password that is looked for in any text; a shorter one is a part of too many words."""


def public(text: str) -> str:
    """An address, or a text with addresses, without users, passwords and tokens."""
    for secret in _known():
        if secret in text:
            shown = _without(secret) if "://" in secret else secret  # of an address, the place stays
            text = text.replace(secret, "***" if shown == secret else shown)
    return _without(text)


def _without(text: str) -> str:
    text = _CONNECT.sub(r"\1***", _USER.sub("://***@", text))
    return _PLAIN.sub(r"\1\2***", _QUERY.sub(r"\1***", text))


def short(reason: BaseException) -> str:
    """The message on one line without passwords, at most 500 characters."""
    return public(" ".join(f"{type(reason).__name__}: {reason}".split()))[:500]


def conceal(text: str) -> str:
    """The text, or ``${secret:NAME}`` for an address with a secret, which `resolve_secrets` makes the address again.

    The name is made of what may be shown: it gives nothing away, and stays the same when the password changes.
    """
    shown = _without(text)
    if shown == text or text.startswith("${secret:"):
        return text
    name = blake2b(shown.encode(), digest_size=6).hexdigest()
    while os.environ.get(VARIABLE + name, text) != text:  # the same place with another password
        name += "x"
    os.environ[VARIABLE + name] = text
    return f"${{secret:{name}}}"


def concealed(node: Any) -> Any:
    """Plain values, however nested, with `conceal` applied to every text."""
    if isinstance(node, dict):
        return {key: concealed(value) for key, value in node.items()}
    if isinstance(node, list):
        return [concealed(value) for value in node]
    return conceal(node) if isinstance(node, str) else node


def conceal_config(config: DictConfig | ListConfig) -> None:
    """`conceal` every text of a configuration, in place; what is interpolated is concealed where it is resolved."""
    with read_write(config), open_dict(config):
        for key in list(config) if isinstance(config, DictConfig) else range(len(config)):
            child = config._get_node(key)
            if isinstance(child, DictConfig | ListConfig) and not (child._is_none() or child._is_missing()):
                if not child._is_interpolation():
                    conceal_config(child)
            elif child is not None and isinstance(child._value(), str):  # type: ignore[union-attr]
                text = child._value()  # type: ignore[union-attr]
                if (hidden := conceal(text)) != text:
                    config[key] = hidden


def public_values(node: Any) -> Any:
    """Plain values, however nested, with `public` applied to every text."""
    if isinstance(node, dict):
        return {key: public_values(value) for key, value in node.items()}
    if isinstance(node, list):
        return [public_values(value) for value in node]
    return public(node) if isinstance(node, str) else node


def resolve_secrets() -> None:
    """Let OmegaConf resolve ``${secret:NAME}``."""
    OmegaConf.register_new_resolver("secret", _reveal, replace=True)


def _reveal(name: str, *, _root_: DictConfig) -> str:
    raw = os.environ.get(VARIABLE + name)
    if raw is None:
        raise ValueError(
            f"the environment lacks {VARIABLE}{name}, by which a sweep passes on an address with a password"
        )
    if "${" not in raw:
        return raw
    node = OmegaConf.create({"address": raw})
    node._set_parent(_root_)
    return str(node.address)


class PublicFormatter(logging.Formatter):
    """Lines of a log without secrets, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The line as `public`."""
        return public(super().format(record))


def _known() -> list[str]:
    raw = tuple(value for name, value in os.environ.items() if name.startswith(VARIABLE))
    return sorted({part for value in raw for part in _parts(value)}, key=len, reverse=True) if raw else []


@cache
def _parts(address: str) -> frozenset[str]:
    """What is secret in an address, in every way that it may be written."""
    found = {address, *_secrets_in(address)}
    found |= {unquote_plus(secret) for secret in found}
    found |= {form(secret) for secret in found for form in (quote, quote_plus, _quote_all)}
    return frozenset(secret for secret in found if len(secret) >= SHORTEST)


def _secrets_in(address: str) -> Iterator[str]:
    for userinfo in re.findall(r"://(\S*)@", address):
        yield userinfo.partition(":")[2] or userinfo
    yield from re.findall(rf"(?i)[?&;][^=&;\s]*(?:{_NAMES})[^=&;\s]*=([^&;\s]*)", address)
    for connect in re.findall(r"(?i)odbc_connect=([^&\n'\"]*)", address):
        yield connect
        yield from re.findall(r"(?i)(?:pwd|password)=([^;&]+)", unquote_plus(connect))


def _quote_all(text: str) -> str:
    return quote(text, safe="")
