"""Measure a published adapter on rows of its task type."""

from __future__ import annotations

from hubkit.inference import AdaptedModel
from hubkit.measuring.answers import Answers
from hubkit.tasks.rows import Rows


def evaluate(model: AdaptedModel, rows: Rows, *, batch_size: int = 32) -> dict[str, float]:
    """The metrics of the model's task type on ``rows``.

    Args:
        model: A loaded adapter.
        rows: As :func:`hubkit.training.data.read_rows` reads them.
        batch_size: Rows at a time.

    Raises:
        LabelError: A row has a label that the adapter does not know.
        DataError: The rows lack what the task type is to learn.
    """
    return Answers.of(model, rows, batch_size=batch_size).metrics()
