"""Random numbers of its own for each adapter of a mixed batch.

An adapter that is trained beside others draws what it would draw alone: the order of its rows, and
the dropout of the frozen model. That dropout is drawn here for the rows of each adapter by
themselves, in the shape that they would have without the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode


class Chance:
    """The state of torch's generators for one run.

    Args:
        seed: The seed of the run.

    Example:
        >>> own = Chance(42)
        >>> with own.drawn():
        ...     torch.rand(1)  # as after torch.manual_seed(42); the next block continues from there
    """

    def __init__(self, seed: int) -> None:
        before = _states()
        torch.manual_seed(seed)
        self._own = _states()
        _set(before)

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Inside the block, random numbers are those of this run."""
        before = _states()
        _set(self._own)
        try:
            yield
        finally:
            self._own = _states()
            _set(before)


def _states() -> list[Tensor]:
    devices = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *devices]


def _set(states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)


class DropByRows(TorchFunctionMode):
    """Inside the block, dropout is drawn for the rows of each run by its own chance.

    Args:
        chances: Of the runs, in the order of their rows.
        sizes: The rows of each run, and the tokens of its longest row.
        length: The tokens that all rows are filled up to.
    """

    def __init__(
        self, chances: Sequence[Chance], sizes: Sequence[tuple[int, int]], length: int
    ) -> None:
        super().__init__()
        self._parts: list[tuple[Chance, slice, int]] = []
        start = 0
        for chance, (rows, own) in zip(chances, sizes, strict=True):
            self._parts.append((chance, slice(start, start + rows), own))
            start += rows
        self._rows = start
        self._length = length

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Apply dropout to the part of each run by itself, and join the results."""
        call = _DROPPING[func](*args, **(kwargs or {})) if func in _DROPPING else None
        if call is None or len(call.tensors[0]) != self._rows:
            return func(*args, **(kwargs or {}))
        results = []
        for chance, rows, own in self._parts:
            parts = [
                self._cut(tensor, axes, rows, own)
                for tensor, axes in zip(call.tensors, call.tokens, strict=True)
            ]
            with chance.drawn():
                result = call.run(*parts)
            whole = (len(result), *call.tensors[0].shape[1:])
            sides = [(0, size - part) for size, part in zip(whole, result.shape, strict=True)]
            results.append(pad(result, [side for pair in reversed(sides) for side in pair]))
        return torch.cat(results)

    def _cut(self, x: Tensor, axes: Sequence[int], rows: slice, own: int) -> Tensor:
        """The rows of a run, without what fills them up; a mask may have one row for all."""
        x = x[rows] if len(x) == self._rows else x
        for axis in axes:
            if x.shape[axis] == self._length:
                x = x.narrow(axis, 0, own)
        return x.contiguous()


@dataclass(frozen=True)
class _Call:
    """A call that draws dropout.

    Attributes:
        run: The same call with parts of the tensors; what it returns has the shape of the first.
        tensors: What it is given; rows come first.
        tokens: The axes of each that are tokens.
    """

    run: Callable[..., Tensor]
    tensors: Sequence[Tensor]
    tokens: Sequence[Sequence[int]]


def _dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> _Call | None:
    # States are (rows, tokens, width); attention is (rows, heads, tokens, tokens).
    tokens = {3: (1,), 4: (2, 3)}.get(input.ndim, ())
    return _Call(partial(functional.dropout, p=p), [input], [tokens]) if training and p else None


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    **named: Any,
) -> _Call | None:
    if not dropout_p:
        return None

    def run(*tensors: Tensor) -> Tensor:
        parts: dict[str, Any] = dict(
            zip(("query", "key", "value", "attn_mask"), tensors, strict=False)
        )
        return functional.scaled_dot_product_attention(**parts, dropout_p=dropout_p, **named)

    # Each is (rows, heads, tokens, width), and the mask (rows, 1, tokens, tokens).
    masks = [] if attn_mask is None else [attn_mask]
    return _Call(run, [query, key, value, *masks], [(2,), (2,), (2,), (2, 3)][: 3 + len(masks)])


_DROPPING: dict[Any, Callable[..., _Call | None]] = {
    functional.dropout: _dropout,
    functional.scaled_dot_product_attention: _attention,
}
"""Whatever draws dropout in a frozen model."""
