"""What a card claims is bounded, and only what it claims."""

from __future__ import annotations

from typing import Any

import pytest

from hubkit.sharing.claims import MOST_CLAIMS, claims_of
from registry.folders.card import Card


@pytest.mark.parametrize(
    "index",
    [5, [], [5], [{"name": "x"}], [{"name": "x", "results": [{"task": 1}]}], [{"results": {}}]],
)
def test_a_card_that_is_malformed_claims_nothing(index: Any) -> None:
    assert claims_of(Card(data={"model-index": index})) == []


@pytest.mark.parametrize("value", ["0.9", True, float("inf"), None, [1], {"a": 1}])
def test_a_claim_is_a_finite_number_of_printable_names(value: Any) -> None:
    def card(dataset: str, value: Any, count: int = 1) -> Card:
        metrics = [{"type": "f1", "value": value}] * count
        result = {
            "task": {"type": "x"},
            "dataset": {"type": "y", "name": dataset},
            "metrics": metrics,
        }
        return Card(data={"model-index": [{"name": "x", "results": [result]}]})

    assert claims_of(card("y", value)) == []
    assert claims_of(card("\x1b[2J", 0.5)) == []
    assert len(claims_of(card("y", 0.5, count=200))) == MOST_CLAIMS
