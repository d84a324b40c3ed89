"""Pickled and large weights, beside the requests."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from registry.history.committing import PENDING
from registry.server.converting import Conversions


def test_a_mistake_in_one_conversion_ends_no_other() -> None:
    done = threading.Event()

    def convert(repository: Any, commit: Any) -> None:
        if commit.is_last:
            done.set()
        raise ValueError("a mistake")

    conversions = Conversions(SimpleNamespace(convert=convert))  # type: ignore[arg-type]
    for is_last in (False, True):
        commit: Any = SimpleNamespace(reason=PENDING[0], is_last=is_last)
        repository: Any = SimpleNamespace(full_name="ada/x")
        conversions.add(repository, commit)
    assert done.wait(10)
