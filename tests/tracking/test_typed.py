"""Passwords in words of the command line, wherever Hydra's grammar lets them stand."""

import os

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import OmegaConf

from trustmm.tracking.redact import VARIABLE, resolve_secrets
from trustmm.tracking.typed import conceal_words

URI = "http://u:s3cr3t@h/?token=s3cr3t"
WORDS = [
    (f"tracking.uri='{URI}'", {"": URI}),
    (f"+a={{uri:'{URI}',n:1}}", {"": {"uri": URI, "n": 1}}),
    (f"+a=[1,'{URI}']", {"": [1, URI]}),
    (f"+a={{b:[{{c:'{URI}'}}]}}", {"": {"b": [{"c": URI}]}}),
    (f"+a='{URI}',x", [URI, "x"]),
    (f"+a='{URI}',null,'a b'", [URI, None, "a b"]),
    (f"+a=choice('{URI}',[2,'{URI}'],1.5,true)", [URI, [2, URI], 1.5, True]),
    (f"+a=shuffle('{URI}','{URI}')", [URI, URI]),
    (f"+a=sort('{URI}',b)", ["b", URI]),
    (f"+a=tag(t,choice('{URI}',2))", [URI, 2]),
]


@pytest.fixture(autouse=True)
def _own_environment():
    yield
    for name in [name for name in os.environ if name.startswith(VARIABLE)]:
        del os.environ[name]


@pytest.mark.parametrize(("word", "meant"), WORDS)
def test_a_word_says_the_same_without_its_secret(word: str, meant: object) -> None:
    resolve_secrets()
    (hidden,) = conceal_words([word])
    assert "s3cr3t" not in hidden
    override = OverridesParser.create().parse_override(hidden)
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    values = [value.text if isinstance(value, QuotedString) else value for value in values]
    found = OmegaConf.to_container(OmegaConf.create({"values": values}), resolve=True)["values"]
    assert found == (list(meant.values()) if isinstance(meant, dict) else meant)


@pytest.mark.parametrize("word", [f"--config-dir={URI}", f"a={URI}/[", f"+a=glob({URI})", f"+a={{'{URI}':1}}"])
def test_what_is_no_override_is_concealed_whole(word: str) -> None:
    assert conceal_words([word])[0].startswith("${secret:")


def test_other_words_stay_as_they_were_typed() -> None:
    words = ["-m", "seed=0,1", "+a={b: 1}", "x='a b'", "tracking.uri=sqlite:////home/me@work/a.db"]
    assert conceal_words(words) == words
