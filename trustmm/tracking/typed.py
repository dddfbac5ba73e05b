"""Addresses with a secret in words of Hydra's command line: concealed within their word, which stays what it was."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import HydraException

from trustmm.tracking.redact import conceal, public


def conceal_words(words: Sequence[str]) -> list[str]:
    """The words as they may be written down and shown in the list of processes."""
    return [conceal_word(word, parse_word(word)) for word in words]


def parse_word(word: str) -> Override | None:
    """A word as an override; None for a flag, and for what Hydra will refuse."""
    if word.startswith("-") or "=" not in word:
        return None
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def conceal_word(word: str, override: Override | None) -> str:
    """The word with each of its addresses concealed; a choice of several stays one.

    Args:
        word: as typed.
        override: what it says, None where it is no override: then it is concealed whole.
    """
    if public(word) == word:
        return word
    if override is None or isinstance(override._value, Glob):
        return conceal(word)
    key, value = override.get_key_element(), override._value
    if isinstance(value, ChoiceSweep):
        choices = ",".join(_spelt(element) for element in value.list)
        choices = choices if value.simple_form else f"choice({choices})"
        shown = f"{key}={f'shuffle({choices})' if value.shuffle else choices}"
    else:
        shown = f"{key}={_spelt(value)}"
    return shown if public(shown) == shown else conceal(word)


def _spelt(value: Any) -> str:
    """A value in Hydra's grammar, its addresses concealed."""
    if isinstance(value, dict):
        pairs = [f"{Override._get_value_element_as_str(key)}:{_spelt(one)}" for key, one in value.items()]
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_spelt, value))}]"
    text = value.text if isinstance(value, QuotedString) else value
    hidden = conceal(text) if isinstance(text, str) else text
    return str(Override._get_value_element_as_str(value)) if hidden == text else str(hidden)
