"""The interface of an adapter method: where its deltas are in a base model, and their form."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, NamedTuple, Protocol, Self

from hubkit.methods.sites import Site
from registry.errors import AdapterError, did_you_mean

Reads = Literal["norm", "output", "residual", "input"]
"""The input of a delta.

At a sub-block, ``norm`` is LN(h + residual), ``output`` is h, and ``residual`` is the residual.
``input`` is the input of a linear layer.
"""

Scaling = float | Literal["learned", "channel"]
"""A constant factor; or one that is learned: a single number, or one for each output."""

MAX_SIZE = 65536
"""Wider than any model: a mistyped size must not take all the memory."""


class DeltaShape(NamedTuple):
    """The sizes of a delta: ``d_in``, ``r`` and ``d_out``."""

    inputs: int
    rank: int
    outputs: int


@dataclass(frozen=True, kw_only=True)
class DeltaForm:
    """What a delta computes, apart from its weights.

    Attributes:
        reads: Its input.
        activation: One of ``hubkit.nn.delta.ACTIVATIONS``; ``linear`` for none.
        down_bias: Whether there is a ``b``.
        up_bias: Whether there is a ``c``.
        scaling: The factor ``s``.
        dropout: The probability that an entry is dropped in training: of the input of a linear
            layer, or of the output of a bottleneck.
        starts_at_zero: Whether a new delta adds nothing.
        chained: Whether its input in a stack is the delta of the adapter before it, which its own
            delta replaces.
    """

    reads: Reads
    activation: str = "linear"
    down_bias: bool = False
    up_bias: bool = False
    scaling: Scaling = 1.0
    dropout: float = 0.0
    starts_at_zero: bool = False
    chained: bool = False


class CouplingForm(NamedTuple):
    """What an invertible adapter computes.

    Attributes:
        activation: Between the two layers of each half.
        reduction_factor: Ratio of half the embedding's width to the width between the layers.
        undone: Whether what a language model's head is given goes through the inverse.
    """

    activation: str
    reduction_factor: float
    undone: bool = True


class Host(Protocol):
    """What a method needs to know of a base model; ``hubkit.nn.host.BaseModel`` provides it."""

    @property
    def hidden_size(self) -> int:
        """The width ``d`` at the sub-blocks."""

    @property
    def embedding_size(self) -> int:
        """The width of the embedded input, which an invertible adapter maps."""

    @property
    def layers(self) -> Sequence[str]:
        """The module paths of the layers, from the first to the last."""

    @property
    def linears(self) -> Mapping[str, tuple[int, int]]:
        """The inputs and outputs of the backbone's linear layers, by module path."""

    @property
    def queries_and_values(self) -> tuple[str, ...]:
        """The ends of the paths of linear layers that make queries and values: LoRA's default."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """One method with its parameters, as it stands in the manifest of an adapter.

    Attributes:
        type: A key of ``hubkit.methods.table.METHODS``.
        dropout: As in :class:`DeltaForm`.
        leave_out: The numbers of the layers without deltas, from 0; those of a decoder are counted
            after those of the encoder (AdapterDrop, Rücklé et al. 2021, arXiv 2010.11918).

    Raises:
        AdapterError: A parameter is out of range.
    """

    type: str
    dropout: float = 0.0
    leave_out: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_number("dropout", self.dropout, 0.0, 1.0)
        check_layer_numbers(self.leave_out)
        object.__setattr__(self, "leave_out", tuple(sorted(set(self.leave_out))))

    @classmethod
    @abstractmethod
    def create(cls, type: str, host: Host, **parameters: Any) -> Self:
        """Make the method of a new adapter of ``host``, at its published defaults.

        Raises:
            AdapterError: A parameter is unknown, out of range, or does not fit ``host``.
        """

    @abstractmethod
    def shapes(self, host: Host) -> dict[Site, DeltaShape]:
        """Return the site of each delta in ``host``, with its sizes.

        Raises:
            AdapterError: A parameter does not fit ``host``.
        """

    @abstractmethod
    def form(self, site: Site, rank: int) -> DeltaForm:
        """Return what the delta of that rank at ``site`` computes."""

    def coupling(self) -> CouplingForm | None:
        """Return the form of the invertible adapter; None for a method without one."""
        return None

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that are not at their defaults, as the manifest stores them."""
        return {
            one.name: _json(getattr(self, one.name))
            for one in fields(self)
            if one.name != "type" and getattr(self, one.name) != _default(one)
        }

    def kept_layers(self, host: Host) -> list[str]:
        """As :func:`kept_layers`, without the layers that are left out."""
        return kept_layers(host, self.leave_out)


def kept_layers(host: Host, leave_out: Sequence[int]) -> list[str]:
    """Return the layers of ``host`` that are not left out.

    Args:
        host: The base model.
        leave_out: The numbers of those that are, from 0.

    Raises:
        AdapterError: The base model has fewer layers, or none is left.
    """
    check_layer_numbers(leave_out)
    count = len(host.layers)
    if leave_out and max(leave_out) >= count:
        raise AdapterError(
            f"Layer {max(leave_out)} is to be left out (leave_out), but the base model has {count} "
            f"layers, numbered from 0 to {count - 1}.",
            given=max(leave_out),
            expected=count,
        )
    kept = [layer for number, layer in enumerate(host.layers) if number not in leave_out]
    if not kept:
        raise AdapterError(
            f"All {count} layers of the base model are to be left out (leave_out), which leaves "
            "nothing to train.",
            given=list(leave_out),
        )
    return kept


def check_size(name: str, size: Any) -> None:
    """Raise AdapterError unless ``size`` is a whole number from 1 to :data:`MAX_SIZE`."""
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_SIZE:
        raise AdapterError(f"{name} must be a whole number from 1 to {MAX_SIZE}, not {size!r}.")


def check_number(name: str, number: Any, least: float, most: float = math.inf) -> None:
    """Raise AdapterError unless ``number`` is finite, at least ``least`` and below ``most``."""
    if not is_finite(number) or not least <= number < most:
        bounds = f"from {least:g}" + (f" to below {most:g}" if most < math.inf else "")
        if least == -math.inf:
            bounds = "that is finite"
        raise AdapterError(f"{name} must be a number {bounds}, not {number!r}.")


def is_finite(number: Any) -> bool:
    """Whether ``number`` is a number that a float can hold, neither infinite nor NaN."""
    try:
        return not isinstance(number, bool | str) and math.isfinite(number)
    except (OverflowError, TypeError, ValueError):
        return False


def check_layer_numbers(numbers: Any) -> None:
    """Raise AdapterError unless ``numbers`` are whole and not negative."""
    usable = isinstance(numbers, Sequence) and not isinstance(numbers, str)
    if not usable or not all(type(n) is int and 0 <= n < MAX_SIZE for n in numbers):
        raise AdapterError(f"leave_out takes the numbers of layers, from 0, not {numbers!r}.")


def check_names(type: str, parameters: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise AdapterError unless the method ``type`` knows all of ``parameters``."""
    for name in parameters:
        if name not in known:
            raise AdapterError(
                f"The method {type} has no parameter {name!r}; it has {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )


def _default(one: Any) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
