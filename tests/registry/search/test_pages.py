from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from registry import AdapterRef, Catalog, open_catalog
from registry.search import pages as statements_of_pages
from registry.search.search import search
from tests.registry.search.conftest import Publish, measured


@contextmanager
def counting_queries() -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


ORDERS: tuple[tuple[dict[str, Any], list[int]], ...] = (
    ({}, [6, 5, 4, 3, 2, 1, 0]),
    ({"text": "number"}, [6, 5, 4, 3, 2, 1, 0]),
    ({"tag": "t"}, [6, 5, 4, 3, 2, 1, 0]),
    ({"sort": "score"}, [2, 5, 4, 1, 6, 3, 0]),
    ({"sort": "score", "text": "number"}, [2, 5, 4, 1, 6, 3, 0]),
    ({"sort": "downloads", "tag": "t"}, [3, 6, 5, 4, 2, 1, 0]),
)


def test_pages_join_to_the_whole_list(catalog: Catalog, publish: Publish, tmp_path: Path) -> None:
    scores = {1: 0.5, 2: 0.9, 4: 0.5, 5: 0.7}
    for number in range(7):
        metrics = [measured("d", "loss", 9.0, False)]
        if number in scores:
            metrics.append(measured("d", "n", scores[number]))
        publish(f"number-{number}", tags=["t"], metrics=metrics)
    open_catalog(tmp_path / "elsewhere").pull(AdapterRef.parse("number-3"), catalog)
    for (query, order), limit in product(ORDERS, (1, 2, 7, 50)):
        joined: list[str] = []
        after = None
        while True:
            page = search(catalog, limit=limit, after=after, **query)
            assert 0 < len(page.items) <= limit
            joined += [str(version.ref) for version in page.items]
            after = page.next
            if after is None:
                break
        assert joined == [f"number-{number}@1" for number in order], (query, limit)


@pytest.mark.parametrize("size", [1, 6])
def test_a_page_costs_at_most_four_queries_whatever_its_size(
    catalog: Catalog, publish: Publish, size: int
) -> None:
    metric = {"dataset": "d", "split": "s", "name": "n", "value": 1, "higher_is_better": True}
    for number in range(size):
        publish(f"adapter-{number}", tags=["a", "b"], metrics=[metric])
        catalog.set_alias(AdapterRef.parse(f"adapter-{number}"), "best")
    with counting_queries() as statements:
        page = search(catalog, text="adapter", base="all-MiniLM-L6-v2", tag="a")
    assert len(page.items) == size
    assert all(len(version.metrics) == 1 for version in page.items)
    assert all(version.aliases == ("best",) for version in page.items)
    assert 2 <= len(statements) <= 4


@pytest.mark.parametrize("sort", ["date", "score", "downloads"])
def test_any_end_of_a_page_that_is_in_range_is_taken(catalog: Catalog, sort: Any) -> None:
    key = {"date": "", "score": "-inf:", "downloads": f"{2**63 - 1}:"}[sort]
    assert search(catalog, sort=sort, after=f"{key}{2**31 - 1}", max_size=2**63 - 1).items == ()


def test_a_search_that_looked_through_many_goes_on_where_it_stopped(
    catalog: Catalog, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements_of_pages, "MOST_CANDIDATES", 2)
    publish("wanted", task="rare", description="word")
    for number in range(3):
        publish(f"other-{number}", description="word")
    found: list[str] = []
    pages, after = 0, None
    while True:
        page = search(catalog, text="word", task="rare", after=after)
        found += [str(version.ref) for version in page.items]
        pages, after = pages + 1, page.next
        if after is None:
            break
    assert (found, pages) == (["wanted@1"], 3)
    assert len(search(catalog, text="word", limit=1).items) == 1
