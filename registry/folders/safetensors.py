"""The header of a safetensors file, read and checked without loading a tensor.

The format (https://github.com/huggingface/safetensors, "Format"): 8 bytes, the header's length as
an unsigned little-endian integer; that many bytes of JSON; then the tensors' bytes, which the
header's offsets must cover from first to last without holes or overlap.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.errors import FolderError
from registry.folders.bounded import parse_json, shown
from registry.folders.source import Source, open_source

MAX_HEADER_BYTES = 16 * 1024 * 1024
"""The longest header, enough for about 150,000 tensors."""

_LARGEST = 2**63 - 1
_MOST_DIMENSIONS = 32

_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
}
# These types are in the format, too, but in no adapter that a library can use.
_NOT_READ = {
    *("C64", "F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"),
}
_FLOATS = {"F8_E4M3", "F8_E5M2", "F16", "BF16", "F32", "F64"}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """The entry of a tensor in a header.

    Attributes:
        dtype: In the format's spelling, for example ``F32``.
        shape: Its dimensions.
        start: Offset of its first byte, counted from the end of the header.
        end: Offset after its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Source) -> dict[str, TensorInfo]:
    """Return the tensors of a safetensors file by name, without reading a byte of them.

    Raises:
        FolderError: The file breaks a rule of the format; the message says which.
        OSError: The file cannot be read.
    """
    with open_source(path, buffer=1) as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        prefix = stream.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > size - 8:
            raise _broken(path, f"its header would end beyond the file's {size} bytes")
        if length > MAX_HEADER_BYTES:
            raise _broken(path, f"its header has {length} bytes, more than {MAX_HEADER_BYTES}")
        header = stream.read(length)
    try:
        content = parse_json(header)
    except ValueError as error:
        raise _broken(path, f"its header {error}") from error
    if not isinstance(content, dict):
        raise _broken(path, "its header is not a JSON object")
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _broken(path, "its __metadata__ is not an object of strings")
    tensors = {name: _tensor(path, name, value) for name, value in content.items()}
    _require_full_cover(path, tensors, size - 8 - length)
    return tensors


def require_weights(tensors: Mapping[str, TensorInfo], path: Source) -> None:
    """Check that a file has tensors, and that all of them are weights: numbers, and not empty.

    Raises:
        FolderError: There is no tensor, or one has no numbers, or others than floating-point ones.
    """
    if not tensors:
        raise FolderError(f"{path} holds no tensor. Save the adapter again.", path)
    require_numbers(tensors, path)
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS:
            raise FolderError(
                f"{path}: the tensor {shown(name)} is of the type {tensor.dtype}; expected "
                "floating-point numbers, such as F32. Save the adapter again.",
                name,
            )


def require_numbers(tensors: Mapping[str, TensorInfo], path: Source) -> None:
    """Check that no tensor is empty, like those that DeepSpeed's ZeRO-3 keeps elsewhere.

    Raises:
        FolderError: One is; the message names it.
    """
    empty = [name for name, tensor in tensors.items() if 0 in tensor.shape]
    if empty:
        raise FolderError(
            f"{path}: {len(empty)} of {len(tensors)} tensors are empty, such as {shown(empty[0])} "
            f"of the shape {shown(list(tensors[empty[0]].shape))}; expected numbers. They were "
            "saved while they were sharded (DeepSpeed ZeRO-3): gather them, and save again.",
            empty[0],
        )


def _tensor(path: Source, name: str, value: Any) -> TensorInfo:
    tensor = f"tensor {shown(name)}"
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [start, end], **rest}:
            pass
        case _:
            raise _broken(path, f"{tensor} needs a dtype, a shape and two data_offsets")
    if rest:
        raise _broken(path, f"{tensor} has the unknown field {shown(next(iter(rest)))}")
    if dtype in _NOT_READ:
        raise FolderError(
            f"{path}: {tensor} is of the type {dtype}, which hubkit does not support; it reads "
            f"{', '.join(_BITS)}. Save the adapter again in one of these, such as F32.",
            name,
        )
    if dtype not in _BITS:
        raise _broken(path, f"{tensor} has the unknown dtype {shown(dtype)}")
    # bool is a subclass of int, but JSON's true is not a number.
    if not all(type(number) is int and 0 <= number <= _LARGEST for number in (*shape, start, end)):
        raise _broken(
            path, f"{tensor} has a dimension or offset that is not a whole number up to {_LARGEST}"
        )
    if len(shape) > _MOST_DIMENSIONS:
        raise _broken(path, f"{tensor} has {len(shape)} dimensions, more than {_MOST_DIMENSIONS}")
    expected = math.prod(shape) * _BITS[dtype] // 8
    if end - start != expected:
        raise _broken(
            path,
            f"{tensor} needs {shown(expected)} bytes for {dtype} {shown(shape)}, got {end - start}",
        )
    return TensorInfo(dtype, tuple(shape), start, end)


def _require_full_cover(path: Source, tensors: dict[str, TensorInfo], size: int) -> None:
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            problem = "overlaps the one before it" if tensor.start < position else "leaves a hole"
            raise _broken(path, f"tensor {shown(name)} starts at {tensor.start} and {problem}")
        position = tensor.end
    if position != size:
        raise _broken(path, f"its tensors end at byte {position} of {size}")


def _broken(path: Source, problem: str) -> FolderError:
    return FolderError(
        f"{path} is not a sound safetensors file: {problem}. Save the adapter again.", path
    )
