"""Measure an adapter on labelled rows: the metrics alone, or as the registry keeps them."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version as installed_version

from hubkit.inference import AdaptedModel
from hubkit.measuring.answers import Answers, how_learned, learned_from
from hubkit.measuring.intervals import intervals
from hubkit.tasks.rows import Rows
from registry import Measurement
from registry.errors import DataError
from registry.log.log import current_user


def evaluate(model: AdaptedModel, rows: Rows, *, batch_size: int = 32) -> dict[str, float]:
    """The metrics of the model's task type on ``rows``, by name.

    Args:
        model: A loaded adapter, fusion, stack or mix.
        rows: As :func:`hubkit.training.data.read_rows` reads them.
        batch_size: Rows at a time.

    Raises:
        LabelError: A row has a label that the adapter does not know.
        DataError: The rows lack what the task type is to learn.
    """
    return Answers.of(model, rows, batch_size=batch_size).metrics()


def measure(
    model: AdaptedModel, rows: Rows, *, split: str = "test", batch_size: int = 32
) -> tuple[Measurement, ...]:
    """What :func:`evaluate` finds, each with its interval and the rows that it was found on; the
    metric that sums the task type up comes first.

    Args:
        model: A loaded adapter, fusion, stack or mix.
        rows: As :func:`hubkit.training.data.read_rows` reads them.
        split: Which part of the data they are.
        batch_size: Rows at a time.

    Raises:
        LabelError: A row has a label that the adapter does not know.
        DataError: The rows lack what the task type is to learn, or the adapter was trained on them.
    """
    if learned_from(model, rows):
        raise DataError(how_learned(model, rows), rows.name)
    answers = Answers.of(model, rows, batch_size=batch_size)
    sure, up, measured_at = intervals(answers), model.task.metrics_up, datetime.now(UTC)
    found = answers.metrics()
    return tuple(
        Measurement(
            metric=name,
            value=found[name],
            higher_is_better=up.get(name, False),
            low=sure[name][0] if name in sure else None,
            high=sure[name][1] if name in sure else None,
            rows=len(rows),
            data_sha256=rows.sha256,
            dataset=rows.name[-200:],
            split=split,
            measured_at=measured_at,
            actor=current_user(),
            hubkit=installed_version("hubkit"),
        )
        for name in dict.fromkeys([*(n for n in up if n in found), *found])
    )
