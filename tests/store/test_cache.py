"""Keys by content, one computation per content, nothing half-written, no pickle."""

import ast
import logging
import os
import stat
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import trustmm
from trustmm.store.cache import Cache, recorded
from trustmm.store.digest import digest
from trustmm.store.files import atomic, locked
from trustmm.store.room import bytes_of, kept

PROPERTY = settings(derandomize=True, deadline=None, max_examples=60, database=None)
ENTRY = {"matrix": np.arange(6.0).reshape(2, 3), "mask": np.array([True, False]), "scalar": np.array(0.5)}
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@PROPERTY
@given(value=PLAIN, other=PLAIN)
def test_digest_tells_values_apart(value: Any, other: Any) -> None:
    assert (digest(value) == digest(other)) == (repr_of(value) == repr_of(other))


def repr_of(value: Any) -> str:
    """A form in which 1, 1.0 and True differ and the order of a mapping does not count."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name!r}:{repr_of(value[name])}" for name in sorted(value)) + "}"
    return "[" + ",".join(map(repr_of, value)) + "]" if isinstance(value, list) else repr(value)


def test_digest_of_arrays_counts_type_shape_order_and_content() -> None:
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    different = [
        base, base.astype(np.float64), base.astype(">f4"), base.reshape(3, 2), base.ravel(), base.T.copy(),
        base[::-1].copy(), base + np.float32(1e-7), base.view(np.int32), base.astype(np.int64), base[:1],
    ]  # fmt: skip
    assert len({digest(array) for array in different}) == len(different) - np.array_equal(base, base + np.float32(1e-7))
    assert digest(base) == digest(base.copy()) == digest(np.asfortranarray(base)) == digest(base.T.copy().T)


def test_digest_of_one_bit_less_differs() -> None:
    base = np.random.default_rng(0).random(1000)
    other = base.copy()
    other[-1] = np.nextafter(other[-1], 2)
    assert digest(base) != digest(other)


def test_digest_keeps_neighbouring_arrays_apart() -> None:
    left, right = np.arange(3), np.arange(3, 7)
    assert digest([left, right]) != digest([np.arange(4), np.arange(4, 7)])
    assert digest([left, right]) != digest([right, left])
    assert digest([[left], right]) != digest([left, [right]])
    assert digest(np.empty((0, 3))) != digest(np.empty((3, 0)))


def test_digest_ignores_the_order_of_a_mapping_and_the_kind_of_a_sequence() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest((1, 2)) == digest([1, 2])
    assert digest([1, 2]) != digest([2, 1])


def test_digest_is_32_hexadecimal_digits_and_the_same_in_every_process() -> None:
    expected = digest({"text": "häh", "array": np.arange(3.0), "none": None})
    value = "{'none': None, 'array': np.arange(3.0), 'text': 'häh'}"
    script = f"import numpy as np, trustmm.store.cache; print(trustmm.store.cache.digest({value}))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert found == expected
    assert len(expected) == 32
    int(expected, 16)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, np.array([object()]), lambda: 0, b"bytes", [np.array(["a", None])]]
)
def test_digest_refuses_what_it_could_only_hash_by_address(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot hash a .* by content"):
        digest(value)


def counted(entry: dict[str, Any]) -> tuple[list[int], Any]:
    calls: list[int] = []

    def compute() -> dict[str, Any]:
        calls.append(1)
        return entry

    return calls, compute


def test_entry_is_computed_once_and_comes_back_as_it_was(tmp_path: Path) -> None:
    calls, compute = counted(ENTRY)
    for _ in range(3):
        found = Cache(tmp_path).arrays("prior", {"k": 1}, compute)
        assert sorted(found) == sorted(ENTRY)
        for name, array in ENTRY.items():
            assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
    assert len(calls) == 1


def test_keys_and_kinds_have_their_own_entries(tmp_path: Path) -> None:
    calls, compute = counted(ENTRY)
    for kind, key in (("prior", {"k": 1}), ("prior", {"k": 2}), ("prior", {"k": 1.0}), ("graph", {"k": 1})):
        Cache(tmp_path).arrays(kind, key, compute)
    assert len(calls) == 4
    assert len(list(tmp_path.glob("*/*.npz"))) == 4


def test_no_folder_computes_every_time_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls, compute = counted(ENTRY)
    for _ in range(2):
        assert Cache(None).arrays("prior", {}, compute) is ENTRY
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == []


def test_log_says_what_was_computed_and_what_was_reused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, compute = counted(ENTRY)
    with caplog.at_level(logging.INFO, logger="trustmm.store.cache"):
        for _ in range(2):
            Cache(tmp_path).arrays("prior", {}, compute)
    assert [record.message.split()[1] for record in caplog.records] == ["computed", "reused"]


def test_failed_computation_leaves_no_entry_and_the_next_one_works(tmp_path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        Cache(tmp_path).arrays("prior", {}, fail)
    assert [path for path in (tmp_path / "prior").iterdir() if path.suffix != ".lock"] == []
    calls, compute = counted(ENTRY)
    Cache(tmp_path).arrays("prior", {}, compute)
    assert len(calls) == 1


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["a", None]), [object()]])
def test_object_arrays_are_refused_and_leave_nothing(array: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot keep 'bad': an array of Python objects would need pickle"):
        Cache(tmp_path).arrays("prior", {}, lambda: {"good": np.zeros(2), "bad": array})
    assert [path for path in (tmp_path / "prior").iterdir() if path.suffix != ".lock"] == []


DAMAGES = ("empty", "truncated", "flipped", "text", "pickle", "nameless")


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if how == "pickle":
        np.savez(path, matrix=np.array([{}], dtype=object))
    elif how == "nameless":
        np.savez(path, matrix=np.arange(5000.0))
    else:
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        path.write_bytes({"empty": b"", "truncated": content[:middle], "flipped": flipped, "text": b"hello"}[how])


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_entry_is_named_in_a_line_set_aside_and_made_anew(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls, compute = counted({"matrix": np.arange(5000.0)})
    Cache(tmp_path).arrays("prior", {}, compute)
    (path,) = tmp_path.glob("prior/*.npz")
    damage(path, how)
    broken = path.read_bytes()
    assert_array_equal(Cache(tmp_path).arrays("prior", {}, compute)["matrix"], np.arange(5000.0))
    assert_array_equal(Cache(tmp_path).arrays("prior", {}, compute)["matrix"], np.arange(5000.0))
    assert len(calls) == 2
    [line] = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(f"the cache entry {path} is damaged (")
    assert "\n" not in line
    assert path.with_name(f"{path.name}.damaged").read_bytes() == broken


def bomb(path: Path, how: str) -> None:
    """A small file that claims 64 GiB, or that unpacks to far more than it is."""
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (8589934592,), }".ljust(117) + "\n"
    lying = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    kinds = {"header": zipfile.ZIP_STORED, "packed": zipfile.ZIP_DEFLATED}
    with zipfile.ZipFile(path, "w", kinds[how]) as archive:
        archive.writestr("about.json.npy", lying)
        if how == "packed":
            with archive.open("matrix.npy", "w", force_zip64=True) as member:
                member.write(bytes(1 << 26))


@pytest.mark.parametrize("how", ["header", "packed"])
def test_entry_that_claims_more_than_the_file_has_takes_no_memory(how: str, tmp_path: Path) -> None:
    calls, compute = counted(ENTRY)
    Cache(tmp_path).arrays("prior", {}, compute)
    (path,) = tmp_path.glob("prior/*.npz")
    bomb(path, how)
    tracemalloc.start()
    Cache(tmp_path).arrays("prior", {}, compute)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(calls) == 2
    assert peak < 1 << 24


def test_entry_of_another_key_is_named_with_both_values_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls, compute = counted(ENTRY)
    cache = Cache(tmp_path)
    cache.arrays("prior", {"options": {"k": 1}, "code": "a"}, compute)
    wrong, right = (cache.path("prior", {"options": {"k": k}, "code": "a"}) for k in (1, 2))
    wrong.rename(right)
    cache.arrays("prior", {"options": {"k": 2}, "code": "a"}, compute)
    assert len(calls) == 2
    assert "belongs to another key (option k: 1, now 2)" in caplog.text


def test_entry_is_found_again_when_a_class_moves(tmp_path: Path) -> None:
    calls, compute = counted(ENTRY)
    for target in (
        "trustmm.prior.lightgcn.LightGCNPrior",
        "trustmm.prior.moved.LightGCNPrior",
        "trustmm.prior.x.Other",
    ):
        Cache(tmp_path).arrays("prior", {"options": [{"_target_": target}]}, compute)
    assert len(calls) == 2


def test_every_entry_says_who_computed_it_and_the_cache_whose_it_gave(tmp_path: Path) -> None:
    _, compute = counted(ENTRY)
    Cache(tmp_path, environment={"blas": "Haswell"}).arrays("prior", {"k": 1}, compute)
    here = Cache(tmp_path, environment={"blas": "SkylakeX"})
    here.arrays("prior", {"k": 1}, compute)
    here.arrays("rectified", {"k": 2}, compute)
    told = [(given.kind, given.environment["blas"]) for given in here.handed]
    assert told == [("prior", "Haswell"), ("rectified", "SkylakeX")]
    assert [given.key for given in here.handed] == [path.stem for path in sorted(tmp_path.glob("*/*.npz"))]


def fill(cache: Cache, *numbers: int) -> None:
    for number in numbers:
        cache.arrays("prior", {"k": number}, lambda: {"matrix": np.zeros(125_000)})  # 1 MB


def test_least_recently_used_entries_go_when_the_limit_is_reached(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=3_500_000)
    fill(cache, 0, 1, 2)
    for age, number in enumerate((1, 2, 0)):
        os.utime(cache.path("prior", {"k": number}), (age, age))
    fill(cache, 1)  # used again
    fill(cache, 3)
    left = {number for number in range(4) if cache.path("prior", {"k": number}).exists()}
    assert left == {0, 1, 3}
    fill(Cache(tmp_path, limit=1), 4)
    assert [file.path for file in kept(tmp_path)] == [cache.path("prior", {"k": 4})]


def test_entry_that_is_removed_while_others_want_it_is_computed_again(tmp_path: Path) -> None:
    crowd = [Cache(tmp_path, limit=2_500_000) for _ in range(4)]
    workers = [threading.Thread(target=fill, args=(cache, *range(6), *range(6))) for cache in crowd]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert all(len(cache.handed) == 12 for cache in crowd)
    assert sum(file.size for file in kept(tmp_path)) <= 2_500_000


@pytest.mark.parametrize(
    ("typed", "size"), [("20 GB", 20 * 10**9), (2, 2 * 10**9), (0.5, 5 * 10**8), ("300mb", 3 * 10**8), (None, None)]
)
def test_limit_is_a_size_with_a_unit_or_gigabytes(typed: object, size: int | None) -> None:
    assert bytes_of("cache_limit", typed) == size


@pytest.mark.parametrize("typed", ["much", "-1 GB", True, "20 GiB", "1e3"])
def test_wrong_limit_is_named(typed: object) -> None:
    with pytest.raises(ValueError, match="cache_limit must be a size such as '20 GB'"):
        bytes_of("cache_limit", typed)


SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from trustmm.store.cache import Cache
folder, start = Path(sys.argv[1]), Path(sys.argv[2])
def compute():
    with (folder / "calls").open("a") as handle:
        handle.write("x")
    time.sleep(0.3)
    return {"matrix": np.arange(1000.0)}
print("ready", flush=True)
while not start.exists():
    time.sleep(0.01)
found = Cache(folder).arrays("prior", {"k": 1}, compute)
assert found["matrix"].sum() == 499500
"""


def test_parallel_processes_compute_once(tmp_path: Path) -> None:
    start = tmp_path / "start"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(start)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        start.touch()
        assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            worker.stdout.close()
    assert (tmp_path / "calls").read_text() == "x"


def test_atomic_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result.json"
    with atomic(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == target.suffix
        temporary.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    with pytest.raises(IsADirectoryError), atomic(target) as temporary:
        target.parent.write_text("a folder is no file")
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_who_waits_for_a_lock_is_told_who_has_it(tmp_path: Path) -> None:
    told, waits = [], threading.Event()

    def on_wait(holder: str) -> None:
        told.append(holder)
        waits.set()

    def second() -> None:
        with locked(tmp_path / "lock", holder="second", on_wait=on_wait):
            told.append("mine")

    with locked(tmp_path / "lock", holder="pid 7 on here"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(30)
        assert told == ["pid 7 on here"]
    thread.join(30)
    assert told == ["pid 7 on here", "mine"]


def test_an_entry_that_was_begun_elsewhere_names_both_environments_to_whoever_takes_it(tmp_path: Path) -> None:
    _, compute = counted(ENTRY)
    there, here = {"blas": "Haswell"}, {"blas": "SkylakeX"}
    first = Cache(tmp_path, environment=here)
    first.arrays("prior", {"k": 1}, compute, before=lambda: [there])
    again = Cache(tmp_path, environment={"blas": "Zen"})
    again.arrays("prior", {"k": 1}, compute)
    again.arrays("prior", {"k": 1}, compute)
    assert [entry["environment"] for entry in recorded(first.handed)] == [here, there]
    assert recorded(again.handed) == recorded(first.handed)


def test_every_cache_that_the_program_opens_says_who_computes() -> None:
    opened = [
        (path.name, ast.unparse(node))
        for path in Path(trustmm.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Cache" and ast.unparse(node) != "Cache(None)"
    ]
    assert opened
    assert [call for call in opened if "environment" not in call[1]] == []
