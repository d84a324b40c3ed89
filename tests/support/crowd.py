"""Processes that want the same thing at the same time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

FORK = multiprocessing.get_context("fork")


def at_once(work: Callable[[int], None], processes: int) -> None:
    """Run `work` in that many processes that start together, and expect no error in any."""
    barrier = FORK.Barrier(processes)

    def run(number: int) -> None:
        barrier.wait()
        work(number)

    started = [FORK.Process(target=run, args=(number,)) for number in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * processes
