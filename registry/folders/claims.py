"""What a card says was measured: told as the card's word, never as measured here."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.fields import Finite, Word

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


def claims_of(fields: Mapping[str, Any]) -> list[Claim]:
    """Return what the fields of a card claim, at most `MOST_CLAIMS`; malformed ones are left out.

    The form is that of the Hugging Face Hub: https://huggingface.co/docs/hub/model-cards.
    """
    return [*islice(_claims(fields), MOST_CLAIMS)]


def _claims(fields: Mapping[str, Any]) -> Iterator[Claim]:
    for model in _listed(fields, "model-index"):
        for result in _listed(model, "results"):
            dataset = result.get("dataset")
            if not isinstance(dataset, Mapping):
                continue
            for metric in _listed(result, "metrics"):
                try:
                    yield Claim.model_validate(
                        {
                            "metric": metric.get("type"),
                            "value": metric.get("value"),
                            "dataset": dataset.get("name"),
                            "split": dataset.get("split"),
                        }
                    )
                except ValidationError:
                    continue


def _listed(fields: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = fields.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
