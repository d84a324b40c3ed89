"""Check a job before a model is loaded: that takes seconds, and most mistakes show without it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from hubkit import processes
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import task_type
from hubkit.tasks.task import HeadPlan, TaskType
from hubkit.training.choosing.budget import FEW, decided
from hubkit.training.choosing.hold_out import hold_out
from hubkit.training.job import Job
from hubkit.training.progress import require_reporters
from hubkit.training.settings import Decided, Settings
from hubkit.training.weights import class_weights
from registry.errors import (
    DataError,
    NoTrunkError,
    NoValidationError,
    PrecisionError,
    TrainingError,
)


@dataclass(frozen=True)
class Checked:
    """What is known of a run before a model is loaded: its rows can be trained on.

    Attributes:
        task: What the rows are for.
        settings: How to train.
        rates: The learning rates to try.
        plan: The plan of the head.
        train: The rows to train on.
        validation: The rows that choose the best epoch.
        whole: All rows, where they are few: what is trained on once that was chosen.
        for_whole: How they are trained on, but for the learning rate.
    """

    task: TaskType[Any]
    settings: Decided
    rates: tuple[float, ...]
    plan: HeadPlan
    train: Rows
    validation: Rows | None
    whole: Rows | None = None
    for_whole: Decided | None = None

    @property
    def learned(self) -> Rows:
        """The rows that what is published was trained on."""
        return self.train if self.whole is None else self.whole

    def for_job(self, job: Job) -> Checked:
        """The rows and settings of another job for the same model, with the outputs of this one."""
        train, validation = _parts(job, self.task)
        settings = replace(job.settings, max_length=self.settings.max_length)
        whole = _whole(job)
        return replace(
            self,
            settings=decided(settings, len(train)),
            rates=settings.learning_rates,
            train=train,
            validation=validation,
            whole=whole,
            for_whole=None if whole is None else decided(settings, len(whole)),
        )

    def for_all(self, rate: float | None = None) -> Checked:
        """The run that trains on all of few rows, and validates with none.

        Args:
            rate: The learning rate; default: the first of those to try.
        """
        assert self.for_whole is not None
        settings = replace(self.for_whole, learning_rate=rate or self.rates[0])
        return replace(
            self,
            settings=settings,
            train=self.learned,
            validation=None,
            whole=None,
            for_whole=None,
        )


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
            f"{task.name} draws what is read of a row anew in each epoch, so nothing can be "
            "computed once.",
            task.name,
        )
    plan = task.fit_plan(job.data)
    train, validation = _parts(job, task)
    run = decided(settings, len(train))
    _join(run)
    if validation is not None:
        task.check(validation, plan)
    if settings.class_weights is not None:
        class_weights(settings.class_weights, task, train, plan)
    rates = settings.learning_rates
    if validation is None and len(rates) > 1:
        raise NoValidationError(
            f"{job.name}: one of {len(rates)} learning rates is chosen by rows that are not "
            "trained on, and there are none.",
            job.name,
            given=rates,
        )
    whole = _whole(job)
    for_whole = None if whole is None else decided(settings, len(whole))
    return Checked(task, run, rates, plan, train, validation, whole, for_whole)


def _whole(job: Job) -> Rows | None:
    """All rows, where they are too few to leave some out."""
    return job.data if job.validation is None and len(job.data) <= FEW else None


def _parts(job: Job, task: TaskType[Any]) -> tuple[Rows, Rows | None]:
    """What is trained on, and what the best epoch is chosen by."""
    if isinstance(job.validation, Rows):
        if not len(job.validation):
            raise DataError(f"There are no rows to validate {job.name} with.", job.name)
        return job.data, job.validation
    if job.validation == 0:
        return job.data, None
    return hold_out(job.data, task.strata(job.data), job.settings.seed, job.validation)


def _join(settings: Decided) -> None:
    """Join the other processes of this training.

    Raises:
        TrainingError: There are more processes than rows in a batch.
    """
    if processes.count() > settings.batch_size:
        raise TrainingError(
            f"A batch of {settings.batch_size} rows is shared by {processes.count()} processes; "
            "expected at least one row for each.",
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
