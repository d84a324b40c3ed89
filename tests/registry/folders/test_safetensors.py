import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.errors import FolderError
from registry.folders.safetensors import MAX_HEADER_BYTES, TensorInfo, read_header


def write(path: Path, header: object, data: bytes) -> Path:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)
    return path


def tensor(dtype: Any, shape: Any, start: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_a_header_is_read_with_dtypes_shapes_and_offsets(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b": tensor("BF16", [3], 24, 30),
        "a": tensor("F32", [2, 3], 0, 24),
        "scalar": tensor("U8", [], 30, 31),
        "empty": tensor("F32", [0, 5], 31, 31),
    }
    assert read_header(write(tmp_path / "x.safetensors", header, b"\0" * 31)) == {
        "b": TensorInfo("BF16", (3,), 24, 30),
        "a": TensorInfo("F32", (2, 3), 0, 24),
        "scalar": TensorInfo("U8", (), 30, 31),
        "empty": TensorInfo("F32", (0, 5), 31, 31),
    }


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"a":1,"a":1}', "the key 'a' twice"),
        (b"[" * 100_000, "nested more than 64 deep"),
        ({"__metadata__": {"a": 1}}, "not an object of strings"),
        ({"a": {}}, "'a' needs a dtype, a shape and two data_offsets"),
        ({"a": tensor("F32", [1], 0, 4) | {"x": 1}}, "unknown field 'x'"),
        ({"a": tensor("F99", [1], 0, 4)}, "unknown dtype 'F99'"),
        ({"a": tensor("F32", [-1], 0, 4)}, "not a whole number"),
        ({"a": tensor("F32", [True], 0, 4)}, "not a whole number"),
        ({"a": tensor("F32", [1.0], 0, 4)}, "not a whole number"),
        ({"a": tensor("F32", [2], 0, 4)}, r"needs 8 bytes for F32 \[2\], got 4"),
        ({"a": tensor("F32", [2**40, 2**40], 0, 4)}, "needs .* bytes"),
        ({"a": tensor("F32", [1], 4, 8)}, "leaves a hole"),
        ({"a": tensor("F16", [2], 0, 4), "b": tensor("F16", [1], 2, 4)}, "overlaps"),
        ({"a": tensor("U8", [3], 0, 3)}, "end at byte 3 of 4"),
        ({"a": tensor("U8", [5], 0, 5)}, "end at byte 5 of 4"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused(
    tmp_path: Path, header: object, problem: str
) -> None:
    path = write(tmp_path / "x.safetensors", header, b"\0" * 4)
    with pytest.raises(FolderError, match=problem) as caught:
        read_header(path)
    assert caught.value.subject == path


def test_a_header_longer_than_the_file_or_the_bound_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for content in (b"", b"\1", b"\xff" * 8, (100).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with pytest.raises(FolderError, match="beyond the file's"):
            read_header(path)
    with path.open("wb") as stream:
        stream.write((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
        stream.truncate(MAX_HEADER_BYTES + 100)
    with pytest.raises(FolderError, match=f"more than {MAX_HEADER_BYTES}"):
        read_header(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(["a", "b", "__metadata__"]), max_size=3),
    value=st.recursive(
        st.none() | st.integers(-5, 9) | st.floats() | st.sampled_from(["F32", "x"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets"]), inner)
        ),
        max_leaves=8,
    ),
)
def test_a_random_header_raises_nothing_but_folder_error(
    tmp_path: Path, names: list[str], value: object
) -> None:
    path = write(tmp_path / "x.safetensors", dict.fromkeys(names, value), b"\0" * 4)
    with pytest.raises(FolderError):
        read_header(path)


@pytest.mark.parametrize(("dtype", "size"), [("C64", 8), ("F8_E4M3FNUZ", 1)])
def test_a_type_that_is_not_read_is_named_as_that(tmp_path: Path, dtype: str, size: int) -> None:
    header = json.dumps({"a": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    with pytest.raises(FolderError, match=f"type {dtype}, which hubkit does not support"):
        read_header(path)
