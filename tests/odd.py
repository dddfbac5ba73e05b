"""Folders with names that a path, an address or Hydra's grammar may stumble over."""

import shlex
from pathlib import Path

import pytest

from trustmm.options.explain import in_quotes

SIGNS = ("a b", "a?b", "50%", "%41", "a#b", "a;b", "a,b", "it's", 'say "x"', "größe", "a&b=c", "a:b", "a\\b")
ALL_SIGNS = "a b?%41#;,'\"ö&=:\\x"


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """For a module or a folder of tests that imports it: its temporary folder has all these signs in its name."""
    odd = tmp_path / ALL_SIGNS
    odd.mkdir()
    return odd


def typed(key: str, value: object) -> str:
    """The word that a message tells to type, as the shell hands it on."""
    (word,) = shlex.split(in_quotes(f"{key}={value}").partition(": ")[2])
    return word
