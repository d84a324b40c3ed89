from collections.abc import Callable
from typing import Any

import pytest

from registry import AdapterRef, Catalog, Folder, InvalidNameError
from registry.search.leaderboard import leaderboard


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


@pytest.mark.parametrize(
    ("query", "expected"),
    [
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
    ],
)
def test_the_best_come_first(
    board: Catalog, query: dict[str, Any], expected: list[tuple[str, float]]
) -> None:
    assert ranks(board, **query) == expected


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
