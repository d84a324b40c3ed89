from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from registry import AdapterRef, Catalog, Folder, open_catalog
from registry.errors import InvalidNameError
from registry.search import pages as statements_of_pages
from registry.search.search import search
from registry.tables import text_index
from tests.support.sweeps import on_one_each

MakeFolder = Callable[..., Folder]
Publish = Callable[..., None]


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


@pytest.fixture
def publish(catalog: Catalog, make_folder: MakeFolder) -> Publish:
    def publish(ref: str, **fields: Any) -> None:
        catalog.publish(AdapterRef.parse(ref), make_folder(**fields))

    return publish


def measured(dataset: str, name: str, value: float, higher: bool = True) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "split": "test",
        "name": name,
        "value": value,
        "higher_is_better": higher,
    }


def names(catalog: Catalog, **query: Any) -> list[str]:
    return [str(version.ref) for version in search(catalog, **query).items]


def test_the_newest_version_of_each_adapter_is_listed_latest_first(
    catalog: Catalog, publish: Publish
) -> None:
    for ref in ("one", "two", "one", "three"):
        publish(ref)
    assert names(catalog) == ["three@1", "one@2", "two@1"]
    catalog.yank(AdapterRef.parse("one@2"), "bad")
    catalog.yank(AdapterRef.parse("three@1"), "bad")
    assert names(catalog) == ["two@1", "one@1"]


FINDING: tuple[dict[str, Any], ...] = (
    {"task": "sentiment"},
    {"task_type": "text-classification"},
    {"method": "seq_bn"},
    {"kind": "adapter"},
    {"tag": "movies"},
    {"owner": "alice"},
    {"owner": "ALICE"},
    {"base": "sentence-transformers/all-MiniLM-L6-v2"},
    {"base": "all-MiniLM-L6-v2"},
    {"base": "ab" * 32},
    {"base": "abababab"},
    {"text": "reviews"},
    {"text": "REVIEWS of films"},
    {"text": "review"},
    {"text": "films revi"},
    {"text": "sst2"},
    {"text": "alice/sst2"},
    {"text": "all-MiniLM"},
    {"text": "sentiment seq_bn"},
    {"text": "café"},
    {"text": "cafe"},
    {"task": "sentiment", "tag": "movies", "text": "films"},
    {"base": "bert"},
    {"language": "en"},
    {"license": "mit"},
    {"max_size": 1000},
    {"metric": "accuracy>=0.9"},
    {"metric": "accuracy<=9e-1"},
    {"dataset": "imdb"},
    {"dataset": "imdb", "metric": "accuracy>0.5"},
    {"text": "an adapter of films"},
    {"text": "films", "tag": "movies", "base": "bert", "metric": "accuracy>0.5"},
)
MISSING: tuple[dict[str, Any], ...] = (
    {"task": "sent"},
    {"task_type": "token-classification"},
    {"method": "lora"},
    {"kind": "fusion"},
    {"tag": "movie"},
    {"owner": "ali"},
    {"base": "MiniLM"},
    {"base": "abababa"},
    {"base": "abababac"},
    {"text": "revi fil"},
    {"text": "alice/sst-2"},
    {"text": "reviews NOT films"},
    {"text": "..."},
    {"text": ""},
    {"task": "sentiment", "tag": "music"},
    {"base": "roberta"},
    {"language": "de"},
    {"license": "apache-2.0"},
    {"max_size": 1},
    {"metric": "accuracy > 0.9"},
    {"metric": "accuracy<0.9"},
    {"metric": "f1>0"},
    {"dataset": "sst2"},
    {"dataset": "imdb", "metric": "loss>0"},
    {"text": "adapter"},
    {"text": "films", "tag": "music"},
    {"text": "s"},
)


def test_an_adapter_is_found_by_all_that_is_asked(catalog: Catalog, publish: Publish) -> None:
    publish(
        "alice/sst2",
        task="sentiment",
        task_type="text-classification",
        tags=["movies", "café"],
        description="Reviews of films.",
        language="en",
        license="mit",
        metrics=[measured("imdb", "accuracy", 0.9), measured("other", "loss", 0.1, False)],
    )
    for query in FINDING:
        assert names(catalog, **query) == ["alice/sst2@1"], query
    for query in MISSING:
        assert names(catalog, **query) == [], query


def test_an_adapter_is_found_by_its_newest_version_only(catalog: Catalog, publish: Publish) -> None:
    publish("one", task="old")
    publish("one", task="new")
    assert names(catalog, task="old") == names(catalog, text="old") == []
    assert names(catalog, task="new") == names(catalog, text="new") == ["one@2"]


def test_an_owner_is_not_the_prefix_of_a_name(catalog: Catalog, publish: Publish) -> None:
    for ref in ("a-b/x", "a/x", "a", "ab/x", "a_b"):
        publish(ref)
    assert names(catalog, owner="a") == ["a/x@1"]
    assert names(catalog, owner="a_b") == ["a-b/x@1"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30) | st.text(st.sampled_from('"*^:()-+ ANDORNEAR\0é'), max_size=30))
def test_whatever_is_typed_is_searched_for_and_never_an_error(catalog: Catalog, text: str) -> None:
    assert names(catalog, text=text) == []


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


REFUSED: tuple[dict[str, Any], ...] = (
    {"limit": 0},
    {"limit": 1001},
    {"after": "x"},
    {"after": "-1"},
    {"after": "0.5:1"},
    {"after": "1", "sort": "score"},
    {"after": "x:1", "sort": "score"},
    {"owner": "a b"},
    {"metric": "accuracy"},
    {"metric": "accuracy>=much"},
    {"metric": ">=1"},
    {"metric": "accuracy>=1.2.3"},
    {"after": "nan:1", "sort": "score"},
    {"after": "1.2.3:1", "sort": "score"},
    {"after": "9999999999"},
    {"after": f"{2**63}:1", "sort": "downloads"},
    {"max_size": -1},
    {"max_size": 2**63},
    {"base": "\ud800"},
    {"tag": "a\0b"},
    {"metric": "a\0b>=1"},
    {"dataset": "\ud800"},
)


@on_one_each("query", [(query,) for query in REFUSED])
def test_what_no_registry_can_hold_or_give_is_refused(
    catalog: Catalog, query: dict[str, Any]
) -> None:
    with pytest.raises(InvalidNameError, match=r"page|owner|bound|size|Unicode|control characters"):
        search(catalog, **query)


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


def test_a_last_word_that_many_have_stands_for_no_other(
    catalog: Catalog, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_index, "MANY", 2)
    publish("one", description="film")
    publish("two", description="filmography")
    assert names(catalog, text="film") == ["two@1", "one@1"]
    publish("three", description="the film")
    assert names(catalog, text="film") == ["three@1", "one@1"]
    assert names(catalog, text="filmo") == ["two@1"]
