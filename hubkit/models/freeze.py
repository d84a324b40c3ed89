"""Freeze a model but for what is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import nn
from torch.nn import Parameter
from transformers import PreTrainedModel

from hubkit.adapters.tree import Tree
from hubkit.methods.sites import LinearSite
from hubkit.models.attach import attached_to
from hubkit.models.head import (
    head_to_train,
    made_outlet,
    module_paths,
    note_outlet,
    outlet_to_train,
)
from registry.arguments import checked
from registry.errors import CompositionError


class Trainable(Protocol):
    """An adapter, a fusion or a learned mix."""

    def modules(self) -> Iterator[nn.Module]:
        """All that has weights of its own."""


@checked
def train_only(model: PreTrainedModel, *values: Trainable) -> None:
    """Freeze all of ``model`` but its head and the weights of ``values``, which it carries.

    A pooler that the head reads is trained with it, and belongs to the head from then on:
    ``Attached.detach`` gives the base model its own back. The pooler stays frozen in two cases: an
    attached adapter changes it, or the head is flexible. If the base model's files lack a pooler,
    it is trained in any case. The head of a language model is frozen, too, unless the base model's
    files lack it.

    The parts of a fusion or a mix stay frozen unless they are named too, so that an adapter can be
    trained together with the fusion that it is a part of: ``train_only(model, fusion, adapter)``.

    Args:
        model: A model with adapters attached.
        values: Adapters, fusions and learned mixes to train.

    Raises:
        CompositionError: ``model`` does not carry the weights of one of them.
    """
    outlet = _outlet(model)
    note_outlet(model, outlet.keys() - made_outlet(model))
    trained = {id(tensor) for tensor in (*head_to_train(model).values(), *outlet.values())}
    carried = {id(parameter) for parameter in model.parameters()}
    for value in values:
        if not hasattr(value, "modules"):
            raise CompositionError(
                f"Expected an adapter, a fusion or a learned mix to train, found {value!r}."
            )
        own = {id(p) for module in value.modules() for p in module.parameters()}
        if not own <= carried:
            raise CompositionError(
                f"This {type(model).__name__} does not carry the weights of {value}: attach it "
                "first. Where the model has another dtype or device, a frozen adapter is copied; "
                "call requires_grad_() on its deltas before attaching it to have it moved instead."
            )
        trained |= own
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def _outlet(model: PreTrainedModel) -> dict[str, Parameter]:
    """The trained part of the outlet: modules that no adapter changes, and new ones."""
    composition = attached_to(model)
    sites = () if composition is None else Tree.of(composition).sites
    changed = {site.path.partition(".")[0] for site in sites if isinstance(site, LinearSite)}
    made = made_outlet(model)
    return {
        name: parameter
        for name, parameter in outlet_to_train(model).items()
        if name in made or changed.isdisjoint(module_paths(model, [name]))
    }
