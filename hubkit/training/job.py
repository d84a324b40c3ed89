"""What is to be trained on, and how the result is to be called. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from hubkit.training.data import LabelledText
from hubkit.training.settings import Settings
from registry import AdapterRef


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be trained on, and how the result is to be called.

    Attributes:
        name: The name to publish under.
        task: What the adapter does, for example ``sentiment``.
        data: The labelled texts.
        validation: Labelled texts to choose the best epoch by; None holds out part of ``data``.
        settings: How to train.
        tags: Words to find it by.
        description: For people.
        task_type: A key of ``hubkit.tasks.text_classification.table.TASK_TYPES``.
    """

    name: AdapterRef
    task: str
    data: LabelledText
    validation: LabelledText | None
    settings: Settings
    tags: tuple[str, ...] = ()
    description: str = ""
    task_type: str = "text-classification"
