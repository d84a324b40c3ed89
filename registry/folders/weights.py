"""Check the numbers of a safetensors file in its bytes, without a library, in one pass."""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass

from registry.errors import FolderError
from registry.folders.safetensors import read_header
from registry.folders.source import Source, open_source
from registry.storage.files import FileInfo

# By dtype: the bytes of a number, and the bits of its exponent, which are all ones in NaN and
# infinity. The exponent is next to the sign bit, so one more than all ones sets the sign.
_MARKS = {
    "F8_E4M3": (1, 0x7F),  # has no infinity
    "F8_E5M2": (1, 0x7C),
    "F16": (2, 0x7C00),
    "BF16": (2, 0x7F80),
    "F32": (4, 0x7F80_0000),
    "F64": (8, 0x7FF0_0000_0000_0000),
}
_CHUNK = 1 << 20
# In LoRA and in bottlenecks, the change of a layer is a product with these.
_LAST_FACTORS = re.compile(r".+\.(?:lora_B(?:\.weight|\.bias)?|adapter_up\.(?:weight|bias))")


@dataclass(frozen=True, slots=True)
class Weights:
    """The result of one pass over a safetensors file.

    Attributes:
        info: The size and the digest of the file.
        changes_nothing: Whether all its adapters multiply by zero, as new ones do.
        not_finite: The name of a tensor with NaN or infinity; None if there is none.
    """

    info: FileInfo
    changes_nothing: bool
    not_finite: str | None

    def require_finite(self, path: Source) -> None:
        """Check that the file at `path` has neither NaN nor infinity.

        Raises:
            FolderError: It does; the message names the tensor.
        """
        if self.not_finite is not None:
            raise FolderError(
                f"{path}: the tensor {self.not_finite!r} holds NaN or infinity; expected finite "
                "weights. The training went astray: take an earlier checkpoint.",
                self.not_finite,
            )


def examine_weights(path: Source) -> Weights:
    """Hash a safetensors file, and check each of its numbers.

    Raises:
        FolderError: It is no sound safetensors file.
        NotAFileError: It is no regular file.
        OSError: It cannot be read.
    """
    tensors = read_header(path)
    digest, zeros, not_finite = hashlib.sha256(), set(), None
    with open_source(path) as stream:
        head = stream.read(8)
        head += stream.read(int.from_bytes(head, "little"))
        digest.update(head)
        size = len(head)
        # By the check of the header, these follow each other without a gap.
        for name, tensor in sorted(tensors.items(), key=lambda item: item[1].start):
            is_zero = True
            for start in range(tensor.start, tensor.end, _CHUNK):
                numbers = stream.read(min(_CHUNK, tensor.end - start))
                digest.update(numbers)
                size += len(numbers)
                if tensor.dtype not in _MARKS:
                    continue
                is_zero = is_zero and _are_zero(numbers, _MARKS[tensor.dtype][0])
                if not_finite is None and not _are_finite(numbers, *_MARKS[tensor.dtype]):
                    not_finite = name
            if is_zero:
                zeros.add(name)
    info = FileInfo(sha256=digest.hexdigest(), size=size)
    return Weights(info, _are_new(tensors, zeros), not_finite)


def _are_new(names: Collection[str], zeros: Collection[str]) -> bool:
    factors = [name for name in names if _LAST_FACTORS.fullmatch(name)]
    return bool(factors) and all(name in zeros for name in factors)


def _are_zero(numbers: bytes, size: int) -> bool:
    # All bytes are zero, except for the signs: the highest bits, as in -0.0.
    last = numbers[size - 1 :: size]
    others = (numbers[place::size] for place in range(size - 1))
    return last.count(0) + last.count(0x80) == len(last) and not any(map(any, others))


def _are_finite(numbers: bytes, size: int, mark: int) -> bool:
    # Only numbers near the largest have the upper ones of these bits; mostly there are none.
    upper, tops = mark >> (8 * (size - 1)), numbers[size - 1 :: size]
    if not any(byte in tops for byte in range(256) if byte & upper == upper):
        return True
    # All numbers are checked at once, as the digits of one large number.
    ones = int.from_bytes((1).to_bytes(size, "little") * (len(numbers) // size), "little")
    lowest = mark & -mark
    carried = (int.from_bytes(numbers, "little") & ones * mark) + ones * lowest
    return not carried & (ones << (8 * size - 1))
