"""What is to be trained on, and how the result is to be called. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hubkit.tasks.rows import Rows
from hubkit.training.settings import Settings
from registry import AdapterRef
from registry.arguments import check_fields

HeadKind = Literal["transformers", "flexible"]
"""Whose head is trained."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be trained on, and how the result is to be called.

    Attributes:
        name: The name to publish under.
        task: The task of the adapter, for example ``sentiment``.
        data: The rows to train on.
        validation: Rows to choose the best epoch by. Or the part of ``data`` that is held out for
            that, such as 0.1; 0 trains on all rows, and keeps the last epoch. None: a fifth, at
            most 500 rows; where ``data`` has few rows (``hubkit.training.choosing.budget.FEW``),
            all of them are trained on after that, for all epochs.
        settings: How to train.
        tags: Words to find it by.
        description: A text for readers.
        task_type: A key of ``hubkit.tasks.table.TASK_TYPES``.
        source_language: The tokenizer's code for the language of what is read, such as ``en_XX``;
            for base models of many languages.
        target_language: The same for what is to be written.
        head: ``transformers`` for the head of the base model's class, ``flexible`` for that of
            AdapterHub's library, with two layers.
        source: How the rows were read, for the file that repeats the run; default: the name of
            ``data`` alone.
        part: The column and the value in it that chose the rows of ``data`` out of more, as one of
            many adapters that are trained in one run; None: there are no others.
        replace_name: Whether the name may mean another kind of thing so far.

    Raises:
        ArgumentError: One of them has another type, or is none of its choices.
    """

    name: AdapterRef
    task: str
    data: Rows
    validation: Rows | float | None = None
    settings: Settings
    tags: tuple[str, ...] = ()
    description: str = ""
    task_type: str = "text-classification"
    source_language: str | None = None
    target_language: str | None = None
    head: HeadKind = "transformers"
    source: Mapping[str, Any] = field(default_factory=dict)
    part: tuple[str, str] | None = None
    replace_name: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
