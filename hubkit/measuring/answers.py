"""What a model answers to labelled rows, from which the metrics of any of the rows follow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hubkit.inference import AdaptedModel
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan, Outputs, TaskType

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """What one model gave for rows.

    Attributes:
        task: The task type.
        plan: The meaning of the outputs of the head.
        rows: The rows, with what is to be learned.
        encoded: How they were encoded.
        outputs: What the model gave for each feature.
    """

    task: TaskType[Any]
    plan: HeadPlan
    rows: Rows
    encoded: Encoded
    outputs: Outputs

    @classmethod
    def of(cls, model: AdaptedModel, rows: Rows, *, batch_size: int = 32) -> Answers:
        """Run a model on rows. That it was trained on the very same rows is noted.

        Raises:
            LabelError: A row has a label that the adapter does not know.
            DataError: The rows lack what the task type is to learn.
        """
        task = model.task
        task.check(rows, model.plan)
        if learned_from(model, rows):
            logger.warning("%s", how_learned(model, rows))
        outputs, encoded = model.outputs(task.rows_for_metrics(rows), batch_size=batch_size)
        return cls(task, model.plan, rows, encoded, outputs)

    def metrics(self) -> dict[str, float]:
        """The metrics of the task type."""
        return self.task.metrics(self.outputs, self.encoded, self.rows, self.plan)

    def select(self, indices: Sequence[int]) -> Answers:
        """The answers to the rows at these positions, each as often as it is named."""
        chosen = [self._features[row] for row in indices]
        features = [feature for of_row in chosen for feature in of_row]
        encoded = Encoded(
            _at(self.encoded.features, features),
            [row for row, of_row in enumerate(chosen) for _ in of_row],
            self.encoded.cut,
            self.encoded.limit,
            _at(self.encoded.beside, features),
            self.encoded.processor,
        )
        outputs = tuple(array[features] for array in self.outputs)
        return Answers(self.task, self.plan, self.rows.select(indices), encoded, outputs)

    def undefined(self) -> frozenset[str]:
        """Those of the metrics that have no value, as a correlation of numbers all equal."""
        return self.task.undefined(self.outputs, self.encoded, self.rows, self.plan)

    def row_values(self) -> Mapping[str, np.ndarray]:
        """The metrics that are means over rows: their value for each row, *shape* ``(rows,)``.

        NaN stands where a row takes no part in a metric.
        """
        return self.task.row_values(self.outputs, self.encoded, self.rows, self.plan)

    def row_choices(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The scores of the choices of each row, *shape* ``(rows, choices)``, and the position of
        the right one, *shape* ``(rows,)``; None where an answer is no choice of one among several.
        """
        return self.task.row_choices(self.outputs, self.encoded, self.rows, self.plan)

    @cached_property
    def _features(self) -> list[list[int]]:
        of_row: list[list[int]] = [[] for _ in range(len(self.rows))]
        for feature, row in enumerate(self.encoded.row_of):
            of_row[row].append(feature)
        return of_row


def _at(columns: Mapping[str, Sequence[Any]], places: Sequence[int]) -> dict[str, list[Any]]:
    return {name: [values[place] for place in places] for name, values in columns.items()}


def learned_from(model: AdaptedModel, rows: Rows) -> bool:
    """Whether the adapter was trained on these very rows."""
    training = model.manifest.training
    return training is not None and training.data_sha256 == rows.sha256


def how_learned(model: AdaptedModel, rows: Rows) -> str:
    """One sentence: the adapter was trained on these very rows."""
    return (
        f"{rows.name} holds the rows that {model.version.ref} was trained on: what is measured on "
        "them does not tell how good it is on others."
    )
