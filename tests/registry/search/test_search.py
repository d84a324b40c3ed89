from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import AdapterRef, Catalog
from registry.errors import InvalidNameError
from registry.search.search import search
from registry.tables import text_index
from tests.registry.search.conftest import Publish, measured
from tests.support.sweeps import on_one_each


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
