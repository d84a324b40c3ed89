"""What a card says was measured: told as the card's word, never as measured here."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.fields import Finite, Word
from registry.folders.card import Card

MOST_CLAIMS = 100


class Claim(BaseModel):
    """One number in the ``model-index`` of a card.

    Attributes:
        metric: What was measured, in the card's words.
        value: A finite number, in whatever unit.
        dataset: On what.
        split: Which part of it; None where the card does not say.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    metric: Word
    value: Annotated[Finite, Field(strict=True)]
    dataset: Word
    split: Word | None = None


def claims_of(card: Card) -> list[Claim]:
    """Return what a card claims, at most `MOST_CLAIMS`; what is malformed is left out."""
    index = card.data.get("model-index")
    if not isinstance(index, list) or not index:
        return []
    from huggingface_hub.repocard_data import model_index_to_eval_results

    try:
        _, results = model_index_to_eval_results(index)
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
    found = []
    for one in results[:MOST_CLAIMS]:
        try:
            claim = Claim(
                metric=one.metric_type,
                value=one.metric_value,
                dataset=one.dataset_name,
                split=one.dataset_split,
            )
        except ValidationError:
            continue
        found.append(claim)
    return found
