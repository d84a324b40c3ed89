"""Freeze a model but for what is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import nn
from transformers import PreTrainedModel

from hubkit.adapters.head import head_parameters


class Trainable(Protocol):
    """An adapter, a fusion or a learned mix."""

    def modules(self) -> Iterator[nn.Module]:
        """All that has weights of its own."""


def train_only(model: PreTrainedModel, *values: Trainable) -> None:
    """Freeze all of ``model`` but its head and the weights of ``values``, which it carries.

    The parts of a fusion or a mix stay frozen unless they are named too, so that an adapter can be
    trained together with the fusion that it is a part of: ``train_only(model, fusion, adapter)``.

    Args:
        model: A model with adapters attached.
        values: Adapters, fusions and learned mixes to train.
    """
    trained = {id(parameter) for parameter in head_parameters(model).values()}
    for value in values:
        trained |= {id(p) for module in value.modules() for p in module.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)
