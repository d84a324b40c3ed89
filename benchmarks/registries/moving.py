"""Bytes in and out of a registry, beside what the machine does by itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.registries.timing import timed
from registry.storage.blobs import copy_blob
from registry.storage.folder_blobs import FolderBlobStore

MIB = 1024 * 1024
SIZE = 256 * MIB
SMALL = 16 * MIB
_ROUNDS = 5
_PUT = (
    "import pathlib, resource, sys\n"
    "from registry.storage.folder_blobs import FolderBlobStore\n"
    "with open(sys.argv[1], 'rb') as stream:\n"
    "    FolderBlobStore(pathlib.Path(sys.argv[2])).put(stream)\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
)


def move_bytes(place: Path) -> Iterator[tuple[str, str]]:
    """Yield rates, the best of several rounds in which all take their turn."""
    place.mkdir(parents=True, exist_ok=True)
    source = place / "source"
    with source.open("wb") as file:
        for _ in range(SIZE // MIB):  # what this process takes, its children seem to take, too
            file.write(os.urandom(MIB))
    blobs = FolderBlobStore(place / "out")
    with source.open("rb") as stream:
        info = blobs.put(stream)

    def put() -> None:
        with source.open("rb") as stream:
            FolderBlobStore(place / "in").put(stream)

    def sha256() -> None:
        with source.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")

    def run(*command: str | Path) -> Callable[[], object]:
        return lambda: subprocess.run(command, stderr=subprocess.DEVNULL, check=True)

    calls: dict[str, Callable[[], object]] = {
        "bytes in (put)": put,
        "  sha256 alone": sha256,
        "  dd conv=fsync": run("dd", f"if={source}", f"of={place / 'dd'}", "bs=1M", "conv=fsync"),
        "bytes out (copy_to, verified)": lambda: copy_blob(blobs, info, place / "copied"),
        "  cp": run("cp", source, place / "cp"),
    }
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(_ROUNDS):
        for what, call in calls.items():
            shutil.rmtree(place / "in", ignore_errors=True)
            os.sync()
            best[what] = min(best[what], timed(call))
    for what, seconds in best.items():
        yield what, f"{SIZE / seconds / MIB:,.0f} MiB/s"
    bound = max(best["  sha256 alone"], best["  dd conv=fsync"])
    yield "bytes in over the slower of the two", f"{bound / best['bytes in (put)']:.2f}"
    small = place / "small"
    small.write_bytes(os.urandom(SMALL))
    peaks = [_peak(file, place / "peak") for file in (small, source)]
    yield (
        f"most memory to put {SMALL // MIB} and {SIZE // MIB} MiB",
        " and ".join(f"{peak / MIB:.0f} MiB" for peak in peaks),
    )


def _peak(source: Path, store: Path) -> int:
    """Return the bytes that a process held at most that put a file into a store."""
    done = subprocess.run(
        [sys.executable, "-c", _PUT, source, store], stdout=subprocess.PIPE, check=True
    )
    return int(done.stdout) * 1024
