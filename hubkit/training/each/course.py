"""What one adapter goes through from its first step to its best epoch, as in a run of its own.

The steps are those of the stock trainer, which decides on order, optimiser, schedule and early
stopping. Only the forward and the backward pass are left to the caller, who computes them for
several adapters.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ProgressCallback

from hubkit.adapters.adapter import Adapter
from hubkit.models.attach import Attached
from hubkit.models.head import wearing
from hubkit.training.each.chance import Chance
from hubkit.training.each.mixed import Asked, weighed
from hubkit.training.fit import Fit, result_of
from hubkit.training.start import Start
from hubkit.training.trainer import make_trainer
from hubkit.training.weights import class_weights


class Slot:
    """A place for an adapter in the model, which one after the other takes.

    Args:
        name: Of the entry in the batch.
        adapter: What is attached there, at its initial weights.
    """

    def __init__(self, name: str, adapter: Adapter) -> None:
        self.name = name
        self.adapter = adapter
        self.parameters = [p for module in adapter.modules() for p in module.parameters()]
        self._initial = [p.detach().clone() for p in self.parameters]

    def reset(self) -> None:
        """Give the adapter its initial weights again."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self._initial, strict=True):
                parameter.copy_(value)
                parameter.grad = None


class Course:
    """The run of one adapter.

    Attributes:
        rows: How many rows it reads, those to validate with among them.
        cut: How many of them are longer than what is read.

    Args:
        start: Its rows, and the base model.
        slot: Where its adapter is.
        attached: The adapters in the model.
        head: The initial weights of what is trained beside it.
        folder: For what the trainer may write.
    """

    def __init__(
        self,
        start: Start,
        slot: Slot,
        attached: Attached,
        head: Mapping[str, Tensor],
        folder: Path,
    ) -> None:
        slot.reset()
        self.slot = slot
        self.start = start
        self._attached = attached
        self._began = time.monotonic()
        learned, self._validation = start.features()
        parts = [one for one in (learned, self._validation) if one is not None]
        self.rows = sum(len(one.rows) for one in parts)
        self.cut = sum(one.encoded.cut for one in parts)
        checked, settings = start.checked, start.checked.settings
        self.head = {name: _own(tensor) for name, tensor in head.items()}
        trained = [one for one in self.head.values() if isinstance(one, nn.Parameter)]
        self._trained = [*slot.parameters, *trained]
        weights = None
        if settings.class_weights is not None:
            weights = class_weights(
                settings.class_weights, checked.task, checked.train, checked.plan
            )
        self._trainer = make_trainer(
            start, learned.encoded, self._validation, settings, folder, weights=weights
        )
        self._trainer.remove_callback(ProgressCallback)
        self._chance = Chance(settings.seed)
        self._best: list[Tensor] | None = None
        self._make_optimizer()

    def steps(self) -> Generator[Asked, float, None]:
        """Yield the batches one by one. The caller sends back the loss of each after its backward
        pass.
        """
        trainer, settings = self._trainer, self.start.checked.settings
        state = trainer.state
        loader = trainer.get_train_dataloader()
        size = settings.gradient_accumulation
        in_epoch = -(-len(loader) // size)
        optimizer: Any = trainer.optimizer
        schedule: Any = trainer.create_scheduler(trainer.most_steps)
        while state.global_step < trainer.most_steps and not trainer.control.should_training_stop:
            total, norm, rate = 0.0, 0.0, 0.0
            with self._chance.drawn():
                batches = iter(loader)
            going = min(in_epoch, trainer.most_steps - state.global_step)
            for _ in range(going):
                with self._chance.drawn():
                    step = list(islice(batches, size))
                    amount = trainer._get_num_items_in_batch(step, self.start.model.device)
                for inputs in step:
                    total += yield Asked(
                        self.slot.name, trainer, self.head, self._chance, inputs, amount
                    )
                norm = float(nn.utils.clip_grad_norm_(self._trained, trainer.args.max_grad_norm))
                optimizer.step()
                rate = schedule.get_last_lr()[0]
                schedule.step()
                optimizer.zero_grad()
            state.epoch = (state.epoch or 0.0) + going / in_epoch
            state.global_step += going
            trainer.log({"loss": total / going, "grad_norm": norm, "learning_rate": rate})
            if self._validation is not None:
                self._evaluate()

    def share(self, accelerator: Any) -> Any:
        """Use the accelerator of another run in place of the trainer's own, and return it."""
        if accelerator is None:
            accelerator = self._trainer.accelerator
            accelerator.prepare_model(self.start.model)
        self._trainer.accelerator = accelerator
        return accelerator

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block, the model is this adapter's alone, whatever it is given."""
        model = self.start.model
        with (
            self._attached.every_row(self.slot.name),
            wearing(model, self.head),
            weighed(model, self._trainer),
        ):
            yield

    def result(self) -> Fit:
        """What the run found; the best epoch's weights are in the slot and in the head.

        Raises:
            DivergedError: The loss or the weights are not numbers.
        """
        seconds = time.monotonic() - self._began
        settings = self.start.checked.settings
        found = result_of(self._trainer, self._validation, settings, self._trained, seconds)
        if self._best is not None:
            with torch.no_grad():
                for parameter, value in zip(self._trained, self._best, strict=True):
                    parameter.copy_(value)
        return found

    def _make_optimizer(self) -> None:
        """The trainer's own, for the parameters of this adapter alone."""
        model, own = self.start.model, {id(one) for one in self._trained}
        with wearing(model, self.head):
            others = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
            for parameter in others:
                parameter.requires_grad_(False)
            self._trainer.create_optimizer()
            for parameter in others:
                parameter.requires_grad_(True)

    def _evaluate(self) -> None:
        """Measure an epoch, keep its weights if it is the best, and let the trainer decide."""
        with self.in_place(), self._chance.drawn():
            metrics = self._trainer.evaluate()
        if self._trainer._determine_best_metric(metrics, None):
            self._best = [one.detach().clone() for one in self._trained]


def _own(tensor: Tensor) -> Tensor:
    """A copy that is trained where ``tensor`` is."""
    copied = tensor.detach().clone()
    return nn.Parameter(copied) if isinstance(tensor, nn.Parameter) else copied
