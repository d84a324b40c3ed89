"""What keeps a registry whole."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta

from benchmarks.registries.new_folders import RUN
from benchmarks.registries.timing import timed
from registry import Catalog
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage


def look_after(catalog: Catalog, size: int, *, full: bool) -> Iterator[tuple[str, str]]:
    """Time collection of garbage, and the checks; the full one reads every byte there is."""
    garbage = size // 100
    for number in range(garbage):
        catalog.blobs.put(io.BytesIO(b"garbage %d of %s" % (number, RUN.encode())))
    grace = timedelta(0)
    spent = timed(lambda: collect_garbage(catalog, grace=grace))
    spent += timed(lambda: collect_garbage(catalog, grace=grace))
    yield f"gc, 1 % garbage ({garbage:,} blobs)", f"{spent:.1f} s"
    for what, full in (("quick", False), ("full", True))[: 2 if size <= 100_000 else 1]:
        report = None

        def check(full: bool = full) -> None:
            nonlocal report
            report = check_registry(catalog, full=full)

        spent = timed(check)
        assert report is not None
        findings = f", {len(report.findings)} findings" if report.findings else ""
        yield f"fsck, {what}", f"{spent:.1f} s{findings}"
