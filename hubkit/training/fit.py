"""One run of the stock ``Trainer``: early stopping, best checkpoint, resumed if broken off."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerState,
    TrainingArguments,
)

from hubkit.tasks.rows import Rows
from hubkit.tasks.running import outputs_of
from hubkit.tasks.task import Encoded, HeadPlan, TaskType, in_order
from hubkit.training.progress import EpochLines, is_cost
from hubkit.training.settings import Settings
from registry.errors import DivergedError, StorageError

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
class Fit:
    """What a run gave; the model holds the weights of its best epoch.

    Attributes:
        metrics: Of the best epoch on the validation rows; ``loss`` is among them.
        history: What the trainer logged, an entry for each epoch and kind.
        seconds: Wall-clock time of this process.
    """

    metrics: dict[str, float]
    history: list[dict[str, float]]
    seconds: float


def fit(
    model: PreTrainedModel,
    processor: Any,
    task: TaskType[Any],
    train: Measured,
    validation: Measured,
    plan: HeadPlan,
    settings: Settings,
    checkpoints: Path,
) -> Fit:
    """Train the parameters of ``model`` that require gradients.

    Args:
        processor: What made the features of the rows; it is kept with each checkpoint.
        task: How rows are batched, run and measured.
        train: What is trained on.
        validation: What the best epoch is chosen by.
        plan: Of the head.
        settings: How to train.
        checkpoints: A folder for this run alone. When it holds a checkpoint, the run goes on
            from there.

    Raises:
        DivergedError: The loss is not a number.
        StorageError: The disk is full or not writable; the next run goes on from there.
    """
    resumed = last_checkpoint(checkpoints)
    trainer = _trainer(
        model,
        processor,
        task,
        replace(settings, epochs=_epochs(settings, resumed)),
        checkpoints,
        train.encoded,
        validation,
        plan,
    )
    # The frozen base is on disk already: a checkpoint holds what is trained.
    model._keys_to_ignore_on_save = {
        name for name, parameter in model.named_parameters() if not parameter.requires_grad
    }
    if resumed:
        logger.warning("Going on from %s, epoch by epoch as before.", resumed.name)
    started = time.monotonic()
    try:
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            raise
        raise StorageError(
            f"Training broke off, because {checkpoints} cannot be written: {error}. Make room: the "
            "same training goes on from the last checkpoint.",
            checkpoints,
        ) from error
    history = [dict(entry) for entry in trainer.state.log_history]
    evaluations = [entry for entry in history if "eval_loss" in entry]
    best = min(evaluations, key=lambda entry: entry["eval_loss"])
    if not best["eval_loss"] < float("inf"):
        raise DivergedError(
            f"The validation loss is {best['eval_loss']}: training diverged at a learning rate of "
            f"{settings.learning_rate}.",
            given=settings.learning_rate,
        )
    metrics = {
        name.removeprefix("eval_"): value
        # Sorted, as they are once they have been through a checkpoint: a run that broke off
        # gives the same manifest.
        for name, value in sorted(best.items())
        if name.startswith("eval_") and not is_cost(name)
    }
    if validation.asked is not None:  # the trainer left the weights of the best epoch in the model
        model.train(False)
        outputs = outputs_of(
            task, processor, model, validation.asked, task.options(), 2 * settings.batch_size
        )
        metrics |= task.metrics(outputs, validation.asked, validation.rows, plan)
    return Fit(metrics, history, time.monotonic() - started)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``; one that broke off half-written is removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        try:
            # The trainer writes this file last.
            json.loads((path / "trainer_state.json").read_text())
            whole.append(path)
        except (OSError, ValueError):
            shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _epochs(settings: Settings, resumed: Path | None) -> int:
    """The epochs of the run: no more, where it broke off when it had just stopped early."""
    if resumed is None:
        return settings.epochs
    state = TrainerState.load_from_json(str(resumed / "trainer_state.json"))
    stopping = state.stateful_callbacks["EarlyStoppingCallback"]["attributes"]
    stopped = stopping["early_stopping_patience_counter"] >= settings.patience
    return round(state.epoch or 0) if stopped else settings.epochs


def _trainer(
    model: PreTrainedModel,
    processor: Any,
    task: TaskType[Any],
    settings: Settings,
    checkpoints: Path,
    train: Encoded,
    validation: Measured,
    plan: HeadPlan,
) -> Trainer:
    interactive = sys.stderr.isatty()
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        train_sampling_strategy="group_by_length" if "input_ids" in train.features else "random",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        # Early stopping counts on where the run broke off.
        restore_callback_states_from_checkpoint=True,
        metric_for_best_model="eval_loss",
        seed=settings.seed,
        report_to="none",
        disable_tqdm=not interactive,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.accelerator.is_available(),
        # What is trained is float32; the rest is computed as the base model is stored.
        bf16=model.dtype == torch.bfloat16,
        fp16=model.dtype == torch.float16,
    )

    encoded = validation.encoded
    order = encoded.by_length()

    def compute_metrics(found: EvalPrediction) -> dict[str, float]:
        arrays: Any = found.predictions
        outputs = in_order(arrays if isinstance(arrays, tuple) else (arrays,), order)
        return task.metrics(outputs, encoded, validation.rows, plan)

    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=_dataset(train, range(len(train))),
        eval_dataset=_dataset(encoded, order),
        processing_class=processor,
        data_collator=task.collator(processor, model),
        compute_metrics=None if task.generates else compute_metrics,
        callbacks=[EarlyStoppingCallback(settings.patience)],
    )
    trainer.task = task
    # Quiet in pipes and logs: the result is what the caller prints.
    trainer.remove_callback(ProgressCallback if interactive else PrinterCallback)
    if interactive:
        trainer.add_callback(EpochLines)
    return trainer


class _Trainer(Trainer):
    """The stock trainer, which evaluates as the task type runs its models."""

    task: TaskType[Any]

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches as the task type makes them for training."""
        evaluating, model = self.data_collator, self.model
        assert isinstance(model, PreTrainedModel)
        self.data_collator = self.task.training_collator(self.processing_class, model)
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = evaluating

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int]:
        # Batches of like length, but in an order that is known: predictions belong to rows. Several
        # processes take batches in turn and gather them in that order.
        return SequentialSampler(eval_dataset)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *more: Any, **named: Any) -> Any:
        """The loss of a training step, as ``TaskType.loss`` gives it."""
        loss = self.task.loss(model, inputs)
        return super().compute_loss(model, inputs, *more, **named) if loss is None else loss

    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Any, Any, Any]:
        """The loss and the outputs of a batch, as ``TaskType.run`` gives them."""
        if prediction_loss_only:
            return super().prediction_step(model, inputs, True, ignore_keys)
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.task.run(model, inputs, self.task.options())
        if loss is not None:
            loss = loss.detach().mean().float()
        kept = tuple(output.detach() for output in outputs)
        # The trainer measures nothing without labels; the task type has those of the rows.
        return loss, kept[0] if len(kept) == 1 else kept, kept[0].new_zeros(len(kept[0]))


def _dataset(encoded: Encoded, order: Sequence[int]) -> Dataset:
    return Dataset.from_dict(
        {name: [values[index] for index in order] for name, values in encoded.features.items()}
    )
