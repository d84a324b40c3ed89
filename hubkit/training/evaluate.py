"""Measure a published adapter on labelled text."""

from __future__ import annotations

import numpy as np

from hubkit.inference import AdaptedModel
from hubkit.tasks.table import task_type
from hubkit.training.data import LabelledText


def evaluate(model: AdaptedModel, data: LabelledText) -> dict[str, float]:
    """The metrics of the model's task type on ``data``.

    Raises:
        LabelError: A row has a label that the adapter does not know.
    """
    expected = np.array(data.label_ids(model.labels))
    manifest = model.manifest
    task = task_type(manifest.task_type, str(model.version.ref))
    return task.metrics(expected, model.logits(data.texts).argmax(-1).numpy())
