"""What a run starts from: checked rows, and a base model with a new head for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, set_seed

from hubkit.bases.check import require_known_model
from hubkit.bases.describe import describe
from hubkit.bases.load import load_model
from hubkit.composing.combine import Chosen
from hubkit.models.flexible_head import load_with_flexible_head
from hubkit.models.head import head_to_train, made_outlet
from hubkit.tasks.rows import Rows
from hubkit.tasks.running import encode
from hubkit.tasks.task import Encoded
from hubkit.training.check import Checked, checked_job
from hubkit.training.choosing.doubts import note_doubts
from hubkit.training.job import Job
from hubkit.training.settings import Settings
from registry import Catalog
from registry.manifest import BaseModelInfo, TextInfo, manifest_errors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """Rows, and what the model reads of them.

    Attributes:
        rows: The rows.
        encoded: Their features.
        asked: The features that a model which generates answers, to be measured; None for others.
    """

    rows: Rows
    encoded: Encoded
    asked: Encoded | None = None


@dataclass(frozen=True)
class Start:
    """What a run starts from: checked rows, and a base model with a new head for them."""

    checked: Checked
    model: PreTrainedModel
    base: BaseModelInfo
    processor: Any
    text: TextInfo

    def encode(self, rows: Rows) -> Encoded:
        """The rows as the model reads them.

        Raises:
            DataError: As :func:`~hubkit.tasks.running.encode`.
        """
        task, plan = self.checked.task, self.checked.plan
        return encode(task, self.processor, self.model, rows, plan, self.text)

    def features(self) -> tuple[Measured, Measured | None]:
        """What is trained on, and what the best epoch is chosen by, as the model reads them."""
        task, validation = self.checked.task, self.checked.validation
        learned = Measured(self.checked.train, self.encode(self.checked.train))
        if validation is None:
            return learned, None
        measured = Measured(validation, self.encode(validation))
        if task.generates:
            asked = self.encode(task.rows_for_metrics(validation))
            measured = replace(measured, asked=asked)
        return learned, measured


def start_of(
    catalog: Catalog,
    job: Job,
    base: str,
    known: Sequence[Chosen] = (),
    revision: str | None = None,
) -> Start:
    """Check the rows, then load the base model, with a head for what the rows have.

    Args:
        base: Where the base model is.
        known: Published adapters that have to fit it.
        revision: Its commit on a hub; default: of the main branch.
    """
    checked = checked_job(job)
    note_doubts(checked.task, [(checked.train, checked.validation)])
    return loaded(catalog, job, checked, base, known, revision)


def loaded(
    catalog: Catalog,
    job: Job,
    checked: Checked,
    base: str,
    known: Sequence[Chosen] = (),
    revision: str | None = None,
) -> Start:
    """Load the base model of a job that was checked; the arguments are those of `start_of`."""
    task, settings, plan = checked.task, checked.settings, checked.plan
    # The head starts at random weights.
    set_seed(settings.seed)
    model: PreTrainedModel
    if job.head == "flexible":
        flexible = task.flexible_head(job.data, plan)
        model, _ = load_with_flexible_head(base, flexible, revision=revision, **plan.config())
    else:
        model = load_model(base, task.load_class(base), revision=revision, **plan.config())
    processor, asked = task.load_processor(base, model), _asked(job, settings)
    # Before it is prepared: that may give it another token for padding.
    for version, manifest in known:
        own = (*head_to_train(model), *made_outlet(model))
        require_known_model(catalog.home, version, manifest, model, processor, base=base, own=own)
    described = describe(model, processor)
    task.prepare(processor, model, plan, asked)
    return Start(checked, model, described, processor, text_of(job, checked, model, processor))


def text_of(job: Job, checked: Checked, model: PreTrainedModel, processor: Any) -> TextInfo:
    """How the texts of a job are cut and joined, for a model that is prepared.

    Raises:
        DataError: Something was chosen that the task type does not have, or the rows to validate
            with have another form than those to train on.
    """
    text = checked.task.text_info(processor, model, _asked(job, checked.settings), job.data)
    if checked.validation is not None:
        checked.task.require_form(checked.validation, text)
    return text


def _asked(job: Job, settings: Settings) -> TextInfo:
    """The user's choices of how texts are cut and written."""
    with manifest_errors(f"What is asked for {job.name}"):
        return TextInfo(
            max_length=settings.max_length,
            target_max_length=settings.target_max_length,
            source_language=job.source_language,
            target_language=job.target_language,
        )


def keep_precision(model: PreTrainedModel, settings: Settings) -> None:
    """Train in float32 also on a base model of less: small steps would be lost in rounding."""
    on_processor = model.dtype == torch.float16 and not torch.cuda.is_available()
    if settings.precision == "no" or on_processor:
        nn.Module.to(model, torch.float32)  # a processor computes float16 in part only
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def note_cut(cut: int, rows: int, text: TextInfo) -> None:
    """Warn of rows that are cut, and count them."""
    if cut:
        logger.warning(
            "%d of %d rows have more than %s tokens; the rest of them is cut off.",
            cut,
            rows,
            text.max_length,
        )
