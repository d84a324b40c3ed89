"""The task types that hubkit runs."""

from __future__ import annotations

from transformers import PreTrainedModel

from hubkit.tasks.task import TaskType
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from registry.errors import AdapterError

TASK_TYPES: dict[str, TaskType] = {task.name: task for task in (TEXT_CLASSIFICATION,)}


def task_type(name: str | None, adapter: str) -> TaskType:
    """The row of a task type.

    Args:
        name: The task type in the manifest of ``adapter``.
        adapter: What needs it, for the message.

    Raises:
        AdapterError: hubkit does not run that task type.
    """
    if name in TASK_TYPES:
        return TASK_TYPES[name]
    raise AdapterError(
        f"{adapter} has the task type {name or 'none'}; hubkit runs {', '.join(TASK_TYPES)}. "
        "Load it with hubkit.Adapter.load and hubkit.attach to run it in a model of your own."
    )


def task_type_of(model: PreTrainedModel) -> str | None:
    """The task type that the head of ``model`` is for; None where no row knows it."""
    for task in TASK_TYPES.values():
        if type(model).__name__.endswith(task.head_suffix):
            return task.name
    return None
