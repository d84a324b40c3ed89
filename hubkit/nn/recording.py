"""The attention of the fusions in a model, returned with its output when it is asked for.

``model(**inputs, output_fusion_attention=True).fusion_attention`` has, by site, a tensor of *shape*
``(batch, length, N)``: the weight of each of the ``N`` adapters that a fusion has there, in order.
A fusion inside another composition is named by its place in it, after the site; in a batch, it has
the rows that use it. While it is asked for, fusions are computed plainly, not folded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from hubkit.methods.sites import Site
from hubkit.nn.nodes import FusionNode

ARGUMENT = "output_fusion_attention"
"""The argument of the model that asks for it."""

ATTRIBUTE = "fusion_attention"
"""Its name in the model's output."""


def answer_for_attention(
    model: PreTrainedModel, nodes: Mapping[Site, nn.Module]
) -> Iterator[RemovableHandle]:
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
    if fusions:
        yield model.register_forward_pre_hook(_Start(fusions), with_kwargs=True)
        # After an error, too: no node may continue to listen.
        yield model.register_forward_hook(_Finish(fusions), always_call=True)


class _Start:
    def __init__(self, fusions: Mapping[str, FusionNode]) -> None:
        self._fusions = dict(fusions)

    def __call__(self, _model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if ARGUMENT not in named:
            return None
        if named.pop(ARGUMENT):
            for fusion in self._fusions.values():
                fusion.listen()
        return arguments, named


class _Finish:
    def __init__(self, fusions: Mapping[str, FusionNode]) -> None:
        self._fusions = dict(fusions)

    def __call__(self, _model: nn.Module, _arguments: Any, output: Any) -> Any:
        if not any(fusion.is_listened_to for fusion in self._fusions.values()):
            return None
        attention = {}
        for name, fusion in self._fusions.items():
            heard = fusion.heard()
            if heard is not None:
                attention[name] = heard
        if isinstance(output, ModelOutput):
            output[ATTRIBUTE] = attention
            return output
        return (*output, attention) if isinstance(output, tuple) else output
