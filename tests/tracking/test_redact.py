"""Secrets in addresses: hidden wherever they are shown, and themselves again where they are resolved."""

import logging
import os

import pytest
from omegaconf import OmegaConf

from trustmm.tracking.redact import (
    VARIABLE,
    PublicFormatter,
    conceal,
    conceal_config,
    concealed,
    public,
    resolve_secrets,
    short,
)

SECRET = "s3cr3t-PW"
ADDRESSES = [
    f"postgresql://user:{SECRET}@host/db",
    f"postgresql://user:{SECRET}/with@host/db",
    f"https://{SECRET}@host/path",
    f"postgresql://host/db?user=me&password={SECRET}&x=1",
    f"https://host/api?token={SECRET}",
    f"https://host/api?x=1&access_token={SECRET}",
    f"https://host/api?api_key={SECRET}&y=2",
    f"mssql+pyodbc:///?odbc_connect=DRIVER%3DODBC%3BSERVER%3Dh%3BPWD%3D{SECRET}",
    f"mssql+pyodbc:///?odbc_connect=DRIVER={{ODBC Driver 18}};SERVER=h;UID=u;PWD={SECRET}",
    f"https://host/x?sig={SECRET}",
    f"mysql://host/db?ssl_key=a&passwd={SECRET}",
]


@pytest.fixture(autouse=True)
def _own_environment():
    yield
    for name in [name for name in os.environ if name.startswith(VARIABLE)]:
        del os.environ[name]


@pytest.mark.parametrize("address", ADDRESSES)
def test_secret_is_hidden_and_comes_back_where_it_is_resolved(address: str) -> None:
    assert SECRET not in public(address)
    hidden = conceal(address)
    assert SECRET not in hidden
    assert conceal(hidden) == hidden
    resolve_secrets()
    assert OmegaConf.create({"uri": hidden}).uri == address
    assert [value for name, value in os.environ.items() if name.startswith(VARIABLE)] == [address]


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_known_secret_is_hidden_in_any_text(address: str) -> None:
    conceal(address)
    if f"{SECRET}/" in address:
        return  # the slash is part of this one
    for text in (f"login with {SECRET} failed", f"{SECRET}", f"b'{SECRET}'", f"x{address}y"):
        assert SECRET not in public(text)
    assert SECRET not in short(ValueError(f"no {SECRET}"))
    record = logging.LogRecord("x", 40, "f", 1, "failed with %s", (SECRET,), None)
    assert SECRET not in PublicFormatter("%(message)s").format(record)


@pytest.mark.parametrize("address", [address for address in ADDRESSES if "host/" in address])
def test_the_place_of_an_address_with_a_secret_is_still_told(address: str) -> None:
    conceal(address)
    assert "host/" in public(f"cannot use {address}: refused")


@pytest.mark.parametrize(
    "text", ["sqlite:///mlflow.db", "sqlite:////home/me@work/a.db", "backbone=bpr", "http://h:5000"]
)
def test_what_holds_no_secret_stays(text: str) -> None:
    assert conceal(text) == public(text) == text


def test_a_new_password_keeps_the_name_and_two_at_once_do_not_share_it() -> None:
    one, two = (f"postgresql://u:{password}@h/d" for password in ("first-one", "second-one"))
    first = conceal(one)
    assert conceal(two) != first
    del os.environ[VARIABLE + first[9:-1]]
    assert conceal(two) == first


def test_a_configuration_is_concealed_in_place_with_its_lists_and_nodes() -> None:
    config = OmegaConf.create({"a": {"uri": ADDRESSES[0]}, "b": [ADDRESSES[4], 1], "c": "${a.uri}", "d": None})
    OmegaConf.set_readonly(config, True)
    conceal_config(config)
    assert SECRET not in OmegaConf.to_yaml(config)
    resolve_secrets()
    assert config.c == ADDRESSES[0]
    assert SECRET not in str(concealed(OmegaConf.to_container(config, resolve=True)))


def test_a_secret_with_an_interpolation_is_resolved_where_it_stands() -> None:
    config = OmegaConf.create({"uri": "postgresql://u:hunter22@${host}/d", "host": "lab"})
    conceal_config(config)
    assert "hunter22" not in OmegaConf.to_yaml(config)
    resolve_secrets()
    assert config.uri == "postgresql://u:hunter22@lab/d"
