"""Bytes into and out of a registry, beside what the machine does with the same file by itself.

python benchmarks/registry_bytes.py
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click

# A script finds its own folder first, and there, registry is another file.
sys.path[0] = str(Path(__file__).parents[1])

from registry.storage.blobs import BlobStore


def write_random(path: Path, size: int) -> None:
    """Write a file that no disk can shorten."""
    with path.open("wb") as file:
        for _ in range(0, size, 2**20):
            file.write(os.urandom(2**20))


@click.command()
@click.option("--mebibytes", default=1024, show_default=True, help="Size of the file.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--place", type=click.Path(path_type=Path), default=Path("bytes-benchmark"))
def main(mebibytes: int, rounds: int, place: Path) -> None:
    """Time each way in turn, several rounds of all, and print medians and the best."""
    place.mkdir()
    source, copy = place / "source", place / "copy"
    write_random(source, mebibytes * 2**20)
    kept = BlobStore(place / "kept")
    with source.open("rb") as stream:
        info = kept.put(stream)

    def put() -> None:
        with source.open("rb") as stream:
            BlobStore(place / "in").put(stream, info)

    def dd() -> None:
        subprocess.run(
            ["dd", f"if={source}", f"of={copy}", "bs=1M", "conv=fsync"],
            stderr=subprocess.DEVNULL,
            check=True,
        )

    def sha256() -> None:
        with source.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")

    ways: dict[str, Callable[[], object]] = {
        "in: put": put,
        "  sha256 alone": sha256,
        "  dd conv=fsync": dd,
        "out: copy_to, verified and durable": lambda: kept.copy_to(info, copy),
        "  cp": lambda: subprocess.run(["cp", source, copy], check=True),
        "  cp, then sync of the file": lambda: subprocess.run(
            f"cp {source} {copy} && sync {copy}", shell=True, check=True
        ),
        "check: verify": lambda: kept.verify(info),
    }
    times: dict[str, list[float]] = {what: [] for what in ways}
    for _ in range(rounds):
        for what, call in ways.items():
            shutil.rmtree(place / "in", ignore_errors=True)
            copy.unlink(missing_ok=True)
            os.sync()
            start = time.perf_counter()
            call()
            times[what].append(time.perf_counter() - start)
    for what, spent in times.items():
        print(
            f"{what:36} {mebibytes / median(spent):6,.0f} MiB/s, "
            f"at best {mebibytes / min(spent):6,.0f}"
        )
    pairs = zip(times["  sha256 alone"], times["  dd conv=fsync"], times["in: put"], strict=True)
    ratios = [max(alone, copied) / spent for alone, copied, spent in pairs]
    print(f"put, beside the slower of sha256 and dd: {median(ratios):.2f} ({min(ratios):.2f} to "
          f"{max(ratios):.2f})")  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory of the process: {peak:,.0f} MiB")
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
