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

from hubkit.nn.batch import Copies
from hubkit.nn.host import backbone, sites
from hubkit.nn.threads import PerThread
from registry.errors import CompositionError


def repeat_rows(
    model: PreTrainedModel, adapted: Collection[str], copies: Copies
) -> Iterator[RemovableHandle]:
    """Let every row run several times from the first of the ``adapted`` layers on.

    Args:
        model: Its layers take the hidden state first, and whatever is batched as tensors whose
            first axis is that of the rows.
        adapted: The paths of the layers that are adapted.
        copies: How often; the first copy of all rows comes first.

    Returns:
        The hooks, to be removed.
    """
    base = backbone(model)
    rows = PerThread()
    yield base.register_forward_pre_hook(_CountRows(rows), with_kwargs=True)
    layers = [site.layer for site in sites(model, ("feed_forward",))]
    encoder = layers[0].rpartition(".")[0]
    have_parted = False
    for layer in layers:
        have_parted = have_parted or layer in adapted
        path = layer.rpartition(".")[0]
        if have_parted and path == encoder:
            module = base.get_submodule(layer)
            yield module.register_forward_pre_hook(_EnterLayer(rows, copies), with_kwargs=True)
        elif path != encoder:
            # What it is given for each row of the encoder must be as many from the start.
            module = base.get_submodule(path.rpartition(".")[0])
            yield module.register_forward_pre_hook(_EnterDecoder(rows, copies), with_kwargs=True)
            return


_Given = tuple[tuple[Any, ...], dict[str, Any]]


class _CountRows:
    def __init__(self, rows: PerThread) -> None:
        self._rows = rows

    def __call__(self, model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._rows.items[:] = [batch_size(model, arguments, named)]


class _Repeat:
    def __init__(self, rows: PerThread, copies: Copies) -> None:
        self._rows = rows
        self._copies = copies

    def _repeated(self, value: Any, least: int = 1) -> Any:
        """``value`` with a copy of its rows for each task, if it has rows and at least so many.

        An argument as long as the batch has a row for each input. Other arguments with two axes or
        more have one row, or are weights.
        """
        if isinstance(value, tuple):
            return tuple(self._repeated(one, least) for one in value)
        rows = self._rows.items[0]
        batched = isinstance(value, Tensor) and value.ndim > 1 and len(value) == rows >= least
        return torch.cat([value] * self._copies.count) if batched else value


class _EnterLayer(_Repeat):
    def __call__(
        self, _layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> _Given:
        if self._copies.is_repeated_already:
            return arguments, named
        if not self._rows.items:
            raise CompositionError(
                "Parallel repeats the input of a whole model, but a part of it was called by "
                "itself. Call the model, or use a hubkit.Batch with the input repeated."
            )
        # Of masks and positions, a single row stands for all, and is left to broadcast.
        hidden, *others = arguments or [named["hidden_states"]]
        changed = {name: self._repeated(value, least=2) for name, value in named.items()}
        if not arguments:
            return arguments, {**changed, "hidden_states": self._repeated(hidden)}
        return (self._repeated(hidden), *(self._repeated(one, least=2) for one in others)), changed


class _EnterDecoder(_Repeat):
    def __call__(
        self, _decoder: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> _Given:
        if self._copies.is_repeated_already:
            return arguments, named
        changed = {name: self._repeated(value) for name, value in named.items()}
        return self._repeated(arguments), changed


def batch_size(model: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> int:
    """The rows of the input of ``model``."""
    inputs = (model.main_input_name, "inputs_embeds", "decoder_input_ids")
    given = (*arguments, *(named.get(str(name)) for name in inputs), *named.values())
    return next(len(value) for value in given if isinstance(value, Tensor))
