"""One run of the trainer: early stopping, the best checkpoint, and resuming after a break."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers.integrations.integration_utils import TensorBoardCallback

from hubkit import processes
from hubkit.tasks.running import outputs_of
from hubkit.training.progress import EpochLines, is_cost
from hubkit.training.settings import Decided
from hubkit.training.start import Measured, Start
from hubkit.training.trainer import RowTrainer, make_trainer
from hubkit.training.trunk.cache import trunk_cached
from hubkit.training.weights import class_weights
from registry.errors import DivergedError, StorageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """What a run gave; the model holds the weights of its best epoch.

    Attributes:
        metrics: Of the best epoch on the validation rows; ``loss`` is among them.
        history: The trainer's log, an entry for each epoch and kind.
        seconds: Wall-clock time of this process.
        steps: After how many steps the weights were as the model holds them.
        at_most: How many there could have been.
        pictures: Of the best epoch on the validation rows, as PNG files by name.
    """

    metrics: dict[str, float]
    history: list[dict[str, float]]
    seconds: float
    steps: int
    at_most: int
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def fit(
    start: Start,
    train: Measured,
    validation: Measured | None,
    settings: Decided,
    checkpoints: Path,
    *,
    reports: Path | None = None,
    told: bool = True,
) -> Fit:
    """Train the parameters of the model that require gradients.

    Each of several processes makes this call with the same arguments, and computes its part of
    every batch. The result is that of one process, except for random numbers in the model. Only the
    first returns pictures, and the metrics of a model that generates.

    Args:
        start: The model, and how rows are batched, run and measured. Its processor is kept with
            each checkpoint.
        train: The rows to train on.
        validation: The rows that choose the best epoch; None: the last epoch is kept.
        settings: How to train.
        checkpoints: A folder for this run alone. If it holds a checkpoint, the run is resumed from
            there; if that run has ended, its result is returned again.
        reports: A folder for what TensorBoard shows; default: one in ``checkpoints``.
        told: Whether people on a terminal see a line for each epoch.

    Raises:
        DivergedError: The loss is not a number.
        LabelError: The settings weigh a class that does not exist.
        DataError: They weigh classes, and the task type has none.
        StorageError: The disk is full or not writable; the next run resumes from there.
        NoTrunkError: The trunk is to be cached, and the model has none.
    """
    model, task, plan = start.model, start.checked.task, start.checked.plan
    with ExitStack() as stack:
        weights = None
        if settings.class_weights is not None:
            weights = class_weights(settings.class_weights, task, train.rows, plan)
            stack.enter_context(weights.inside(model))
        if settings.gradient_checkpointing:
            stack.enter_context(_checkpointed(model))
        if settings.cache_trunk is not None:
            rows = [part.encoded for part in (train, validation) if part is not None]
            stack.enter_context(trunk_cached(model, checkpoints, settings.cache_trunk, rows))
        last = processes.from_first(partial(last_checkpoint, checkpoints))
        resumed = None if last is None else checkpoints / last.name
        trainer = make_trainer(
            start, train.encoded, validation, settings, checkpoints, weights=weights
        )
        if not told:
            trainer.remove_callback(EpochLines)
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
                callback.logging_dir = None if reports is None else str(reports)
        result = _fitted(trainer, validation, settings, checkpoints, resumed)
    pictures = task.pictures(plan)
    if validation is None or not (pictures or validation.asked) or not processes.is_first():
        return result
    # The trainer left the weights of the best epoch in the model.
    model.train(False)
    encoded = validation.asked or validation.encoded
    size = 2 * settings.batch_size
    outputs = outputs_of(task, start.processor, model, encoded, task.options(), size)
    measured = task.metrics(outputs, encoded, validation.rows, plan) if validation.asked else {}
    return replace(
        result,
        metrics={**result.metrics, **measured},
        pictures={name: draw(outputs, encoded, validation.rows) for name, draw in pictures.items()},
    )


@contextmanager
def _checkpointed(model: Any) -> Iterator[None]:
    """Compute activations again in the backward pass, inside the block."""
    # Its name before transformers 5.23 or so.
    new = hasattr(model, "activation_checkpointing_enable")
    name = "activation_checkpointing" if new else "gradient_checkpointing"
    # The other form of it takes no gradients to what is trained behind a frozen layer.
    getattr(model, f"{name}_enable")({"use_reentrant": False})
    try:
        yield
    finally:
        getattr(model, f"{name}_disable")()


def _fitted(
    trainer: RowTrainer,
    validation: Measured | None,
    settings: Decided,
    checkpoints: Path,
    resumed: Path | None,
) -> Fit:
    model = trainer.trained
    # The frozen base is on disk already: a checkpoint holds what is trained.
    model._keys_to_ignore_on_save = {
        name for name, parameter in model.named_parameters() if not parameter.requires_grad
    }
    started = time.monotonic()
    try:
        if resumed is None:
            trainer.train()
        elif trainer.has_ended(resumed):
            trainer.take_from(resumed)
        else:
            logger.warning("Resuming from %s, epoch by epoch as before.", resumed.name)
            trainer.train(resume_from_checkpoint=str(resumed))
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "PytorchStreamWriter" not in str(error):
            raise
        raise StorageError(
            f"Training stopped, because {checkpoints} cannot be written: {error}. Make room: the "
            "same training resumes from the last checkpoint.",
            checkpoints,
        ) from error
    trained = [one for one in model.parameters() if one.requires_grad]
    return result_of(trainer, validation, settings, trained, time.monotonic() - started)


def result_of(
    trainer: RowTrainer,
    validation: Measured | None,
    settings: Decided,
    trained: Sequence[Tensor],
    seconds: float,
) -> Fit:
    """What a trainer that has ended found.

    Raises:
        DivergedError: The loss, or one of the weights in ``trained``, is not a number.
    """
    history = [dict(entry) for entry in trainer.state.log_history]
    if validation is None:
        _require_finite(trained, settings)
        return Fit({}, history, seconds, trainer.state.global_step, trainer.most_steps)
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
    return Fit(metrics, history, seconds, int(best["step"]), trainer.most_steps)


def _require_finite(trained: Sequence[Tensor], settings: Decided) -> None:
    if not all(bool(torch.isfinite(parameter).all()) for parameter in trained):
        raise DivergedError(
            f"The weights are no longer numbers: training diverged at a learning rate of "
            f"{settings.learning_rate}.",
            given=settings.learning_rate,
        )


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
