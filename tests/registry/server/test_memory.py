"""What the database was just asked is remembered until anything changes."""

from collections.abc import Callable

import pytest

from registry import AdapterRef, Catalog, Folder
from registry.server import memory
from registry.server.memory import Memory


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


def test_the_memory_has_a_bound(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 2)
    known = Memory(catalog.database)
    for question in range(2):
        known.now().ask(question, lambda: "kept")
    assert known.now().ask(0, lambda: "asked again") == "asked again"
