"""Check a job before a model is loaded: that takes seconds, and most mistakes show without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from hubkit import processes
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import task_type
from hubkit.tasks.task import HeadPlan, TaskType
from hubkit.training.data import hold_out
from hubkit.training.job import Job
from hubkit.training.progress import require_reporters
from hubkit.training.settings import Settings
from hubkit.training.weights import class_weights
from registry.errors import DataError, NoTrunkError, PrecisionError, TrainingError


@dataclass(frozen=True)
class Checked:
    """What is known of a run before a model is loaded: its rows can be trained on."""

    task: TaskType[Any]
    settings: Settings
    plan: HeadPlan
    train: Rows
    validation: Rows | None


def checked_job(job: Job) -> Checked:
    """Make sure that a job can be trained, as far as that is known without a model.

    Raises:
        DataError: Its rows cannot be trained on.
        TrainingError: Its settings do not suit this machine.
    """
    task = task_type(job.task_type, str(job.name))
    settings = replace(job.settings, max_length=job.settings.max_length or task.max_length)
    require_reporters(settings.report_to)
    _require_precision(settings)
    if settings.cache_trunk is not None and task.draws_rows:
        raise NoTrunkError(
            f"{task.name} draws what is read of a row anew in each epoch, so that nothing could be "
            "computed once.",
            task.name,
        )
    _join(settings)
    plan = task.fit_plan(job.data)
    train, validation = parts_of(job, task)
    if validation is not None:
        task.check(validation, plan)
    if settings.class_weights is not None:
        class_weights(settings.class_weights, task, train, plan)
    return Checked(task, settings, plan, train, validation)


def parts_of(job: Job, task: TaskType[Any]) -> tuple[Rows, Rows | None]:
    """What is trained on, and what the best epoch is chosen by."""
    if isinstance(job.validation, Rows):
        if not len(job.validation):
            raise DataError(f"There are no rows to validate {job.name} with.", job.name)
        return job.data, job.validation
    if job.validation == 0:
        return job.data, None
    return hold_out(job.data, task.strata(job.data), job.settings.seed, job.validation)


def _join(settings: Settings) -> None:
    """Meet the other processes of this training."""
    if processes.count() > settings.batch_size:
        raise TrainingError(
            f"A batch of {settings.batch_size} rows is shared by {processes.count()} processes; "
            "expected a row or more for each.",
            given=settings.batch_size,
            expected=processes.count(),
        )
    processes.join()


def _require_precision(settings: Settings) -> None:
    if settings.precision == "fp16" and not torch.accelerator.is_available():
        raise PrecisionError(
            "The precision fp16 needs a GPU, and this machine has none; a processor computes in "
            "bf16, or in float32.",
            given="fp16",
            expected=("bf16", "no"),
        )
