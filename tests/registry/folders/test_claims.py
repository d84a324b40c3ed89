"""What a card claims is bounded, and only what it claims."""

from __future__ import annotations

from typing import Any

import pytest

from registry.folders.claims import MOST_CLAIMS, Claim, claims_of


@pytest.mark.parametrize(
    "index",
    [5, [], [5], [{"name": "x"}], [{"name": "x", "results": [{"task": 1}]}], [{"results": {}}]],
)
def test_a_card_that_is_malformed_claims_nothing(index: Any) -> None:
    assert claims_of({"model-index": index}) == []


@pytest.mark.parametrize("value", ["0.9", True, float("inf"), None, [1], {"a": 1}])
def test_a_claim_is_a_finite_number_of_printable_names(value: Any) -> None:
    def card(dataset: str, value: Any, count: int = 1) -> dict[str, Any]:
        metrics = [{"type": "f1", "value": value}] * count
        result = {
            "task": {"type": "x"},
            "dataset": {"type": "y", "name": dataset},
            "metrics": metrics,
        }
        return {"model-index": [{"name": "x", "results": [result]}]}

    assert claims_of(card("y", value)) == []
    assert claims_of(card("\x1b[2J", 0.5)) == []
    assert len(claims_of(card("y", 0.5, count=200))) == MOST_CLAIMS


def test_a_malformed_claim_leaves_the_others() -> None:
    good = {"dataset": {"name": "films", "split": "test"}, "metrics": [{"type": "f1", "value": 1}]}
    bad = [{"dataset": 5, "metrics": [{}]}, {"dataset": {}, "metrics": [{"type": "f1"}]}, 7]
    index = [{"results": [bad[0], good, *bad[1:]]}, 5, {"results": [good]}]
    claim = Claim(metric="f1", value=1.0, dataset="films", split="test")
    assert claims_of({"model-index": index}) == [claim, claim]
