"""What the database was just asked is remembered until anything changes."""

import asyncio
import threading
import tracemalloc
from collections.abc import Callable

import pytest
from anyio import CapacityLimiter

from registry import AdapterRef, Catalog, Folder
from registry.server import memory
from registry.server.memory import Memory, Moment, Remembered


def test_a_question_is_asked_once_until_something_changes(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    asked: list[int] = []

    def find() -> int:
        asked.append(1)
        return len(asked)

    known = Memory(catalog.database)
    assert [known.now().ask("x", find) for _ in range(3)] == [1, 1, 1]
    catalog.publish(AdapterRef.parse("film"), make_folder())
    assert [known.now().ask("x", find) for _ in range(3)] == [2, 2, 2]
    catalog.set_alias(AdapterRef.parse("film"), "best")
    assert known.now().ask("x", find) == 3


def test_what_is_asked_while_something_changes_is_not_remembered_for_later(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    known = Memory(catalog.database)
    before = known.now()
    catalog.publish(AdapterRef.parse("film"), make_folder())
    assert before.ask("x", lambda: "old") == "old"
    assert known.now().ask("x", lambda: "new") == "new"


def test_nothing_is_remembered_for_long(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [5.0]
    monkeypatch.setattr(memory.time, "monotonic", lambda: clock[0])
    known = Memory(catalog.database)
    assert known.now().ask("x", lambda: 1) == 1
    clock[0] += memory.KEPT
    assert known.now().ask("x", lambda: 2) == 2


@pytest.mark.parametrize(("length", "again"), [(10, "kept"), (100_000, "found again")])
def test_what_is_remembered_is_bounded_in_bytes(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, length: int, again: str
) -> None:
    monkeypatch.setattr(memory.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(memory, "ROOM", 1_000_000)
    known = Memory(catalog.database)
    known.now().ask("first", lambda: "kept")
    tracemalloc.start()
    for question in range(100):
        known.now().ask((question, "?" * length), lambda: ["!" * length])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * memory.ROOM
    assert known.now().ask("first", lambda: "found again") == again


def test_who_asks_during_a_look_at_the_database_shares_the_next_one(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, looks, may_end = Memory(catalog.database), list[int](), threading.Event()
    look = known.now

    def counted() -> Moment:
        looks.append(1)
        assert may_end.wait(10)
        return look()

    monkeypatch.setattr(known, "now", counted)

    async def ask() -> None:
        limiter = CapacityLimiter(4)
        first = asyncio.create_task(known.latest(limiter))
        while not looks:
            await asyncio.sleep(0)
        others = [asyncio.create_task(known.latest(limiter)) for _ in range(50)]
        await asyncio.sleep(0)
        may_end.set()
        await asyncio.gather(first, *others)

    asyncio.run(ask())
    assert len(looks) == 2


def test_a_look_that_began_before_a_change_does_not_answer_who_asks_after_it(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    known, limiter = Memory(catalog.database), CapacityLimiter(4)

    async def ask() -> Moment:
        early = asyncio.create_task(known.latest(limiter))
        await asyncio.sleep(0)
        catalog.publish(AdapterRef.parse("film"), make_folder())
        late = await known.latest(limiter)
        await early
        return late

    known.now().ask("x", lambda: "old")
    assert asyncio.run(ask()).ask("x", lambda: "new") == "new"


def test_a_look_that_fails_or_is_given_up_harms_no_later_one(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, limiter = Memory(catalog.database), CapacityLimiter(4)
    look = known.now

    def fails() -> Moment:
        monkeypatch.setattr(known, "now", look)
        raise RuntimeError("no database")

    async def give_up() -> None:
        asking = asyncio.create_task(known.latest(limiter))
        await asyncio.sleep(0)
        asking.cancel()

    monkeypatch.setattr(known, "now", fails)
    with pytest.raises(RuntimeError, match="no database"):
        asyncio.run(known.latest(limiter))
    asyncio.run(give_up())
    assert asyncio.run(known.latest(limiter)).ask("x", lambda: 1) == 1


@pytest.fixture
def counted(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> tuple[Remembered[int], list[int]]:
    """What takes long to find, and how often it was found."""
    monkeypatch.setattr(memory, "QUICK", 0.0)
    asked: list[int] = []

    def find() -> int:
        asked.append(1)
        return len(asked)

    return Remembered(catalog.database, find), asked


def test_what_takes_long_is_found_again_behind_those_who_ask(
    catalog: Catalog,
    make_folder: Callable[..., Folder],
    counted: tuple[Remembered[int], list[int]],
) -> None:
    known, asked = counted
    assert [known.get(), known.get(), known.refresh()] == [1, 1, 1]
    catalog.publish(AdapterRef.parse("film"), make_folder())
    assert [known.get(), known.get()] == [1, 1]
    assert [known.refresh(), known.get()] == [2, 2]
    assert len(asked) == 2


def test_what_takes_long_is_found_at_once_where_less_can_be_seen_than_before(
    catalog: Catalog,
    make_folder: Callable[..., Folder],
    counted: tuple[Remembered[int], list[int]],
) -> None:
    known, _ = counted
    ref = AdapterRef.parse("film")
    version = catalog.publish(ref, make_folder())
    assert known.get() == 1
    catalog.yank(version.ref, "wrong")
    assert [known.get(), known.get()] == [2, 2]
    catalog.delete(ref)
    assert [known.get(), known.get()] == [3, 3]


def test_what_is_quick_to_find_is_always_right(
    catalog: Catalog, make_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "QUICK", 60.0)
    numbers = iter(range(10))
    known = Remembered(catalog.database, lambda: next(numbers))
    assert [known.get(), known.get()] == [0, 0]
    catalog.publish(AdapterRef.parse("film"), make_folder())
    assert [known.get(), known.get()] == [1, 1]
