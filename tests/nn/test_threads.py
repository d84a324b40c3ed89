from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from hubkit.nn.threads import PerThread


def test_each_thread_has_its_own_list() -> None:
    held = PerThread()
    held.items.append("mine")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: list(held.items)).result() == []
    assert held.items == ["mine"]


def test_what_is_held_is_let_go_of_after_an_error() -> None:
    held = PerThread()
    with held.holding(1):
        with pytest.raises(ZeroDivisionError, match="by zero"), held.holding(2):
            held.items.append(1 / 0)
        assert held.items == [1]
    assert held.items == []


def test_copies_start_empty() -> None:
    held = PerThread()
    held.items.append(1)
    assert copy.deepcopy(held).items == []
    assert pickle.loads(pickle.dumps(held)).items == []
