"""No weight is NaN or infinite: looked up in the bytes of a safetensors file, without a library."""

from pathlib import Path

from registry.errors import FolderError
from registry.folders.safetensors import read_header

# By dtype: how many bytes a number has, and the bits that are all ones in what is not finite. They
# are the highest but for the sign, so that one more than all ones carries into the sign.
_MARKS = {
    "F8_E4M3": (1, 0x7F),  # has no infinity
    "F8_E5M2": (1, 0x7C),
    "F16": (2, 0x7C00),
    "BF16": (2, 0x7F80),
    "F32": (4, 0x7F80_0000),
    "F64": (8, 0x7FF0_0000_0000_0000),
}
_CHUNK = 1 << 20


def require_finite(path: Path) -> None:
    """Make sure that a safetensors file holds neither NaN nor infinity.

    Raises:
        FolderError: It does, or is no sound safetensors file; the message names the tensor.
        OSError: It cannot be read.
    """
    tensors = read_header(path)
    with path.open("rb") as stream:
        begin = 8 + int.from_bytes(stream.read(8), "little")
        for name, tensor in tensors.items():
            if tensor.dtype not in _MARKS:
                continue
            stream.seek(begin + tensor.start)
            for start in range(tensor.start, tensor.end, _CHUNK):
                numbers = stream.read(min(_CHUNK, tensor.end - start))
                if not _are_finite(numbers, *_MARKS[tensor.dtype]):
                    raise FolderError(
                        f"{path}: the tensor {name!r} holds NaN or infinity; expected finite "
                        "weights. The training went astray: take an earlier checkpoint.",
                        name,
                    )


def _are_finite(numbers: bytes, size: int, mark: int) -> bool:
    """Tell it of all numbers at once, as the digits of one large number."""
    ones = int.from_bytes((1).to_bytes(size, "little") * (len(numbers) // size), "little")
    lowest = mark & -mark
    carried = (int.from_bytes(numbers, "little") & ones * mark) + ones * lowest
    return not carried & (ones << (8 * size - 1))
