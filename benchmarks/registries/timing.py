"""Timing calls, and what is shown of the times."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

Times = list[float]
"""Seconds."""


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def repeat(calls: int, call: Callable[[int], object]) -> Times:
    for number in range(min(calls, 20)):  # first of all, what is only done once
        call(number)
    return [timed(partial(call, number)) for number in range(calls)]


def shown(times: Times) -> str:
    """Return the median and the tail in milliseconds."""
    ordered = sorted(times)
    return (
        f"{median(ordered) * 1e3:.2f} (p95 {ordered[int(len(ordered) * 0.95)] * 1e3:.2f}, "
        f"p99 {ordered[int(len(ordered) * 0.99)] * 1e3:.2f})"
    )
