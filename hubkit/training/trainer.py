"""The stock ``Trainer`` for the rows of a task type: its settings, batches and losses."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from hubkit import processes
from hubkit.nn.hooks import regularization
from hubkit.tasks.task import Encoded, TaskType, in_order, length_of
from hubkit.training.choosing.budget import steps_in_all
from hubkit.training.progress import EpochLines
from hubkit.training.settings import Decided
from hubkit.training.start import Measured, Start
from hubkit.training.weights import ClassWeights
from registry.errors import StorageError

logger = logging.getLogger(__name__)

_STATE = "trainer_state.json"


def make_trainer(
    start: Start,
    train: Encoded,
    validation: Measured | None,
    settings: Decided,
    checkpoints: Path,
    *,
    weights: ClassWeights | None,
) -> RowTrainer:
    """The stock trainer for these rows, with the settings of a person in its own terms."""
    model, processor, task = start.model, start.processor, start.checked.task
    interactive = sys.stderr.isatty()
    when = "no" if validation is None else "epoch"
    divides = task.divides(train)
    steps = steps_in_all(math.ceil(len(train) / settings.batch_size), settings)
    # No more memory than training takes; a loss over whole batches needs whole batches.
    evaluated_together = max(1, 2 * settings.batch_size // (processes.count() if divides else 1))
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=steps,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        lr_scheduler_type=_schedule(settings),
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=evaluated_together,
        gradient_accumulation_steps=settings.gradient_accumulation,
        eval_strategy=when,
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=validation is not None,
        # Early stopping counts on where the run broke off.
        restore_callback_states_from_checkpoint=True,
        metric_for_best_model="eval_loss",
        seed=settings.seed,
        report_to=list(settings.report_to) or "none",
        disable_tqdm=not interactive,
        dataloader_pin_memory=torch.cuda.is_available(),
        # All that a task type encodes is read, if not by the model, by its loss.
        remove_unused_columns=False,
        use_cpu=not torch.accelerator.is_available(),
        # What is trained is float32; the rest is computed as the base model is stored.
        bf16=settings.precision == "bf16" or _stored_in(model, torch.bfloat16, settings),
        fp16=settings.precision == "fp16" or _stored_in(model, torch.float16, settings),
    )
    if arguments.n_gpu > 1:
        # Else the trainer copies the model to each, and multiplies the batch.
        logger.warning(
            "Training takes one of the %d GPUs; a launcher starts a process for each.",
            arguments.n_gpu,
        )
        arguments._n_gpu = 1
    evaluated: dict[str, Any] = {}
    callbacks: list[TrainerCallback] = []
    if validation is not None:
        encoded, rows = validation.encoded, validation.rows
        order = encoded.by_length()

        def compute_metrics(found: EvalPrediction) -> dict[str, float]:
            arrays: Any = found.predictions
            outputs = in_order(arrays if isinstance(arrays, tuple) else (arrays,), order)
            return task.metrics(outputs, encoded, rows, start.checked.plan)

        evaluated = {
            # Batches of like length, but in an order that is known: predictions belong to rows.
            "eval_dataset": _Features(encoded, order),
            "compute_metrics": None if task.generates else compute_metrics,
        }
        callbacks.append(EarlyStoppingCallback(settings.patience))
    trainer = RowTrainer(
        task,
        weights,
        divides=divides,
        most_steps=steps,
        patience=settings.patience,
        model=model,
        args=arguments,
        train_dataset=_Features(train, range(len(train))),
        processing_class=processor,
        data_collator=task.collator(processor, model),
        callbacks=callbacks,
        **evaluated,
    )
    if not processes.is_first():
        set_seed(settings.seed + processes.rank())  # other rows, other chance
    # Quiet in pipes and logs: the result is what the caller prints.
    trainer.remove_callback(ProgressCallback if interactive else PrinterCallback)
    if interactive:
        trainer.add_callback(EpochLines)
    return trainer


def _schedule(settings: Decided) -> str:
    if settings.schedule == "constant" and settings.warmup:
        return "constant_with_warmup"
    return settings.schedule


def _stored_in(model: PreTrainedModel, dtype: torch.dtype, settings: Decided) -> bool:
    return settings.precision is None and model.dtype == dtype


class RowTrainer(Trainer):
    """The stock trainer, whose steps are those of one process that computes them at once.

    A step gives the same result however it is cut into batches and shared by processes: each loss
    is weighted by the number of items that it is a mean over. The stock trainer leaves that to the
    model, and many models do not do it.

    Args:
        task: What the rows are for.
        weights: Those of the classes in the loss; None for none.
        divides: Whether a batch can be computed in parts.
        most_steps: Steps after which the run has ended.
        patience: Epochs without a better loss after which it has.
        model: The model, in which some parameters require gradients.
        stock: What the stock trainer takes beside it.
    """

    def __init__(
        self,
        task: TaskType[Any],
        weights: ClassWeights | None,
        *,
        divides: bool,
        most_steps: int,
        patience: int,
        model: PreTrainedModel,
        **stock: Any,
    ) -> None:
        super().__init__(model=model, **stock)
        self.task, self.weights, self.trained = task, weights, model
        self.divides, self.most_steps, self.patience = divides, most_steps, patience
        self._measured: list[tuple[Tensor, Tensor]] = []  # the loss of each batch, and its amount
        # A model may take these counts for its loss, and many that do ignore them.
        self.model_accepts_loss_kwargs = False
        self.loss_is_scaled_for_ga = True

    def has_ended(self, checkpoint: Path) -> bool:
        """Whether there is nothing to do any more after ``checkpoint``."""
        state = TrainerState.load_from_json(str(checkpoint / _STATE))
        stopping = state.stateful_callbacks.get("EarlyStoppingCallback")
        waited = stopping["attributes"]["early_stopping_patience_counter"] if stopping else 0
        return state.global_step >= self.most_steps or waited >= self.patience

    def take_from(self, checkpoint: Path) -> None:
        """Take the result of a run that ended with ``checkpoint``: its best weights, or the last.

        The stock trainer would do another step if an epoch was not complete.
        """
        self.state = TrainerState.load_from_json(str(checkpoint / _STATE))
        if self.eval_dataset is None:
            self._load_from_checkpoint(str(checkpoint))
        else:
            self._load_best_model()

    def create_accelerator_and_postprocess(self) -> None:
        """Leave to this class what several processes do together."""
        super().create_accelerator_and_postprocess()
        accelerator: Any = self.accelerator
        # No DistributedDataParallel: `training_step` adds up the gradients. And each process
        # evaluates all rows, so that none needs another's.
        accelerator.prepare_model = partial(accelerator.prepare_model, evaluation_mode=True)
        accelerator.gather_for_metrics = self.gather_function = _as_it_is

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of like length, in an order of chance, as the task type makes them."""
        dataset: Any = self.train_dataset
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        sampler = LengthGroupedSampler(step, lengths=dataset.lengths())
        batches = _Parts(BatchSampler(sampler, self.args.train_batch_size, False), self.divides)
        collate = self.task.training_collator(self.processing_class, self.trained)
        return self._loader(dataset, batches, collate)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Batches in the order of the rows."""
        dataset: Any = self.eval_dataset
        rows = SequentialSampler(dataset)
        batches = BatchSampler(rows, self.args.eval_batch_size, False)
        return self._loader(dataset, batches, self.data_collator)

    def _loader(self, dataset: Any, batches: Any, collate: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=lambda features: collate(features) if features else {},
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor:
        amounts = (self._amount(batch) for batch in batch_samples)
        total = sum(amounts, start=torch.tensor(0.0)).to(device)
        summed: Tensor = self.accelerator.reduce(total)
        return summed

    def _amount(self, inputs: Mapping[str, Any]) -> Tensor:
        if not inputs:
            return torch.tensor(0.0)
        if self.weights is not None:
            return self.weights.amount(inputs["labels"])
        return self.task.amount(inputs)

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Compute the gradients of a part of a batch; at the end of a step, those of all parts."""
        loss: Any = torch.tensor(0.0, device=self.args.device)
        if inputs:  # a batch may have fewer rows than there are processes
            loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            processes.sum_gradients(self.trained.parameters())
        logged: Tensor = loss * processes.count()  # the trainer logs the mean over processes
        return logged

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of a batch, as the part that it is of its step."""
        loss: Any = self.task.loss(model, inputs)
        if loss is None:
            loss = super().compute_loss(model, inputs)
        else:
            loss = loss + regularization(self.trained)
        if num_items_in_batch is None:
            return loss
        amount = self._amount(inputs).to(loss.device)
        if not amount:
            return torch.nan_to_num(loss) * 0.0  # the mean over nothing
        return loss * (amount / num_items_in_batch.to(loss.device))

    def evaluation_loop(self, *arguments: Any, **named: Any) -> Any:
        """Measure; where numbers differ by rounding, all go by those of the first process."""
        self._measured = []
        found: Any = super().evaluation_loop(*arguments, **named)
        if self._measured:
            # The stock trainer takes the mean over batches, however much is in each.
            losses, amounts = map(torch.stack, zip(*self._measured, strict=True))
            found.metrics["eval_loss"] = float(
                (losses * amounts).sum() / amounts.sum().clamp(min=1e-9)  # none may weigh anything
            )
        return found._replace(metrics=processes.from_first(lambda: found.metrics))

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        processes.wait_for_all()  # the next file marks the checkpoint as complete

    def _load_best_model(self) -> None:
        processes.wait_for_all()  # until it is written
        super()._load_best_model()

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        # Names as the model has them. Some architectures are saved by default with the names of an
        # earlier transformers, by which the trained weights would not be found again.
        model: Any = self.model
        model.save_pretrained = partial(model.save_pretrained, save_original_format=False)
        try:
            super()._save(output_dir, state_dict)
        finally:
            del model.save_pretrained

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        model: Any = self.model
        trained = {name for name, one in model.named_parameters() if one.requires_grad}
        odd = [*trained.intersection(load_result.missing_keys), *load_result.unexpected_keys]
        if odd:
            raise StorageError(
                f"The checkpoints in {self.args.output_dir} do not hold what is trained: "
                f"{len(odd)} weights are missing or left over, such as {min(odd)}. Remove that "
                "folder, and train again.",
                self.args.output_dir,
            )
        # The other missing weights are frozen, and still in the model, under each of their names.
        model.tie_weights()

    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Any, Any, Any]:
        """The loss and the outputs of a batch, as ``TaskType.run`` gives them."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.task.run(model, inputs, self.task.options())
        if loss is not None:
            amount = self._amount(inputs).to(loss.device)
            # A batch in which nothing is to be learned has a mean over nothing.
            loss = loss.detach().mean().float() if amount else torch.zeros_like(amount)
            self._measured.append((loss, amount))
        if prediction_loss_only:
            return loss, None, None
        kept = tuple(output.detach() for output in outputs)
        # The trainer measures nothing without labels; the task type has those of the rows.
        return loss, kept[0] if len(kept) == 1 else kept, kept[0].new_zeros(len(kept[0]))


class _Parts:
    """The rows of each batch that this process computes: every one, or each as far apart as there
    are processes. There may be none.

    Args:
        batches: All rows of each.
        divides: Whether a batch can be computed in parts.
    """

    def __init__(self, batches: BatchSampler, divides: bool) -> None:
        self._batches = batches
        self._divides = divides

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        # Chance draws the order, and draws otherwise in each process.
        batches = processes.from_first(lambda: list(self._batches))
        step = processes.count() if self._divides else 1
        start = processes.rank() if self._divides else 0
        for batch in batches:
            yield batch[start::step]


def _as_it_is(found: Any, **_: Any) -> Any:
    return found


class _Features(Dataset[dict[str, Any]]):
    """What the model reads, a feature at a time.

    Args:
        encoded: All of it.
        order: The positions of the features, in the order in which they are asked for.
    """

    def __init__(self, encoded: Encoded, order: Sequence[int]) -> None:
        self._encoded, self._order = encoded, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._encoded.feature(self._order[index])

    def lengths(self) -> list[int]:
        """The tokens of each; 1 where it has none, as a picture."""
        if "input_ids" not in self._encoded.features:
            return [1] * len(self)
        ids = self._encoded.features["input_ids"]
        return [length_of(ids[at]) for at in self._order]
