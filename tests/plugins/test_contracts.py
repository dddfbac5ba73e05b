"""The contracts of `trustmm.testing`, kept by every option of this package itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from trustmm import testing
from trustmm.corruption.kinds import FILLS, MOVES
from trustmm.dataset.data import Dataset
from trustmm.options.config import config_folder

CONTRACTS: dict[str, Any] = {
    "backbone": testing.BackboneContract,
    "rectifier": testing.RectifierContract,
    "edit": testing.EditContract,
    "corruption": testing.CorruptionContract,
}
OVERRIDES = {"rectifier": ("rectifier.k=5",), "edit": ("edit.k_user=5", "edit.k_item=5")}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


def names_of(contract: type) -> list[str]:
    return [name for name in dir(contract) if name.startswith("test_")]


CASES = [
    pytest.param(group, option, test, id=f"{group}-{option}-{test}")
    for group, contract in CONTRACTS.items()
    for option in options(group)
    for test in names_of(contract)
]


@pytest.mark.parametrize(("group", "option", "test"), CASES)
def test_every_option_keeps_the_contract_of_its_group(group: str, option: str, test: str) -> None:
    more = () if option == "none" and group == "edit" else OVERRIDES.get(group, ())
    contract = type("Ours", (CONTRACTS[group],), {"option": f"{group}={option}", "overrides": more})
    getattr(contract(), test)()


@pytest.mark.parametrize("kind", [*MOVES, *FILLS])
@pytest.mark.parametrize("test", names_of(testing.KindContract))
def test_every_kind_of_damage_keeps_its_contract(kind: str, test: str) -> None:
    getattr(type("Ours", (testing.KindContract,), {"kind": kind})(), test)()


@pytest.mark.parametrize("test", names_of(testing.DatasetContract))
def test_the_embedded_data_keep_the_contract(test: str) -> None:
    small = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=500")
    contract = type("Ours", (testing.DatasetContract,), {"option": "dataset=synthetic", "overrides": small})
    getattr(contract(), test)()


def by_threads() -> Dataset:
    """Features that differ with the number of BLAS threads, as those of a matrix product may."""
    threads = max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
    users, items = np.divmod(np.arange(12), 4)
    return Dataset.from_arrays(users, items, features={"visual": np.full((4, 1), threads)}, split=np.arange(12) % 3)


def test_data_that_depend_on_the_threads_break_the_contract_unless_a_recipe_stands_for_them() -> None:
    class Computed(testing.DatasetContract):
        def read_data(self) -> Any:
            return by_threads

    class Drawn(testing.DatasetContract):
        def read_data(self) -> Any:
            return lambda: replace(by_threads(), recipe={"seed": 0})

    with pytest.raises(AssertionError, match="give them a recipe"):
        Computed().test_it_reads_the_same_data_whatever_the_number_of_threads()
    Drawn().test_it_reads_the_same_data_whatever_the_number_of_threads()


def test_there_is_a_contract_for_every_group_that_can_be_extended(project: Path) -> None:
    page = (project / "docs" / "adding.md").read_text(encoding="utf-8")
    assert all(name in page for name in vars(testing) if name.endswith("Contract") and name != "StageContract")
