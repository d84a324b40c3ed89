"""The adapter methods: where each one's deltas are, what they read, and their default sizes.

Names and defaults are those of the AdapterHub library: ``seq_bn`` is the bottleneck adapter of
Pfeiffer et al. 2021 (arXiv 2005.00247), ``double_seq_bn`` that of Houlsby et al. 2019
(arXiv 1902.00751), ``par_bn`` the parallel adapter of He et al. 2022 (arXiv 2110.04366).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from hubkit.nn.sites import Place
from registry.errors import AdapterError

Reads = Literal["norm", "output", "residual"]
"""What a delta reads at its site: LN(h + residual), h, or the residual."""

MAX_BOTTLENECK_SIZE = 65536
"""Wider than any model is, so that a slip of the finger does not ask for all the memory."""


@dataclass(frozen=True)
class MethodRow:
    """What sets one method apart: its places, what its deltas read, and its defaults."""

    places: tuple[Place, ...]
    reads: Reads
    activation: str
    reduction_factor: int
    scaling: float


METHODS: dict[str, MethodRow] = {
    "seq_bn": MethodRow(("feed_forward",), "norm", "relu", 16, 1.0),
    "double_seq_bn": MethodRow(("attention", "feed_forward"), "output", "swish", 16, 1.0),
    "par_bn": MethodRow(("feed_forward",), "residual", "relu", 2, 4.0),
}


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method with its parameters, as it stands in the manifest of an adapter.

    Attributes:
        type: A key of :data:`METHODS`.
        bottleneck_size: Width ``r`` of the bottleneck.
        activation: The name of one of ``hubkit.nn.delta.ACTIVATIONS``.
        scaling: The constant factor ``s`` of the delta.

    Raises:
        AdapterError: One of them is unknown or out of range.
    """

    type: str
    bottleneck_size: int
    activation: str
    scaling: float

    def __post_init__(self) -> None:
        _row(self.type)
        size = self.bottleneck_size
        if not isinstance(size, int) or not 1 <= size <= MAX_BOTTLENECK_SIZE:
            raise AdapterError(
                f"bottleneck_size must be a whole number from 1 to {MAX_BOTTLENECK_SIZE}, "
                f"not {size!r}."
            )

    @classmethod
    def default(cls, type: str, hidden_size: int, bottleneck_size: int | None = None) -> Method:
        """The method at its published defaults.

        Args:
            type: A key of :data:`METHODS`.
            hidden_size: The width ``d`` of the base model.
            bottleneck_size: Default: ``hidden_size`` over the method's reduction factor.

        Raises:
            AdapterError: Unknown ``type``, or a size under 1.
        """
        row = _row(type)
        return cls(
            type=type,
            bottleneck_size=max(1, hidden_size // row.reduction_factor)
            if bottleneck_size is None
            else bottleneck_size,
            activation=row.activation,
            scaling=row.scaling,
        )

    @classmethod
    def from_parameters(cls, type: str, parameters: dict[str, Any]) -> Method:
        """The inverse of :attr:`parameters`.

        Raises:
            AdapterError: A parameter is missing or unknown.
        """
        _row(type)
        names = {field.name for field in fields(cls)} - {"type"}
        if set(parameters) != names:
            raise AdapterError(
                f"Method {type!r} has the parameters {', '.join(sorted(names))}; "
                f"found {', '.join(sorted(parameters)) or 'none'}."
            )
        return cls(type=type, **parameters)

    @property
    def parameters(self) -> dict[str, Any]:
        """All but the type, as the manifest stores them."""
        return {name: value for name, value in asdict(self).items() if name != "type"}

    @property
    def places(self) -> tuple[Place, ...]:
        """The sub-blocks of each layer that carry a delta."""
        return METHODS[self.type].places

    @property
    def reads(self) -> Reads:
        """What the deltas read at their sites."""
        return METHODS[self.type].reads


def _row(type: str) -> MethodRow:
    try:
        return METHODS[type]
    except KeyError:
        raise AdapterError(
            f"Unknown method {type!r}; hubkit composes {', '.join(METHODS)}."
        ) from None
