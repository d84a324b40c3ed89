"""Generation with another adapter for each row.

``generate`` calls its model with more rows than it was given: beams, and several sequences for one
input, are rows of their own, those of one input next to each other. Each keeps the adapter of its
input. Where one input runs through several tasks, it is repeated before generation begins, a copy
for each task, since the words that follow differ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from hubkit.nn.batch import Copies, Rows
from registry.errors import CompositionError

_INPUTS = ("input_ids", "inputs_embeds", "input_features", "pixel_values", "encoder_outputs")


class Generation:
    """Stands in for the method ``generate`` of a model, until it is removed.

    Args:
        model: The model; one that cannot generate stays as it is.
        rows: Which adapter each row uses.
    """

    def __init__(self, model: PreTrainedModel, rows: Rows) -> None:
        self._model = model
        self._rows = rows
        self._own = vars(model).get("generate")
        if model.can_generate():
            vars(model)["generate"] = self

    def remove(self) -> None:
        """Give the model its own method back."""
        if vars(self._model).get("generate") is self:
            del vars(self._model)["generate"]
            if self._own is not None:
                vars(self._model)["generate"] = self._own

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """As ``GenerationMixin.generate``.

        Raises:
            CompositionError: There is not one adapter for each row of the input, or it cannot be
                repeated.
        """
        if arguments:
            named["inputs"], *others = arguments
            named |= zip(("generation_config", "logits_processor"), others, strict=False)
        given = _input_rows(named)
        if isinstance(self._rows, Copies):
            named = _repeated(named, given, self._rows.count)
            given *= self._rows.count
        model: Any = self._model
        generate = self._own or partial(type(model).generate, model)
        with self._rows.generating(given):
            return generate(**named)


def _input_rows(named: dict[str, Any]) -> int:
    """The rows of what ``generate`` is given; one where it starts from nothing."""
    for name in ("inputs", *_INPUTS):
        value = named.get(name)
        if isinstance(value, ModelOutput | tuple):
            value = value[0]
        if value is not None:
            return len(value)
    return 1


def _repeated(named: dict[str, Any], rows: int, count: int) -> dict[str, Any]:
    """The arguments with all rows ``count`` times; the first copy of all rows comes first."""
    if all(named.get(name) is None for name in ("inputs", *_INPUTS)):
        raise CompositionError("Parallel generates from an input; give it as inputs or input_ids.")
    for name in ("past_key_values", "assistant_model", "prompt_lookup_num_tokens", "streamer"):
        if named.get(name) is not None:
            raise CompositionError(
                f"Parallel repeats the input of generate, but not {name}. Generate with each "
                "adapter by itself, or leave it out."
            )
    changed = {name: _copies(value, rows, count) for name, value in named.items()}
    allowed: Callable[..., Any] | None = named.get("prefix_allowed_tokens_fn")
    if allowed is not None:
        changed["prefix_allowed_tokens_fn"] = lambda row, ids: allowed(row % rows, ids)
    return changed


def _copies(value: Any, rows: int, count: int) -> Any:
    if isinstance(value, ModelOutput):
        return type(value)(**{name: _copies(one, rows, count) for name, one in value.items()})
    if isinstance(value, tuple):
        return tuple(_copies(one, rows, count) for one in value)
    batched = isinstance(value, Tensor) and value.ndim > 1 and len(value) == rows
    return torch.cat([value] * count) if batched else value
