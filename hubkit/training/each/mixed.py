"""One forward pass of the frozen model for the batches of several adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import signature
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from hubkit.models.attach import Attached
from hubkit.models.head import head_alone, outlets_of_rows, wearing
from hubkit.nn.host import backbone
from hubkit.training.each.chance import Chance, DropByRows
from hubkit.training.trainer import RowTrainer


@dataclass(frozen=True)
class Asked:
    """The batch of one adapter.

    Attributes:
        slot: The name of the adapter in the model.
        trainer: Computes its loss.
        head: Its head.
        chance: Its random numbers.
        inputs: The batch. *Shape* of what the model reads: ``(rows, length)``.
        amount: What the loss of the whole step is a mean over.
    """

    slot: str
    trainer: RowTrainer
    head: Mapping[str, Tensor]
    chance: Chance
    inputs: Mapping[str, Tensor]
    amount: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Its rows, and their tokens; images have no tokens."""
        ids = self.inputs.get("input_ids")
        if ids is None:
            return len(next(iter(self.inputs.values()))), 0
        return len(ids), ids.shape[1]


class MixedPass:
    """Computes the losses of several adapters and their gradients.

    The backbone runs once for all rows, each with its adapter; then the head of each adapter on
    its own rows.

    Args:
        model: Carries the adapters.
        attached: What it carries, by slot.
        padding: The id of the token that rows are filled up with.
    """

    def __init__(self, model: PreTrainedModel, attached: Attached, padding: int) -> None:
        self._model = model
        self._attached = attached
        self._padding = padding
        self._takes = signature(backbone(model).forward).parameters

    def losses(self, asked: Sequence[Asked]) -> list[float]:
        """Run the batches, add to the gradients of each adapter, and return each loss."""
        self._model.train()
        parts = [{n: x.to(self._model.device) for n, x in one.inputs.items()} for one in asked]
        sizes = [one.size for one in asked]
        length = max(own for _, own in sizes)
        slots = [one.slot for one in asked for _ in range(one.size[0])]
        base, found = backbone(self._model), []
        dropping = DropByRows([one.chance for one in asked], sizes, length)
        with asked[0].trainer.accelerator.autocast():
            ends = list(accumulate(rows for rows, _ in sizes))
            places = [
                (range(end - one.size[0], end), one.head)
                for one, end in zip(asked, ends, strict=True)
            ]
            with self._attached.rows(slots), outlets_of_rows(self._model, places), dropping:
                states = base(**self._together(parts, length))
            for one, inputs, end in zip(asked, parts, ends, strict=True):
                rows, own = one.size
                cut = {
                    name: _short(value[end - rows : end], length, own)
                    for name, value in states.items()
                    if isinstance(value, Tensor)
                }
                with (
                    self._attached.rows([one.slot] * rows),
                    wearing(self._model, one.head),
                    head_alone(self._model, type(states)(**cut)),
                    weighed(self._model, one.trainer),
                    one.chance.drawn(),
                ):
                    loss = one.trainer.compute_loss(
                        self._model, dict(inputs), num_items_in_batch=one.amount
                    )
                found.append(loss)
            losses = torch.stack(found)
        torch.autograd.backward(losses.sum())
        return losses.detach().tolist()

    def _together(self, parts: Sequence[Mapping[str, Tensor]], length: int) -> dict[str, Tensor]:
        """The inputs of the backbone for all batches, padded at the end to one length."""
        read = [name for name in parts[0] if name in self._takes and name != "labels"]
        joined = {}
        for name in read:
            tensors = [part[name] for part in parts]
            if "input_ids" in parts[0]:
                fill = self._padding if name == "input_ids" else 0
                tensors = [pad(one, (0, length - one.shape[1]), value=fill) for one in tensors]
            joined[name] = torch.cat(tensors)
        return joined


def weighed(model: PreTrainedModel, trainer: RowTrainer) -> AbstractContextManager[None]:
    """Inside the block, the model computes the loss of a run with the weights of its classes."""
    return nullcontext() if trainer.weights is None else trainer.weights.inside(model)


def _short(x: Tensor, length: int, own: int) -> Tensor:
    """States without those of what fills the rows up. *Shape:* ``(rows, length, ...)``, or not."""
    return x[:, :own] if own and x.ndim > 2 and x.shape[1] == length else x
