"""How long garbage collection takes in a large registry, and how long it keeps a writer waiting.

python benchmarks/registry_garbage.py --blobs 1000000
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import click
from sqlalchemy import insert

# A script finds its own folder first, and there, registry is another file.
sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.registry_publishers import ONE_NAME, make_folder
from registry import Catalog, open_catalog
from registry.maintenance.gc import collect_garbage
from registry.tables.models import RevisionFile

FORK = multiprocessing.get_context("fork")


def fill(catalog: Catalog, blobs: int) -> None:
    """Make tiny blobs, one in a hundred of which nothing refers to, older than any grace period."""
    digests = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(blobs)]
    rows = [
        {"revision_id": 1, "path": f"file-{number}", "sha256": digest, "size": 4}
        for number, digest in enumerate(digests)
        if number % 100
    ]
    for start in range(0, len(rows), 50_000):
        with catalog.database.write() as session:
            session.execute(insert(RevisionFile), rows[start : start + 50_000])
    for digest in sorted(digests):  # folder by folder
        path = catalog.blobs.path(digest)
        try:
            path.write_bytes(b"tiny")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"tiny")
        os.utime(path, (0, 0))


def write(home: Path, stop: Any, results: Any) -> None:
    """Move an alias to and fro, as fast as it goes, and say how long each time took."""
    catalog = open_catalog(home)
    times = []
    while not stop.is_set():
        start = time.perf_counter()
        catalog.set_alias(ONE_NAME.at(1 + len(times) % 2), "moving")
        times.append(time.perf_counter() - start)
    results.put(times)


@click.command()
@click.option("--blobs", default=100_000, show_default=True)
@click.option("--place", type=click.Path(path_type=Path), default=Path("garbage-benchmark"))
def main(blobs: int, place: Path) -> None:
    """Collect garbage twice, as the first time only condemns, while another process writes."""
    catalog = open_catalog(place / "home")
    for number in range(2):
        catalog.publish(ONE_NAME, make_folder(place / f"folder-{number}"))
    start = time.perf_counter()
    fill(catalog, blobs)
    print(f"{blobs:,} blobs made in {time.perf_counter() - start:.0f} s", flush=True)
    catalog.close()

    def beside(what: str, work: Any) -> None:
        stop, results = FORK.Event(), FORK.Queue()
        writer = FORK.Process(target=write, args=(place / "home", stop, results))
        writer.start()
        start, cpu = time.perf_counter(), time.process_time()
        done = work()
        spent, cpu = time.perf_counter() - start, time.process_time() - cpu
        stop.set()
        times = sorted(results.get())
        writer.join()
        print(
            f"{what}: {spent:.1f} s, of the CPU {cpu:.1f} s; {len(times)} writes beside it, "
            f"median {median(times) * 1e3:.1f} ms, p99 {times[int(len(times) * 0.99)] * 1e3:.0f}, "
            f"longest {times[-1] * 1e3:.0f} ms; {done}",
            flush=True,
        )

    beside("nothing", lambda: time.sleep(5))
    beside("condemning", lambda: collect_garbage(catalog))
    beside("removing", lambda: collect_garbage(catalog, grace=timedelta(0)))
    catalog.close()
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
