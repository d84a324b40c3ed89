"""Spans of texts, and the entities that are found in them."""

from __future__ import annotations

from typing import Any


def facts(prediction: Any) -> list[tuple[str, int, int]]:
    return [(one.label, one.start, one.end) for one in prediction.entities]


def span(start: int, end: int, label: str = "A") -> dict[str, Any]:
    return {"start": start, "end": end, "label": label}
