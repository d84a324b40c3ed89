"""How fast several processes publish into one registry at once, and one process alone.

python benchmarks/registry_publishers.py
python benchmarks/registry_publishers.py --postgresql postgresql://localhost/empty
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import click

# A script finds its own folder first, and there, registry is another file.
sys.path[0] = str(Path(__file__).parents[1])

from registry import AdapterRef, Folder, Manifest, open_catalog, read_folder, write_manifest

FORK = multiprocessing.get_context("fork")
ONE_NAME = AdapterRef.parse("bench/same")


def make_folder(path: Path) -> Folder:
    """Write a tiny adapter of a content of its own."""
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (path / "weights.bin").write_text(str(path))
    manifest = {
        "kind": "adapter",
        "method": {"type": "seq_bn", "parameters": {"reduction_factor": 16}},
        "base_model": {
            "id": "google-bert/bert-base-uncased",
            "architecture": "BertModel",
            "hidden_size": 768,
            "num_layers": 12,
            "fingerprint": "ab" * 32,
        },
        "task": "sentiment",
        "task_type": "text-classification",
        "labels": ["negative", "positive"],
        "tags": ["new", "published"],
        "description": "Published while the clock was running.",
        "metrics": [
            {
                "dataset": "sst2",
                "split": "test",
                "name": "accuracy",
                "value": 0.9,
                "higher_is_better": True,
            }
        ],
    }
    write_manifest(path, Manifest.model_validate(manifest))
    return read_folder(path)


def publish(
    home: Path, url: str | None, folders: list[Folder], barrier: Any, results: Any, own: str | None
) -> None:
    """Publish what is given, one after the other, and say how long each took."""
    catalog = open_catalog(home, database=url)
    ref = AdapterRef.parse(own) if own else ONE_NAME
    barrier.wait()
    start, cpu = time.perf_counter(), time.process_time()
    times, numbers = [], []
    for folder in folders:
        began = time.perf_counter()
        numbers.append(catalog.publish(ref, folder).number)
        times.append(time.perf_counter() - began)
    results.put((start, time.perf_counter(), time.process_time() - cpu, times, numbers))


def measure(place: Path, url: str | None, processes: int, each: int, *, names: bool) -> str:
    """Let processes publish at once; check the numbers they got and return a line."""
    home = place / f"registry-{processes}-{names}"
    open_catalog(home, database=url).close()
    folders = [
        [make_folder(place / f"folders-{processes}-{names}-{p}" / str(n)) for n in range(each)]
        for p in range(processes)
    ]
    barrier, results = FORK.Barrier(processes), FORK.Queue()
    tag = f"{processes}-{time.time_ns()}"
    crowd = [
        FORK.Process(
            target=publish,
            args=(home, url, some, barrier, results, f"bench/n{p}-{tag}" if names else None),
        )
        for p, some in enumerate(folders)
    ]
    for process in crowd:
        process.start()
    answers = [results.get(timeout=600) for _ in crowd]
    for process in crowd:
        process.join()
    assert not any(process.exitcode for process in crowd)
    wall = max(answer[1] for answer in answers) - min(answer[0] for answer in answers)
    cpu = sum(answer[2] for answer in answers)
    times = sorted(duration for answer in answers for duration in answer[3])
    if not names:
        numbers = sorted(number for answer in answers for number in answer[4])
        assert len({*numbers}) == len(numbers), "a number was given twice"
    total = processes * each
    return (
        f"{total / wall:,.0f} publishes a second, {cpu / total * 1e3:.1f} ms CPU each; "
        f"p50 {median(times) * 1e3:.1f} ms, p99 {times[int(len(times) * 0.99)] * 1e3:.0f} ms, "
        f"longest {times[-1] * 1e3:.0f} ms"
    )


@click.command()
@click.option("--processes", default=8, show_default=True)
@click.option("--each", default=50, show_default=True, help="Publishes of a process.")
@click.option("--place", type=click.Path(path_type=Path), default=Path("publishers-benchmark"))
@click.option("--postgresql", metavar="URL", help="An empty database, in place of SQLite.")
def main(processes: int, each: int, place: Path, postgresql: str | None) -> None:
    """Publish tiny adapters from several processes at once."""
    for count in (1, processes):
        for names in (False, True):
            what = "names of their own" if names else "versions of one name"
            line = measure(place, postgresql, count, each, names=names)
            print(f"{count} processes, {what}: {line}", flush=True)
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
