from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from registry import AdapterRef, Catalog, Folder
from registry.errors import AmbiguousDataSetError, InvalidNameError
from registry.search.leaderboard import leaderboard
from registry.server.admitting import reader_of
from registry.tables.reader import Reader
from tests.support.measurements import measurement
from tests.support.people import with_people


def measured(name: str, value: float, *, higher: bool = True, **other: str) -> dict[str, Any]:
    facts = {"dataset": "imdb", "split": "test"} | other
    return {**facts, "name": name, "value": value, "higher_is_better": higher}


@pytest.fixture
def board(catalog: Catalog, make_folder: Callable[..., Folder]) -> Catalog:
    """Three adapters that were measured on imdb, one of them twice, and one that was not."""
    for name, fields in {
        "low": {"metrics": [measured("accuracy", 0.5), measured("loss", 2, higher=False)]},
        "high": {
            "task": "sentiment",
            "metrics": [
                measured("accuracy", 0.1, dataset="sst2"),
                measured("accuracy", 0.9),
                measured("accuracy", 0.8, split="dev"),
                measured("loss", 3, higher=False),
            ],
        },
        "middle": {"task": "sentiment", "metrics": [measured("accuracy", 0.7)]},
        "none": {"task": "sentiment"},
    }.items():
        catalog.publish(AdapterRef.parse(name), make_folder(**fields))
    return catalog


def ranks(catalog: Catalog, **query: Any) -> list[tuple[str, float]]:
    found = leaderboard(catalog, query.pop("dataset", "imdb"), **query)
    return [(rank.version.ref.name, rank.metric.value) for rank in found]


BEST: tuple[tuple[dict[str, Any], list[tuple[str, float]]], ...] = (
    ({}, [("high", 0.9), ("high", 0.8), ("middle", 0.7), ("low", 0.5)]),
    ({"split": "test"}, [("high", 0.9), ("middle", 0.7), ("low", 0.5)]),
    ({"split": "test", "limit": 1}, [("high", 0.9)]),
    ({"metric": "loss"}, [("low", 2.0), ("high", 3.0)]),
    ({"task": "sentiment", "split": "test"}, [("high", 0.9), ("middle", 0.7)]),
    ({"base": "bert", "split": "dev"}, [("high", 0.8)]),
    ({"base": "roberta"}, []),
    ({"metric": "f1"}, []),
    ({"dataset": "sst2"}, [("high", 0.1)]),
    ({"dataset": "unknown"}, []),
)


def test_the_best_come_first(board: Catalog) -> None:
    for query, expected in BEST:
        assert ranks(board, **query) == expected, query


def test_only_the_newest_version_counts_and_not_if_it_is_yanked(
    board: Catalog, make_folder: Callable[..., Folder]
) -> None:
    newer = make_folder(metrics=[measured("accuracy", 0.6)])
    version = board.publish(AdapterRef.parse("high"), newer)
    assert ranks(board) == [("middle", 0.7), ("high", 0.6), ("low", 0.5)]
    board.yank(version.ref, "worse")
    assert ranks(board, split="test")[0] == ("high", 0.9)


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_length_out_of_range_is_refused(board: Catalog, limit: int) -> None:
    with pytest.raises(InvalidNameError, match="1 to 1000 rows"):
        leaderboard(board, "imdb", limit=limit)


ROWS, OTHERS = "5e" * 32, "6f" * 32


def record(catalog: Catalog, name: str, day: int, value: float, **fields: Any) -> None:
    at = datetime(2026, 1, day, tzinfo=UTC)
    one = measurement(value=value, measured_at=at, **{"dataset": "imdb", **fields})
    catalog.record(AdapterRef.parse(name), [one])


@pytest.fixture
def known(catalog: Catalog, make_folder: Callable[..., Folder]) -> Catalog:
    """Three adapters whose trainings measured them on the same rows."""
    for name, value in (("low", 0.5), ("high", 0.9), ("middle", 0.7)):
        metric = measured("accuracy", value, dataset=f"imdb#{ROWS[:12]}", split="validation")
        catalog.publish(AdapterRef.parse(name), make_folder(metrics=[metric]))
    return catalog


def test_what_was_recorded_counts_before_what_training_measured_and_the_newest_of_it(
    known: Catalog,
) -> None:
    record(known, "high", 1, 0.95)
    record(known, "high", 2, 0.6)
    assert ranks(known) == [("middle", 0.7), ("high", 0.6), ("low", 0.5)]
    assert ranks(known, limit=1) == [("middle", 0.7)]
    assert ranks(known, split="test") == [("high", 0.6)]
    recorded = [rank.measurement for rank in leaderboard(known, "imdb")]
    assert [one and one.value for one in recorded] == [None, 0.6, None]
    record(known, "low", 1, 3.0, metric="mae", higher_is_better=False)
    record(known, "high", 1, 2.0, metric="mae", higher_is_better=False)
    assert ranks(known, metric="mae") == [("high", 2.0), ("low", 3.0)]


def test_what_was_recorded_on_the_same_rows_is_ranked_together_whatever_they_were_called(
    known: Catalog,
) -> None:
    record(known, "low", 1, 0.8, dataset="copy.csv")
    record(known, "middle", 1, 0.6)
    expected = [("high", 0.9), ("low", 0.8), ("middle", 0.6)]
    for name in ("imdb", f"imdb#{ROWS}", "copy.csv", f"copy.csv#{ROWS[:12]}"):
        assert ranks(known, dataset=name) == expected


def test_data_sets_that_only_share_a_name_are_never_ranked_together(
    known: Catalog, make_folder: Callable[..., Folder]
) -> None:
    record(known, "low", 1, 0.99, data_sha256=OTHERS)
    with pytest.raises(AmbiguousDataSetError) as caught:
        leaderboard(known, "imdb")
    assert caught.value.found == [f"imdb#{ROWS[:12]}", f"imdb#{OTHERS[:12]}"]
    assert ranks(known, dataset=f"imdb#{OTHERS[:12]}") == [("low", 0.99)]
    assert ranks(known, dataset=f"imdb#{ROWS[:12]}") == [
        ("high", 0.9),
        ("middle", 0.7),
        ("low", 0.5),
    ]
    folder = make_folder(metrics=[measured("accuracy", 0.4)])
    known.publish(AdapterRef.parse("unknown-rows"), folder)
    with pytest.raises(AmbiguousDataSetError, match="3 data sets"):
        leaderboard(known, "imdb")
    assert ranks(known, dataset="imdb#") == [("unknown-rows", 0.4)]


def test_a_deleted_adapter_and_an_older_version_are_not_ranked_by_what_was_recorded(
    known: Catalog, make_folder: Callable[..., Folder]
) -> None:
    for name in ("high", "low"):
        record(known, name, 1, 0.95)
    known.delete(AdapterRef.parse("high"))
    known.publish(AdapterRef.parse("low"), make_folder())
    assert ranks(known) == [("middle", 0.7)]


def test_on_a_hub_only_what_the_reader_may_see_counts(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    people = with_people(catalog)
    for name, value, visibility in (
        ("alice/open", 0.5, "public"),
        ("alice/secret", 0.9, "private"),
        ("acme/secret", 0.8, "private"),
        ("without-owner", 1.0, None),
    ):
        ref = AdapterRef.parse(name)
        metrics = [measured("accuracy", value)]
        if visibility != "public":
            metrics += [measured("a-secret", value), measured("accuracy", value, dataset="hidden")]
        catalog.publish(ref, make_folder(metrics=metrics))
        if visibility == "public":
            repository = catalog.history.find("model", ref)
            assert repository is not None
            catalog.history.set_visibility(repository, visibility, "alice")
    for by, expected in (
        (None, [0.5]),
        ("bob", [0.5]),
        ("carol", [0.8, 0.5]),
        ("alice", [0.9, 0.8, 0.5]),
        ("root writes", [0.5]),
        ("root", [0.9, 0.8, 0.5]),
    ):
        reader = reader_of(people.caller(by))
        seen = leaderboard(catalog, "imdb", metric="accuracy", reader=reader)
        assert [rank.metric.value for rank in seen] == expected, by
        # What nobody asked for by name is not told either: the first metric in the alphabet.
        first = leaderboard(catalog, "imdb", reader=reader)[0].metric.name
        assert first == ("accuracy" if len(expected) == 1 else "a-secret")
        assert bool(leaderboard(catalog, "hidden", reader=reader)) is (len(expected) > 1)
    assert [rank.metric.value for rank in leaderboard(catalog, "imdb", metric="accuracy")] == [
        *(1.0, 0.9, 0.8, 0.5),
    ]


def test_on_a_hub_data_sets_that_the_reader_may_not_know_of_are_not_told(known: Catalog) -> None:
    with_people(known)
    for name in ("low", "high", "middle"):
        known.move(AdapterRef.parse(name), AdapterRef("alice", name))
    record(known, "alice/low", 1, 0.99, data_sha256=OTHERS)
    for name in ("high", "middle"):
        repository = known.history.find("model", AdapterRef("alice", name))
        assert repository is not None
        known.history.set_visibility(repository, "public", "alice")
    found = leaderboard(known, "imdb", reader=Reader())
    assert [rank.metric.value for rank in found] == [0.9, 0.7]
    assert leaderboard(known, f"imdb#{OTHERS[:12]}", reader=Reader()) == ()
    with pytest.raises(AmbiguousDataSetError):
        leaderboard(known, "imdb", reader=Reader(everything=True))
