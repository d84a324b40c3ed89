"""The child process that reads a pickle: ``unpickle.py SOURCE TARGET METADATA SECONDS``.

It writes the tensors of SOURCE to TARGET as safetensors, with METADATA (a JSON object of texts) in
the header, within SECONDS of processor time and in bounds of memory, and prints nothing. What it
refuses, it prints as a JSON object with the key "problem".

It runs as a script, without hubkit, so that a pickle that takes too much memory or time takes this
process with it, and nothing else.
"""

import errno
import json
import math
import os
import re
import sys
import time
import warnings
import zipfile

_MEBIBYTE = 1024 * 1024
_COPIES = 8
"""The memory that a sound pickle may take, as a multiple of its file: tensors, copies, the new
file."""
# How torch names what a pickle wants to call or to make.
_CODE = re.compile(r"(?:GLOBAL|unrecognized function|object of type) ([\w.]+)")
_NO_MEMORY = re.compile(r"memory|alloc", re.IGNORECASE)


class RefusedError(Exception):
    """The file is not read; `problem` and `found` say why."""

    def __init__(self, problem: str, found: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.found = found


def unpickle(source: str, target: str, metadata: dict[str, str]) -> None:
    """Write the tensors of a pickle as safetensors.

    Raises:
        RefusedError: It needs code to load, is damaged, holds something else, or is too large.
    """
    size = os.path.getsize(source)
    _require_stored(source, size)
    import torch
    from safetensors.torch import save

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it then refuses
            tensors = torch.load(source, map_location="cpu", weights_only=True)
    except MemoryError:
        raise RefusedError("large") from None
    # The unpickler meets damaged bytes with whatever its own code stumbles over.
    except Exception as error:
        if code := _CODE.search(str(error)):
            raise RefusedError("code", code[1]) from error
        if isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)):
            raise RefusedError("large") from error
        raise RefusedError("damaged") from error
    if not isinstance(tensors, dict):
        raise RefusedError("other", type(tensors).__name__)
    strange = [
        one
        for pair in tensors.items()
        for one, kind in zip(pair, (str, torch.Tensor), strict=True)
        if not isinstance(one, kind)
    ]
    if strange:
        raise RefusedError("other", f"a dict with a {type(strange[0]).__name__} inside")
    if not tensors:
        raise RefusedError("empty")
    # A tensor may claim any number of elements of a storage that has one.
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > _COPIES * size + _MEBIBYTE:
        raise RefusedError("claims", str(claimed))
    # Copied, because tensors that share memory are refused, and pickles may hold such.
    separate = {key: tensor.clone().contiguous() for key, tensor in sorted(tensors.items())}
    with open(target, "wb") as stream:
        stream.write(_in_order(save(separate, metadata=metadata)))


def _require_stored(source: str, size: int) -> None:
    """Refuse an archive of compressed or overlapping files: torch.save writes none."""
    if not zipfile.is_zipfile(source):
        return  # of before torch 1.6
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise RefusedError("damaged") from error
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > size:
        raise RefusedError("claims", str(unpacked))


def _limit(source: str, seconds: int) -> None:
    """Limit memory and processor time from here on, where the system can."""
    size = os.path.getsize(source)
    try:
        import resource
    except ImportError:  # Windows
        return
    end = math.ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (end, end))
    try:
        with open("/proc/self/statm") as statm:
            taken = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:  # only Linux tells, and limits, what is asked for
        return
    most = taken + _COPIES * size + 256 * _MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _in_order(content: bytes) -> bytes:
    """The same safetensors with a header in one order: the library writes its metadata in any."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # tensors start at a multiple of 8
    return len(encoded).to_bytes(8, "little") + encoded + content[end:]


if __name__ == "__main__":
    import safetensors.torch  # noqa: F401 - takes its memory before that is limited

    _limit(sys.argv[1], int(sys.argv[4]))
    try:
        unpickle(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
    except MemoryError:
        print(json.dumps({"problem": "large", "found": ""}))
    except OSError as error:  # such as a full disk
        problem = "large" if error.errno == errno.ENOMEM else "system"
        print(json.dumps({"problem": problem, "found": str(error.errno)}))
    except RefusedError as refused:
        print(json.dumps({"problem": refused.problem, "found": refused.found}))
