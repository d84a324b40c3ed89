"""Pages of repositories: what is rare is found as what is frequent is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from registry import AdapterRef, Catalog, Folder
from registry.history import listing
from registry.history.listing import Query, Sort
from registry.tables.listings import count_downloads
from registry.tables.reader import Reader
from tests.support.people import with_people

SORTS: tuple[Sort, ...] = ("modified", "created", "downloads")


@pytest.fixture
def shelf(catalog: Catalog, make_folder: Callable[..., Folder]) -> Catalog:
    """Nine repositories of alice in three kinds of methods and two types of tasks, some private."""
    with_people(catalog)
    for number in range(9):
        ref = AdapterRef("alice", f"r{number}")
        method = ("lora", "seq_bn", "par_bn")[number % 3]
        task_type = "ranking" if number in (1, 4, 5) else "fill-mask"
        catalog.publish(ref, make_folder(method={"type": method}, task_type=task_type))
        repository = catalog.history.find("model", ref)
        assert repository is not None
        if number != 7:
            catalog.history.set_visibility(repository, "public", "alice")
        downloads = {repository.id: (number * 5) % 9}
        catalog.database.transact(
            lambda connection, counts=downloads: count_downloads(connection, counts)
        )
    return catalog


def pages(catalog: Catalog, query: Query, reader: Reader) -> list[str]:
    """All repositories that a query finds, two a page."""
    found: list[str] = []
    after = None
    while True:
        listed, after = catalog.history.page(query, reader, limit=2, after=after)
        assert len(listed) <= 2
        found += [one.repository.full_name.removeprefix("alice/") for one in listed]
        if after is None:
            return found


WORDS: tuple[tuple[tuple[str, ...], list[str]], ...] = (
    (("r4",), ["r4"]),
    (("ALICE/R4",), ["r4"]),
    (("lice", "5"), ["r5"]),
    (("/r",), [f"r{number}" for number in range(8, -1, -1)]),
    (("alice", "r_"), []),
    (("bob",), []),
    (("r7",), ["r7"]),
)


def test_a_page_is_the_same_whether_words_are_looked_up_or_met(
    shelf: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for few, (words, expected) in product((0, 3), WORDS):
        monkeypatch.setattr(listing, "_FEW", few)
        query = Query(words=words)
        assert pages(shelf, query, Reader(everything=True)) == expected, words
        assert pages(shelf, query, Reader()) == [one for one in expected if one != "r7"], words


def test_a_page_is_the_same_whether_a_tag_is_looked_up_or_met(
    shelf: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Reader(everything=True)
    order = {
        "modified": list(range(8, -1, -1)),
        "created": list(range(8, -1, -1)),
        "downloads": sorted(range(9), key=lambda number: (number * 5) % 9, reverse=True),
    }
    methods = ("lora", "seq_bn", "par_bn", "absent", None)
    for few, sort, (place, method), task_type in product(
        (0, 3), SORTS, enumerate(methods), ("ranking", "fill-mask", None)
    ):
        monkeypatch.setattr(listing, "_FEW", few)
        tags = () if method is None else (method, "adapter")
        query = Query(tags=tags, pipeline_tag=task_type, sort=sort)
        expected = [
            f"r{number}"
            for number in order[sort]
            if (method is None or number % 3 == place)
            and (task_type is None or (number in (1, 4, 5)) is (task_type == "ranking"))
        ]
        assert pages(shelf, query, owner) == expected, query
        assert pages(shelf, query, Reader()) == [one for one in expected if one != "r7"], query
