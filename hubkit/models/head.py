"""The head of a model: every parameter outside its backbone."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hubkit.bases.fingerprint import BESIDE_BACKBONE
from hubkit.formats.heads import Head
from hubkit.nn.hooks import SUBMODULE
from registry.errors import AdapterError

logger = logging.getLogger(__name__)


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


def set_head(model: PreTrainedModel, head: Head, new: Collection[str] | None = None) -> None:
    """Write the weights of ``head`` into ``model``, where they stay.

    Attaching leaves a model's head alone: ``set_head(model, adapter.head)`` gives it the one that
    an adapter or a fusion was trained with.

    Args:
        model: Has the head's place, as a model of the class that the adapter was trained in has.
        head: The weights; ``head`` of an adapter or a fusion.
        new: The parameters of the model's head that the base model has no weights for, by name:
            ``head`` has at least these. None: all of them.

    Raises:
        AdapterError: A parameter is missing, is none of the model's head, or has another shape;
            nothing is written.
    """
    parameters = head_parameters(model)
    required = parameters.keys() if new is None else parameters.keys() & set(new)
    if missing := required - head.tensors.keys():
        raise AdapterError(
            f"The adapter's head ({head.model_class or 'of an unnamed class'}) has no weights for "
            f"{', '.join(sorted(missing))} of {type(model).__name__}; they would be random. Save "
            "the adapter with its whole head (peft: modules_to_save)."
        )
    for name, tensor in head.tensors.items():
        place = parameters.get(name)
        if place is None or place.shape != tensor.shape:
            expected = "is no part" if place is None else f"has the shape {tuple(place.shape)}"
            raise AdapterError(
                f"The adapter's head ({head.model_class or 'of an unnamed class'}) has {name} of "
                f"shape {tuple(tensor.shape)}, which {expected} in the head of "
                f"{type(model).__name__}. Load the model class that the adapter was trained in."
            )
    with torch.no_grad():
        for name, tensor in head.tensors.items():
            parameters[name].copy_(tensor)


def note_other_head(model: PreTrainedModel, name: str, head: Head) -> None:
    """Tell people whose model has the place of a head, but other weights in it.

    Args:
        model: What an adapter was just attached to.
        name: What the adapter is called.
        head: What it was trained with.
    """
    parameters = head_parameters(model)
    pairs = [(parameters.get(place), tensor) for place, tensor in head.tensors.items()]
    if any(own is None or own.shape != tensor.shape for own, tensor in pairs):
        return  # a model for something else
    if all(own is None or torch.equal(own.cpu(), tensor.to(own.dtype)) for own, tensor in pairs):
        return
    logger.warning(
        "%s was trained with a head, but the %s that it is attached to keeps its own. "
        "hubkit.set_head(model, adapter.head) gives it the adapter's.",
        name,
        type(model).__name__,
    )


def head_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The parameters of ``model`` outside its backbone, by name."""
    if model.base_model is model:  # bare, or one that holds its head beside the backbone's modules
        return {n: p for n, p in model.named_parameters() if n.startswith(BESIDE_BACKBONE)}
    inside = (f"{model.base_model_prefix}.", f"{SUBMODULE}.")
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if not name.startswith(inside)
    }
