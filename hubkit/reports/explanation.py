"""A page that shows which adapter of a fusion each word of a text attends to."""

from __future__ import annotations

from hubkit.models.attention import TokenAttention
from hubkit.reports.page import render


def explanation_page(found: TokenAttention, title: str, unit: str = "word") -> str:
    """An HTML page with the mean over the layers, and each layer.

    Args:
        found: What is shown.
        title: The text above it, such as the name of the fusion.
        unit: What a row of it is.
    """
    return render(
        "explanation.html",
        title=title,
        unit=unit,
        tokens=found.tokens,
        adapters=found.adapters,
        mean=found.mean().tolist(),
        layers=list(zip(found.layers, found.weights.tolist(), strict=True)),
    )
