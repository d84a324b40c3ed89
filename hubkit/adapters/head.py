"""The head of a model: every parameter outside its backbone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hubkit.formats.heads import Head
from hubkit.nn.attach import SUBMODULE
from registry.errors import AdapterError


def head_of(model: PreTrainedModel) -> Head | None:
    """A copy of the head that ``model`` has; None for a bare backbone."""
    parameters = head_parameters(model)
    if not parameters:
        return None
    labels: dict[Any, str] = dict(model.config.id2label or {})
    return Head(
        model_class=type(model).__name__,
        labels=tuple(labels[index] for index in sorted(labels)),
        tensors={name: tensor.detach().cpu().clone() for name, tensor in parameters.items()},
        backbone=model.base_model_prefix,
    )


def set_head(model: PreTrainedModel, head: Head) -> None:
    """Write the weights of ``head`` into ``model``.

    Raises:
        AdapterError: The model's head has other parameters or shapes; nothing is written.
    """
    parameters = head_parameters(model)
    expected = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    found = {name: tuple(tensor.shape) for name, tensor in head.tensors.items()}
    if expected != found:
        raise AdapterError(
            f"The head of {type(model).__name__} has the parameters {expected}, but the adapter's "
            f"head ({head.model_class}) has {found}."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(head.tensors[name])


def head_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The parameters of ``model`` outside its backbone, by name."""
    if model.base_model is model:
        return {}
    inside = (f"{model.base_model_prefix}.", f"{SUBMODULE}.")
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if not name.startswith(inside)
    }
