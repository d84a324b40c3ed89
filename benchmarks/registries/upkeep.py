"""What keeps a registry whole."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks.registries.new_folders import RUN, new_folders
from benchmarks.registries.timing import timed
from registry import AdapterRef, Catalog, open_catalog
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage


def look_after(
    catalog: Catalog, database: str | None, place: Path, size: int, *, full: bool
) -> Iterator[tuple[str, str]]:
    """Time collection of garbage, and the checks; the full one reads every byte there is."""
    garbage = size // 100
    for number in range(garbage):
        catalog.blobs.put(io.BytesIO(b"garbage %d of %s" % (number, RUN.encode())))
    ref = AdapterRef.parse(f"bench/moving-{RUN}")
    for folder in itertools.islice(new_folders(place / "moving"), 2):
        catalog.publish(ref, folder)
    grace = timedelta(0)
    longest: list[float] = []
    with _writer(catalog.home, database, ref, longest):
        spent = timed(lambda: collect_garbage(catalog, grace=grace))
        spent += timed(lambda: collect_garbage(catalog, grace=grace))
    yield f"gc, 1 % garbage ({garbage:,} blobs), beside a writer", f"{spent:.1f} s"
    yield "  the longest that the writer waited", f"{longest[0] * 1e3:.0f} ms"
    for what, every_byte in (("quick", False), ("full", True)):
        if every_byte and not full:
            continue
        report = None

        def check(every_byte: bool = every_byte) -> None:
            nonlocal report
            report = check_registry(catalog, full=every_byte)

        spent = timed(check)
        assert report is not None
        assert not report.findings, report.findings[0]
        yield f"fsck, {what}", f"{spent:.1f} s"


@contextmanager
def _writer(
    home: Path, database: str | None, ref: AdapterRef, longest: list[float]
) -> Iterator[None]:
    """Let another process write all the time; add how long it waited at most, in seconds."""
    context = get_context("spawn")
    stop, (here, there) = context.Event(), context.Pipe(duplex=False)
    process = context.Process(target=_write, args=(home, database, ref, stop, there))
    process.start()
    here.recv()
    yield
    stop.set()
    longest.append(here.recv())
    process.join()


def _write(
    home: Path, database: str | None, ref: AdapterRef, stop: Event, result: Connection
) -> None:
    catalog, longest = open_catalog(home, database=database), 0.0
    result.send("ready")
    for number in itertools.cycle((1, 2)):
        if stop.is_set():
            break
        spent = timed(lambda number=number: catalog.set_alias(ref.at(number), "moving"))
        longest = max(longest, spent)
    result.send(longest)
