"""What one thread must not see of another that runs the same model."""

from __future__ import annotations

import threading
from typing import Any


class PerThread(threading.local):
    """A list for each thread; a copy or a pickle of it starts empty.

    Attributes:
        items: The list of the thread that asks.
    """

    def __init__(self) -> None:
        self.items: list[Any] = []

    def __reduce__(self) -> Any:
        return PerThread, ()
