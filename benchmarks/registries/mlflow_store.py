"""MLflow's model registry, asked what `benchmarks/registry.py` asks of hubkit's; that runs this.

    python benchmarks/registry.py --size 1000 --mlflow path/to/environment/bin/python

It takes a folder, a size and a number of calls, and prints JSON: what, and how many milliseconds.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore


def main(home: Path, size: int, calls: int) -> None:
    home.mkdir(parents=True, exist_ok=True)
    store = SqlAlchemyStore(f"sqlite:///{home / 'mlflow.db'}")
    chance = random.Random(0)
    start = time.perf_counter()
    for number in range(size):
        publish(store, f"owner{number % 1000}-adapter-{number}", chance)
    print(f"filled in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    names = [f"owner{n % 1000}-adapter-{n}" for n in chance.choices(range(size), k=2000)]
    times = repeat(2000, lambda n: store.get_model_version(names[n], "1"))
    results = {"resolve by name": f"{shown(times)}; {len(times) / sum(times):,.0f} a second"}
    wanted = "tags.base = 'team/base-1' and tags.task = 'task-1'"
    times = repeat(calls, lambda _: store.search_registered_models(wanted, max_results=50))
    results["page of 50 by base and task, by date"] = shown(times)
    for what, word in (("rare word", f"adapter-{size - 1}"), ("most common word", "adapter")):
        query = f"name LIKE '%{word}%'"
        times = repeat(
            calls, lambda _, query=query: store.search_registered_models(query, max_results=50)
        )
        results[f"text search: {what}"] = f"{shown(times)} (in names only)"
    times = repeat(calls, lambda n: publish(store, f"new-{n}-{time.time_ns()}", chance))
    results["publish, of bytes that are there"] = f"{shown(times)} (rows only)"
    print(json.dumps(results))


def publish(store: SqlAlchemyStore, name: str, chance: random.Random) -> None:
    tags = {
        "base": f"team/base-{int(chance.random() ** 2 * 20)}",
        "task": f"task-{int(chance.random() ** 2 * 50)}",
    }
    store.create_registered_model(
        name, [RegisteredModelTag(key, value) for key, value in tags.items()], "A benchmark adapter"
    )
    store.create_model_version(
        name, "/somewhere", tags=[ModelVersionTag(key, value) for key, value in tags.items()]
    )


def repeat(calls: int, call: Callable[[int], object]) -> list[float]:
    for number in range(min(calls, 20)):
        call(number)
    times = []
    for number in range(calls):
        start = time.perf_counter()
        call(number)
        times.append(time.perf_counter() - start)
    return times


def shown(times: list[float]) -> str:
    ordered = sorted(times)
    return (
        f"{median(ordered) * 1e3:.2f} (p95 {ordered[int(len(ordered) * 0.95)] * 1e3:.2f}, "
        f"p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.2f})"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
