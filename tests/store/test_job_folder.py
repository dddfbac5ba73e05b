"""A result is what its schema says, when it is written and when it is read."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import make_summary
from trustmm.store.job_folder import RESULT, SCHEMA, check_summary, load_summary, read_result, write_result

SUMMARY = make_summary(0.1, {})


@pytest.mark.parametrize("key", SCHEMA)
@pytest.mark.parametrize("value", ["absent", None, {1}])
def test_result_without_a_part_is_not_written(key: str, value: Any, tmp_path: Path) -> None:
    wrong = {name: part for name, part in SUMMARY.items() if name != key or value != "absent"}
    wrong |= {key: value} if value != "absent" else {}
    with pytest.raises(ValueError, match=f"{key} must be a "):
        write_result(tmp_path / "job", wrong, {})
    assert not (tmp_path / "job" / RESULT).exists()


def test_time_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="isoformat"):
        check_summary(SUMMARY | {"ended": "yesterday"})


def test_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_result(tmp_path, SUMMARY, {})
    found = read_result(tmp_path, SUMMARY)
    assert found is not None
    assert found.summary == json.loads(json.dumps(SUMMARY))


def test_result_that_is_refused_is_named_with_what_was_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_result(tmp_path, SUMMARY, {})
    path = tmp_path / RESULT
    assert read_result(tmp_path, {"job_id": "another"}) is None
    assert f"{path} belongs to another job: {SUMMARY['job_id']}, not another;" in caplog.text
    assert read_result(tmp_path, SUMMARY | {"job_id": "another", "dataset_digest": "747bc6"}) is None
    assert f"not another (data: {SUMMARY['dataset_digest']}, now 747bc6);" in caplog.text
    for text, why in (
        ("{", "Expecting"),
        ("[]", "expected a mapping, got list"),
        ('{"job_id": "x"}', "options must be"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=re.escape(f"{path} is not the result of a job: {why}")):
            load_summary(path)
        with caplog.at_level(logging.WARNING):
            assert read_result(tmp_path, SUMMARY) is None
        assert str(path) in caplog.text
        assert not path.exists()
