from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from registry import AdapterRef, Catalog, Folder, InvalidNameError
from registry.search import search

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


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"task": "sentiment"}, True),
        ({"task": "sent"}, False),
        ({"task_type": "text-classification"}, True),
        ({"task_type": "token-classification"}, False),
        ({"method": "seq_bn"}, True),
        ({"method": "lora"}, False),
        ({"kind": "adapter"}, True),
        ({"kind": "fusion"}, False),
        ({"tag": "movies"}, True),
        ({"tag": "movie"}, False),
        ({"owner": "alice"}, True),
        ({"owner": "ALICE"}, True),
        ({"owner": "ali"}, False),
        ({"base": "sentence-transformers/all-MiniLM-L6-v2"}, True),
        ({"base": "all-MiniLM-L6-v2"}, True),
        ({"base": "MiniLM"}, False),
        ({"base": "ab" * 32}, True),
        ({"base": "abababab"}, True),
        ({"base": "abababa"}, False),
        ({"base": "abababac"}, False),
        ({"text": "reviews"}, True),
        ({"text": "REVIEWS of films"}, True),
        ({"text": "review"}, True),
        ({"text": "revi fil"}, False),
        ({"text": "films revi"}, True),
        ({"text": "sst2"}, True),
        ({"text": "alice/sst-2"}, False),
        ({"text": "alice/sst2"}, True),
        ({"text": "all-MiniLM"}, True),
        ({"text": "sentiment seq_bn"}, True),
        ({"text": "café"}, True),
        ({"text": "cafe"}, True),
        ({"text": "reviews NOT films"}, False),
        ({"text": "..."}, False),
        ({"text": ""}, False),
        ({"task": "sentiment", "tag": "movies", "text": "films"}, True),
        ({"task": "sentiment", "tag": "music"}, False),
    ],
)
def test_an_adapter_is_found_by_all_that_is_asked(
    catalog: Catalog, publish: Publish, query: dict[str, str], found: bool
) -> None:
    publish(
        "alice/sst2",
        task="sentiment",
        task_type="text-classification",
        tags=["movies", "café"],
        description="Reviews of films.",
    )
    assert names(catalog, **query) == (["alice/sst2@1"] if found else [])


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


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 50])
def test_pages_join_to_the_whole_list(catalog: Catalog, publish: Publish, limit: int) -> None:
    for number in range(7):
        publish(f"adapter-{number}")
    joined: list[str] = []
    after = None
    while True:
        page = search(catalog, limit=limit, after=after)
        assert 0 < len(page.items) <= limit
        joined += [str(version.ref) for version in page.items]
        after = page.next
        if after is None:
            break
    assert joined == [f"adapter-{number}@1" for number in reversed(range(7))]


@pytest.mark.parametrize("size", [1, 6])
def test_a_page_costs_four_queries_whatever_its_size(
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
    assert len([statement for statement in statements if statement != "BEGIN"]) == 4


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 1001}, {"after": "x"}, {"after": "-1"}, {"owner": "a b"}]
)
def test_a_malformed_page_or_owner_is_refused(catalog: Catalog, query: dict[str, Any]) -> None:
    with pytest.raises(InvalidNameError):
        search(catalog, **query)
