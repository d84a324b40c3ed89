"""The attention of the fusions in a model, returned with its output when it is asked for.

``model(**inputs, output_fusion_attention=True).fusion_attention`` has, by site, a tensor of *shape*
``(batch, length, N)``: the weight of each of the ``N`` adapters that a fusion has there, in order.
A fusion inside another composition is named by its place in it, after the site; in a batch, it has
the rows that use it. While it is asked for, fusions are computed plainly, not folded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from hubkit.methods.sites import Site
from hubkit.nn.nodes import FusionNode

ARGUMENT = "output_fusion_attention"
"""The argument of the model that asks for it."""

ATTRIBUTE = "fusion_attention"
"""Where it is in the model's output."""


def answer_for_attention(
    model: PreTrainedModel, nodes: Mapping[Site, nn.Module]
) -> list[RemovableHandle]:
    """Let ``model`` take the argument :data:`ARGUMENT`.

    Returns:
        The hooks, to be removed; none where there are no fusions.
    """
    fusions = {
        f"{site}.{path}".rstrip("."): module
        for site, node in nodes.items()
        for path, module in node.named_modules()
        if isinstance(module, FusionNode)
    }
    if not fusions:
        return []
    heard: dict[str, Tensor] = {}

    def start(
        _model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if ARGUMENT not in named:
            return None
        if named.pop(ARGUMENT):
            heard.clear()
            for name, fusion in fusions.items():
                fusion.listener = partial(heard.__setitem__, name)
        return arguments, named

    def finish(_model: nn.Module, _arguments: Any, output: Any) -> Any:
        if all(fusion.listener is None for fusion in fusions.values()):
            return None
        for fusion in fusions.values():
            fusion.listener = None
        attention = {name: heard.pop(name) for name in fusions if name in heard}
        if isinstance(output, ModelOutput):
            output[ATTRIBUTE] = attention
            return output
        return (*output, attention) if isinstance(output, tuple) else output

    return [
        model.register_forward_pre_hook(start, with_kwargs=True),
        # After an error, too: nothing may go on listening.
        model.register_forward_hook(finish, always_call=True),
    ]
