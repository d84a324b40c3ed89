"""One input through several tasks at once: the rows are repeated where the tasks part.

All layers below the first one that is adapted see each row once. Before that layer, whatever is
batched among its arguments is repeated, a copy of the rows for each task. The layers above it get
their hidden state from below; their masks and positions are repeated in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from hubkit.nn.host import backbone, sites
from registry.errors import CompositionError


def repeat_rows(
    model: PreTrainedModel, adapted: Collection[str], count: int
) -> Iterator[RemovableHandle]:
    """Let every row run ``count`` times from the first of the ``adapted`` layers on.

    Args:
        model: Its layers take the hidden state first, and whatever is batched as tensors whose
            first axis is that of the rows.
        adapted: The paths of the layers that are adapted.
        count: Copies of the rows; the first copy of all rows comes first.

    Returns:
        The hooks, to be removed.
    """
    base = backbone(model)
    rows: list[int] = []

    def count_rows(model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        rows[:] = [batch_size(model, arguments, named)]

    def repeated(value: Any, least: int = 1) -> Any:
        """``value`` with a copy of its rows for each task, if it has rows and at least so many."""
        if isinstance(value, tuple):
            return tuple(repeated(one, least) for one in value)
        batched = isinstance(value, Tensor) and value.ndim > 1 and len(value) == rows[0] >= least
        return torch.cat([value] * count) if batched else value

    def enter_layer(
        _layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not rows:
            raise CompositionError(
                "Parallel runs one input through several adapters in a call of the model; "
                "generation takes a hubkit.Batch, with the input repeated."
            )
        # Of masks and positions, a single row stands for all, and is left to broadcast.
        hidden, *others = arguments or [named["hidden_states"]]
        changed = {name: repeated(value, least=2) for name, value in named.items()}
        if not arguments:
            return arguments, {**changed, "hidden_states": repeated(hidden)}
        return (repeated(hidden), *(repeated(one, least=2) for one in others)), changed

    def enter_decoder(
        _decoder: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return repeated(arguments), {name: repeated(value) for name, value in named.items()}

    yield base.register_forward_pre_hook(count_rows, with_kwargs=True)
    layers = [site.layer for site in sites(model, ("feed_forward",))]
    encoder = layers[0].rpartition(".")[0]
    have_parted = False
    for layer in layers:
        have_parted = have_parted or layer in adapted
        path = layer.rpartition(".")[0]
        if have_parted and path == encoder:
            module = base.get_submodule(layer)
            yield module.register_forward_pre_hook(enter_layer, with_kwargs=True)
        elif path != encoder:
            # What it is given for each row of the encoder must be as many from the start.
            module = base.get_submodule(path.rpartition(".")[0])
            yield module.register_forward_pre_hook(enter_decoder, with_kwargs=True)
            return


def batch_size(model: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> int:
    """The rows of the input of ``model``."""
    inputs = (model.main_input_name, "inputs_embeds", "decoder_input_ids")
    given = (*arguments, *(named.get(str(name)) for name in inputs), *named.values())
    return next(len(value) for value in given if isinstance(value, Tensor))
