"""What it costs hubkit to attach and to hold many adapters."""

from __future__ import annotations

import gc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median
from time import perf_counter
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.support.hubkit_subject import named_batch, random_adapter
from benchmarks.support.rows import Method
from benchmarks.support.subject import base_model, seconds
from hubkit import Adapter, attach

HELD = 1000


def held_adapters(model: Any, method: Method) -> list[Adapter]:
    """As many as a server holds."""
    return [random_adapter(model, method, number) for number in range(HELD)]


def batch_seconds(model: Any, adapters: list[Adapter], rounds: int) -> float:
    """Seconds for each of ``adapters``, all attached at once as a named batch."""

    def once() -> float:
        start = perf_counter()
        attached = attach(model, named_batch(adapters))
        spent = perf_counter() - start
        attached.detach()
        return spent

    return median(once() for _ in range(rounds)) / len(adapters)


def one_more_seconds(model: Any, adapter: Adapter, rounds: int) -> float:
    """Seconds to attach ``adapter`` and to detach it, whatever else is held."""
    return median(seconds(lambda: attach(model, adapter).detach()) for _ in range(rounds))


def memory_over_bytes(name: str, method: Method) -> float:
    """What a fresh process takes to hold adapters, attached as a batch, over their own bytes."""
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        return processes.submit(_memory_over_bytes, name, method).result()


def _memory_over_bytes(name: str, method: Method) -> float:
    model, process = base_model(name, "cpu"), psutil.Process()
    with attach(model, random_adapter(model, method, 0)):
        pass  # What hubkit loads and computes once for the base model.
    gc.collect()
    before = process.memory_info().rss
    adapters = held_adapters(model, method)
    with attach(model, named_batch(adapters)):
        gc.collect()
        grown: int = process.memory_info().rss - before
    tensors = [p for one in adapters for module in one.modules() for p in module.parameters()]
    return grown / sum(tensor.nbytes for tensor in tensors)
