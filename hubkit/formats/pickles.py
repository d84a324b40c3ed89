"""Weights that Python's pickle wrote, as older releases of PEFT and AdapterHub do.

They are read once, as weights only, by a child process with limits of memory and time
(``unpickle.py``), which writes them as safetensors.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from registry.errors import AdapterError
from registry.storage.place import Place

_CHILD = Path(__file__).with_name("unpickle.py")
SECONDS = 20
"""Of processor time, for a small file; a larger one has one more for each `BYTES_A_SECOND`."""
BYTES_A_SECOND = 20 * 1024 * 1024
_WAITED = 6
"""The factor from CPU time to wall time, for a busy machine and the start of torch."""
_LARGE = "reading it takes more memory or time than weights in a file of this size do"
# By problem: what was expected, what was found, and the cure.
_PROBLEMS = {
    "code": (
        "{path} is refused, because loading it could run code: expected nothing but tensors, found "
        "{found}. Save the adapter again with safetensors, on the machine that made it."
    ),
    "damaged": (
        "{path} is damaged, or no file of weights: expected what torch.save writes, found {size} "
        "bytes of something else. Copy it again, or save the adapter with safetensors."
    ),
    "other": (
        "{path} does not hold named tensors: expected a tensor for each name, found {found}. Save "
        "the adapter again with safetensors."
    ),
    "empty": "{path} holds no tensor. Save the adapter again.",
    "claims": (
        "{path} is refused: it has {size} bytes, but its tensors would take {found}. Save the "
        "adapter again with safetensors."
    ),
    "large": f"{{path}} is refused: {_LARGE}. Save the adapter again with safetensors.",
}


def convert(source: Place, target: Path, metadata: Mapping[str, str]) -> None:
    """Write the tensors of a pickle as safetensors.

    Args:
        source: The pickle.
        target: The new file.
        metadata: For its header, beside ``format``.

    Raises:
        AdapterError: The pickle needs code to load, is damaged, holds no named tensors, or takes
            more memory or time than weights of its size do.
        NotAFileError: It is not a regular file.
        OSError: It cannot be read, or the new file not be written, or the process was stopped.
    """
    refused = run_child(source, target, {"format": "pt", **metadata})
    if refused is not None and refused["problem"] == "system":
        raise _os_error(int(refused["found"]))
    if refused is not None:
        message = _PROBLEMS[refused["problem"]]
        size = os.stat(source).st_size
        raise AdapterError(message.format(path=source, size=size, found=refused["found"]), source)


def run_child(source: Place, target: Path, metadata: Mapping[str, str]) -> dict[str, str] | None:
    """Run ``unpickle.py`` and return what it refuses, as it prints it; None if it is done."""
    files = [str(_CHILD), os.path.abspath(source), str(target.absolute())]
    seconds = SECONDS + os.stat(source).st_size // BYTES_A_SECOND
    try:
        child = subprocess.run(
            [sys.executable, "-P", *files, json.dumps(metadata), str(seconds)],
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            timeout=_WAITED * max(seconds, 10),
        )
    except subprocess.TimeoutExpired:
        return {"problem": "large", "found": ""}
    if -child.returncode in (signal.SIGINT, signal.SIGTERM):  # with who waits for it
        raise _os_error(errno.EINTR)
    if child.returncode != 0:  # ended by the system
        return {"problem": "large", "found": ""}
    answer: dict[str, str] | None = json.loads(child.stdout) if child.stdout else None
    return answer


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
