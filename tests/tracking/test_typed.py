"""Passwords in words of the command line, wherever Hydra's grammar lets them stand."""

import os

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
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
    (f"+a=choice('{URI}',[2,'{URI}'],1.5,true,null)", [URI, [2, URI], 1.5, True, None]),
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
    found = OmegaConf.to_container(OmegaConf.create({"values": values}), resolve=True)["values"]
    assert found == (list(meant.values()) if isinstance(meant, dict) else meant)


@pytest.mark.parametrize("word", [f"--config-dir={URI}", f"a={URI}/[", f"+a=glob({URI})"])
def test_what_is_no_override_is_concealed_whole(word: str) -> None:
    assert conceal_words([word])[0].startswith("${secret:")


def test_a_secret_that_is_no_value_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="an address with a password must be a value") as caught:
        conceal_words([f"+a={{'{URI}':1}}"])
    assert "s3cr3t" not in str(caught.value)


def test_other_words_stay_as_they_were_typed() -> None:
    words = ["-m", "seed=0,1", "+a={b: 1}", "x='a b'", "tracking.uri=sqlite:////home/me@work/a.db"]
    assert conceal_words(words) == words
