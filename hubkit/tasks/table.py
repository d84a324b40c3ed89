"""The task types that hubkit trains and runs."""

from __future__ import annotations

from typing import Any

from hubkit.tasks.feature_extraction import FEATURE_EXTRACTION
from hubkit.tasks.images.image_classification import IMAGE_CLASSIFICATION
from hubkit.tasks.language.fill_mask import FILL_MASK
from hubkit.tasks.language.summarization import SUMMARIZATION
from hubkit.tasks.language.text2text import TEXT2TEXT
from hubkit.tasks.language.text_generation import TEXT_GENERATION
from hubkit.tasks.language.translation import TRANSLATION
from hubkit.tasks.multiple_choice import MULTIPLE_CHOICE
from hubkit.tasks.question_answering import QUESTION_ANSWERING
from hubkit.tasks.ranking import RANKING
from hubkit.tasks.task import TaskType
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from hubkit.tasks.text_regression import TEXT_REGRESSION
from hubkit.tasks.tokens.token_classification import TOKEN_CLASSIFICATION
from registry.errors import AdapterError

_TASKS: tuple[TaskType[Any], ...] = (
    TEXT_CLASSIFICATION,
    TEXT_REGRESSION,
    MULTIPLE_CHOICE,
    RANKING,
    TOKEN_CLASSIFICATION,
    QUESTION_ANSWERING,
    FEATURE_EXTRACTION,
    TEXT_GENERATION,
    FILL_MASK,
    TRANSLATION,
    SUMMARIZATION,
    TEXT2TEXT,
    IMAGE_CLASSIFICATION,
)
TASK_TYPES = {task.name: task for task in _TASKS}


def task_type(name: str | None, adapter: str) -> TaskType[Any]:
    """A task type by its name.

    Args:
        name: The task type in the manifest of ``adapter``.
        adapter: What needs it, for the message.

    Raises:
        AdapterError: hubkit does not run that task type.
    """
    if name in TASK_TYPES:
        return TASK_TYPES[name]
    if name is None:
        raise AdapterError(
            f"{adapter} names no task type, so that nothing says what is to be predicted. Publish "
            "it again with one: a folder of PEFT has it in adapter_config.json, as its task_type. "
            "Or attach it to a model of your own with hubkit.load_composition and hubkit.attach."
        )
    raise AdapterError(
        f"{adapter} has the task type {name}; hubkit runs {', '.join(TASK_TYPES)}. "
        "Load it with hubkit.Adapter.load and hubkit.attach to run it in a model of your own."
    )
