import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import FolderError, StorageError
from registry.folders.bounded import DEEPEST, parse_json, read_bytes, shown

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(VALUES)
def test_json_of_a_usual_size_is_read_as_json_reads_it(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ('{"a": 1, "b": 2, "a": 3}', "holds the key 'a' twice"),
        ("[" * 70 + "]" * 70, "nested more than 64 deep"),
        ("[" * 200_000, "nested more than 64 deep"),
        ('{"a": ' + "1" * 500 + "}", "a number of 500 characters"),
        ("-" + "1" * 5000, "a number of 5001 characters"),
        ("0." + "1" * 500, "a number of 502 characters"),
        ("1e400", "1e400, which is too large"),
        ("NaN", "NaN, which is not a number of JSON"),
        ("[Infinity]", "Infinity, which is not a number of JSON"),
    ],
)
def test_json_beyond_a_limit_is_refused(content: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_json(content.encode())


def test_json_as_deep_as_the_limit_is_read() -> None:
    assert parse_json(b"[" * DEEPEST + b"]" * DEEPEST)


def test_many_keys_of_which_one_is_there_twice_are_refused_at_once() -> None:
    content = json.dumps({f"key {number}": 0 for number in range(100_000)})
    started = time.process_time()
    with pytest.raises(ValueError, match="the key 'key 7' twice"):
        parse_json(f'{content[:-1]}, "key 7": 0}}'.encode())
    assert time.process_time() - started < 5


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(11))
    assert read_bytes(tmp_path / "x", 11) == bytes(11)
    with pytest.raises(FolderError, match="larger than 10 bytes"):
        read_bytes(tmp_path / "x", 10)


def test_a_pipe_a_folder_and_a_device_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(StorageError, match="expected a file, found a"):
            read_bytes(path, 10)


def test_a_value_in_a_message_is_short() -> None:
    assert shown("name") == "'name'"
    assert len(shown([{"a": "x" * 10**6}] * 10**6)) < 1000
