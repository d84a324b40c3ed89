"""What the registry takes with 10,000, 100,000 and a million adapters, and MLflow's beside it.

A registry is filled with the rows and files that publishing writes, many at once; then what people
and programs ask of it is timed, call by call, through the public functions.

    python benchmarks/registry.py
    python benchmarks/registry.py --size 10000 --postgresql postgresql://localhost/empty
    python benchmarks/registry.py --size 1000 --mlflow path/to/environment/bin/python
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.table import Table

# A script finds its own folder first, and there, registry is this file.
sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.registry_filling import (
    BASES,
    COMMON_WORD,
    RARE_WORD,
    TASKS,
    WORDS,
    dataset,
    fill,
    name,
)
from registry import AdapterRef, Catalog, Folder, Manifest, open_catalog, read_folder
from registry import write_manifest as write_manifest_of
from registry.leaderboard import leaderboard
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage
from registry.search import search
from registry.storage.blobs import BlobStore

Times = list[float]
BYTES = 256 * 1024 * 1024


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def repeat(calls: int, call: Callable[[int], object]) -> Times:
    for number in range(min(calls, 20)):  # first of all, what is only done once
        call(number)
    return [timed(partial(call, number)) for number in range(calls)]


def shown(times: Times) -> str:
    ordered = sorted(times)
    return (
        f"{median(ordered) * 1e3:.2f} (p95 {ordered[int(len(ordered) * 0.95)] * 1e3:.2f}, "
        f"p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.2f})"
    )


def folders(place: Path, *, parents: list[dict[str, str]] | None = None) -> Iterator[Folder]:
    """Make adapters' folders, each of other content."""
    number = 0
    while True:
        path = place / f"new-{number}"
        path.mkdir(parents=True)
        (path / "adapter_config.json").write_text(json.dumps({"number": number}))
        manifest = {
            "kind": "fusion" if parents else "adapter",
            "method": {"type": "fusion" if parents else "seq_bn"},
            "base_model": {
                "id": BASES[0],
                "architecture": "BertModel",
                "hidden_size": 768,
                "num_layers": 12,
                "fingerprint": hashlib.sha256(BASES[0].encode()).hexdigest(),
            },
            "task": TASKS[0],
            "parents": parents or [],
            "tags": ["new", "published"],
            "description": "Published while the clock was running.",
        }
        write_manifest_of(path, Manifest.model_validate(manifest))
        yield read_folder(path)
        number += 1


def ask(catalog: Catalog, size: int, calls: int) -> Iterator[tuple[str, str]]:
    """Time what is asked of a registry; yield what and how long, in milliseconds."""
    chance = random.Random(0)
    refs = [AdapterRef.parse(name(chance.randrange(size))) for _ in range(max(calls, 2000))]
    times = repeat(len(refs), lambda n: catalog.resolve(refs[n]))
    yield "resolve by name", f"{shown(times)}; {len(times) / sum(times):,.0f} a second"
    middle = {
        sort: search(catalog, base=BASES[1], task=TASKS[1], sort=sort, limit=1).next
        for sort in ("date", "score", "downloads")
    }
    for sort, after in middle.items():
        times = repeat(
            calls,
            lambda _, sort=sort, after=after: search(
                catalog, base=BASES[1], task=TASKS[1], sort=sort, after=after
            ),
        )
        yield f"page of 50 by base and task, by {sort}", shown(times)
    late = f"{size // 2}"
    times = repeat(calls, lambda _: search(catalog, after=late))
    yield "page of 50 from the middle of all", shown(times)
    times = repeat(
        calls, lambda _: leaderboard(catalog, dataset(1), task=TASKS[1], base=BASES[1], limit=50)
    )
    yield "leaderboard of 50 by metric", shown(times)
    searches = {
        "rare word": lambda _: RARE_WORD,
        "two words": lambda n: f"{WORDS[n % 50]} {WORDS[50 + n % 50]}",
        "most common word": lambda _: COMMON_WORD,
        "any word": lambda n: WORDS[n % len(WORDS)],
    }
    for what, words in searches.items():
        times = repeat(calls, lambda n, words=words: search(catalog, text=words(n)))
        yield f"text search: {what}", shown(times)
    times = repeat(calls, lambda _: search(catalog, text=COMMON_WORD, sort="score"))
    yield "text search: most common word, by score", shown(times)


def change(catalog: Catalog, place: Path, calls: int) -> Iterator[tuple[str, str]]:
    """Time what changes a registry."""
    made = folders(place / "new")
    ready = [next(made) for _ in range(2 * calls + 40)]
    names = [AdapterRef.parse(f"bench/new-{number}") for number in range(calls)]
    once, again = iter(ready), []
    times = repeat(calls, lambda n: catalog.publish(names[n], next(once)))
    yield "publish, a new name each", shown(times)
    same = AdapterRef.parse("bench/same")
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
    parents = [
        {"ref": str(version.ref), "digest": version.manifest_digest}
        for version in map(catalog.resolve, names[:16])
    ]
    fused = catalog.publish(
        AdapterRef.parse("bench/fused"), next(folders(place / "fused", parents=parents))
    )
    times = repeat(calls, lambda _: catalog.lineage(fused))
    yield "lineage of a fusion of 16", shown(times)


def look_after(catalog: Catalog, size: int) -> Iterator[tuple[str, str]]:
    """Time collection of garbage, and the checks: the full one where it is done within minutes."""
    garbage = size // 100
    for number in range(garbage):
        catalog.blobs.put(io.BytesIO(b"garbage %d" % number))
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


def command_line(home: Path, *, arguments: tuple[str, ...] = ("list",)) -> str:
    """Time a whole command, start of Python and all."""
    program = Path(sys.executable).with_name("hubkit")
    environment = os.environ | {"HUBKIT_HOME": str(home)}
    times = [
        timed(
            lambda: subprocess.run(
                [program, *arguments], env=environment, capture_output=True, check=True
            )
        )
        for _ in range(7)
    ]
    return f"{median(times):.2f} s"


def move_bytes(place: Path) -> Iterator[tuple[str, str]]:
    """Time bytes in and out of a registry, beside what the machine does by itself."""
    place.mkdir(parents=True, exist_ok=True)
    source = place / "source"
    source.write_bytes(os.urandom(BYTES))
    os.sync()

    def rate(call: Callable[[], object]) -> str:
        times = []
        for _ in range(5):
            os.sync()
            times.append(timed(call))
        return f"{BYTES / min(times) / 2**20:,.0f} MiB/s"

    def put() -> None:
        shutil.rmtree(place / "in", ignore_errors=True)
        with source.open("rb") as stream:
            BlobStore(place / "in").put(stream)

    def dd() -> None:
        subprocess.run(
            ["dd", f"if={source}", f"of={place / 'dd'}", "bs=1M", "conv=fsync"],
            stderr=subprocess.DEVNULL,
            check=True,
        )

    yield "bytes in (put)", rate(put)
    yield "  sha256 alone", rate(lambda: hashlib.file_digest(source.open("rb"), "sha256"))
    yield "  dd conv=fsync", rate(dd)
    blobs = BlobStore(place / "out")
    with source.open("rb") as stream:
        info = blobs.put(stream)
    yield "bytes out (copy_to, verified)", rate(lambda: blobs.copy_to(info, place / "copied"))
    yield (
        "  cp",
        rate(lambda: subprocess.run(["cp", source, place / "cp"], check=True)),
    )


@click.command()
@click.option("--size", "sizes", type=int, multiple=True, default=(10_000, 100_000, 1_000_000))
@click.option("--calls", default=200, show_default=True, help="Of each kind.")
@click.option("--place", type=click.Path(path_type=Path), default=Path("registry-benchmark"))
@click.option("--postgresql", metavar="URL", help="An empty database, in place of SQLite.")
@click.option("--mlflow", metavar="PYTHON", help="Of an environment that has MLflow: time that.")
@click.option("--keep", is_flag=True, help="Leave the registries there.")
def main(
    sizes: tuple[int, ...],
    calls: int,
    place: Path,
    postgresql: str | None,
    mlflow: str | None,
    keep: bool,
) -> None:
    """Fill registries of some sizes and print what they take, in milliseconds: median and tail."""
    columns: dict[str, dict[str, str]] = {}
    for size in sizes:
        home = place / f"{'mlflow' if mlflow else 'hubkit'}-{size}"
        title = f"{size:,}"
        if mlflow:
            script = Path(__file__).with_name("mlflow_registry.py")
            done = subprocess.run(
                [mlflow, script, str(home), str(size), str(calls)],
                stdout=subprocess.PIPE,
                check=True,
            )
            columns[title] = json.loads(done.stdout.splitlines()[-1])
            continue
        catalog = open_catalog(home, database=postgresql)
        if not search(catalog, limit=1).items:
            spent = timed(lambda catalog=catalog, size=size: fill(catalog, size))
            print(f"{title} adapters filled in {spent:.0f} s", file=sys.stderr, flush=True)
        rows = columns[title] = {}
        for what, value in ask(catalog, size, calls):
            rows[what] = value
            print(f"  {what}: {value}", file=sys.stderr, flush=True)
        if postgresql is None:
            rows["hubkit list, as a command"] = command_line(home)
            rows["hubkit --help, as a command"] = command_line(home, arguments=("--help",))
        for what, value in change(catalog, home / "work", calls):
            rows[what] = value
            print(f"  {what}: {value}", file=sys.stderr, flush=True)
        for what, value in look_after(catalog, size):
            rows[what] = value
            print(f"  {what}: {value}", file=sys.stderr, flush=True)
        catalog.close()
        if not keep:
            shutil.rmtree(home)
    if not mlflow and postgresql is None:
        columns["bytes"] = dict(move_bytes(place / "bytes"))
        if not keep:
            shutil.rmtree(place / "bytes")
    show(columns)


def show(columns: dict[str, dict[str, str]]) -> None:
    for title, rows in columns.items():
        table = Table("call", title, title_justify="left")
        for what, value in rows.items():
            table.add_row(what, value)
        Console(width=110).print(table)


if __name__ == "__main__":
    main()
