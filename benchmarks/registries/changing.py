"""What changes a registry: publishing, by one process and by eight at once."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.registries.new_folders import RUN, new_folders
from benchmarks.registries.timing import repeat, shown, timed
from registry import AdapterRef, Catalog, Parent, open_catalog, read_folder

PROCESSES = 8


def change(catalog: Catalog, place: Path, calls: int) -> Iterator[tuple[str, str]]:
    """Time what changes a registry."""
    made = new_folders(place / "new")
    ready = [next(made) for _ in range(2 * calls + 40)]
    names = [AdapterRef.parse(f"bench/new-{RUN}-{number}") for number in range(calls)]
    once, again = iter(ready), []
    times = repeat(calls, lambda n: catalog.publish(names[n], next(once)))
    yield "publish, a new name each", shown(times)
    same = AdapterRef.parse(f"bench/same-{RUN}")
    times = repeat(calls, lambda n: catalog.publish(same, next(once)))
    yield "publish, versions of one name", shown(times)
    for folder in itertools.islice(made, calls + 20):
        again.append(folder)
        for path, info in folder.manifest.files.items():
            with (folder.path / path).open("rb") as stream:
                catalog.blobs.put(stream, info)
        catalog.blobs.put(io.BytesIO(folder.manifest.to_json()))
    once = iter(again)
    times = repeat(calls, lambda n: catalog.publish(same, next(once)))
    yield "publish, of bytes that are there", shown(times)
    parents = tuple(
        Parent(ref=str(version.ref), digest=version.manifest_digest)
        for version in map(catalog.resolve, names[:16])
    )
    fused = catalog.publish(
        AdapterRef.parse(f"bench/fused-{RUN}"),
        next(new_folders(place / "fused", parents=parents)),
    )
    times = repeat(calls, lambda _: catalog.lineage(fused))
    yield "lineage of a fusion of 16", shown(times)


def publish_at_once(
    home: Path, database: str | None, place: Path, calls: int
) -> Iterator[tuple[str, str]]:
    """Let several processes publish to names of their own; yield what they do in a second."""
    context = get_context("spawn")
    barrier = context.Barrier(PROCESSES + 1)
    processes = []
    for number in range(PROCESSES):
        folders = [
            folder.path
            for folder in itertools.islice(new_folders(place / f"publisher-{number}"), calls)
        ]
        name = f"bench/publisher-{RUN}-{number}"
        arguments = (home, database, name, folders, barrier)
        processes.append(context.Process(target=_publish_all, args=arguments))
        processes[-1].start()
    barrier.wait()
    spent = timed(barrier.wait)
    for process in processes:
        process.join()
    rate = PROCESSES * calls / spent
    yield f"publish, {PROCESSES} processes at once", f"{rate:,.0f} a second in all"


def _publish_all(
    home: Path, database: str | None, name: str, paths: list[Path], barrier: Barrier
) -> None:
    catalog, ref = open_catalog(home, database=database), AdapterRef.parse(name)
    folders = [read_folder(path) for path in paths]
    barrier.wait()
    for folder in folders:
        catalog.publish(ref, folder)
    barrier.wait()
