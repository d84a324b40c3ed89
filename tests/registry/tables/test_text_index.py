from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import AdapterRef, Catalog, Folder, open_catalog
from registry.search.search import search

TEXTS = ("Films, über die man spricht", "film-noir 2024", "the filmography of CAFÉS", "Ein Café")
WORDS = st.sampled_from(
    ["film", "FILMS", "filmo", "uber", "ÜBER", "cafe", "café", "cafés", "2024", "202", "the", "x"]
)


@pytest.fixture
def both(
    catalog: Catalog, tmp_path: Path, make_folder: Callable[..., Folder]
) -> tuple[Catalog, Catalog]:
    """The same four adapters on PostgreSQL and on SQLite."""
    other = open_catalog(tmp_path / "other")
    for number, text in enumerate(TEXTS):
        folder = make_folder(description=text)
        for one in (catalog, other):
            one.publish(AdapterRef.parse(f"number-{number}"), folder)
    return catalog, other


@pytest.mark.postgresql
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(WORDS, min_size=1, max_size=3).map(" ".join))
def test_both_databases_find_the_same(both: tuple[Catalog, Catalog], text: str) -> None:
    found = [[str(item.ref) for item in search(one, text=text).items] for one in both]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("café ein", ["four@1"]),
        ("CAFE", ["four@1", "three@1"]),
        ("filmo", ["three@1"]),
        ("films uber", ["one@1"]),
        ("noir film", ["two@1"]),
        ("adapter film", ["three@1", "two@1", "one@1"]),
    ],
)
def test_a_word_is_found_whatever_its_case_and_accents_and_the_last_one_unfinished(
    catalog: Catalog, make_folder: Callable[..., Folder], text: str, found: list[str]
) -> None:
    for name, description in zip(("one", "two", "three", "four"), TEXTS, strict=True):
        catalog.publish(AdapterRef.parse(name), make_folder(description=description))
    assert [str(item.ref) for item in search(catalog, text=text).items] == found
