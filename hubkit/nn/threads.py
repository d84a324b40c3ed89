"""Values of one thread: several may run a model, or choose its rows, at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class PerThread(threading.local):
    """A list for each thread; a copy or a pickle of it starts empty.

    The compiler follows lists, so the list itself is what others use.

    Attributes:
        items: The list of the thread that asks.
    """

    def __init__(self) -> None:
        self.items: list[Any] = []

    @contextmanager
    def holding(self, item: Any) -> Iterator[None]:
        """Have ``item`` at the end of this thread's list inside the block."""
        self.items.append(item)
        try:
            yield
        finally:
            self.items.pop()

    def __reduce__(self) -> Any:
        return PerThread, ()
