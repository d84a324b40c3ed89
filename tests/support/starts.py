"""What a run starts from, for a model that was made without hubkit loading it."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from hubkit.bases.describe import describe
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import TaskType
from hubkit.training.check import Checked
from hubkit.training.settings import Decided
from hubkit.training.start import Start
from registry.manifest import TextInfo


def start_with(
    model: PreTrainedModel, settings: Decided, task: TaskType[Any], rows: Rows, processor: Any
) -> Start:
    """What a run starts from whose model carries already what is to be trained."""
    rates = (settings.learning_rate,)
    checked = Checked(task, settings, rates, task.fit_plan(rows), rows, None)
    return Start(checked, model, describe(model), processor, TextInfo(max_length=16))
