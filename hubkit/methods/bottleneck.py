"""Bottleneck adapters: beside or after the sub-blocks of each layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from hubkit.methods.method import (
    CouplingForm,
    DeltaForm,
    DeltaShape,
    Host,
    Method,
    Reads,
    Scaling,
    check_names,
    check_number,
    check_size,
)
from hubkit.methods.sites import BlockSite, Place, Site
from registry.errors import AdapterError


@dataclass(frozen=True)
class Row:
    """What sets one type of bottleneck apart.

    Attributes:
        places: The sub-blocks of each layer that carry a delta.
        reads: The input of the deltas.
        activation: Default activation.
        reduction_factor: Default ratio of hidden size to bottleneck size.
        scaling: Default factor of the delta.
        invertible: Whether the embeddings go through an invertible adapter.
    """

    places: tuple[Place, ...]
    reads: Reads
    activation: str
    reduction_factor: int
    scaling: float = 1.0
    invertible: bool = False


_BOTH: tuple[Place, ...] = ("attention", "feed_forward")
ROWS: dict[str, Row] = {
    "seq_bn": Row(("feed_forward",), "norm", "relu", 16),
    "double_seq_bn": Row(_BOTH, "output", "swish", 16),
    "par_bn": Row(("feed_forward",), "residual", "relu", 2, 4.0),
    "seq_bn_inv": Row(("feed_forward",), "norm", "relu", 16, invertible=True),
    "double_seq_bn_inv": Row(_BOTH, "output", "swish", 16, invertible=True),
}

PARAMETERS = (
    "bottleneck_size",
    "reduction_factor",
    "activation",
    "scaling",
    "dropout",
    "leave_out",
    "coupling_factor",
)
"""The parameters of a new bottleneck adapter."""

PerLayer = int | float | Sequence[float] | Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class Bottleneck(Method):
    """A bottleneck adapter.

    Attributes:
        bottleneck_size: Width ``r``: one for all layers, or one by module path for each layer that
            is not left out.
        activation: As in :class:`DeltaForm`.
        scaling: As in :class:`DeltaForm`.
        coupling_factor: Ratio of half the embedding's width to the bottleneck of the invertible
            adapter.
        undone: Whether the invertible adapter is undone before a language model's head; the library
            of AdapterHub does so before the heads that it builds, not before those of transformers.
    """

    bottleneck_size: int | Mapping[str, int]
    activation: str
    scaling: Scaling
    coupling_factor: float = 2
    undone: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = self.bottleneck_size
        for size in sizes.values() if isinstance(sizes, Mapping) else [sizes]:
            check_size("bottleneck_size", size)
        if not isinstance(self.activation, str):
            raise AdapterError(f"activation must be a name, not {self.activation!r}.")
        if not isinstance(self.scaling, str):
            check_number("scaling", self.scaling, float("-inf"))
        elif self.scaling not in ("learned", "channel"):
            raise AdapterError(
                f"scaling must be a number, 'learned' or 'channel', not {self.scaling!r}."
            )
        check_number("coupling_factor", self.coupling_factor, 1e-6)

    @classmethod
    def create(cls, type: str, host: Host, **parameters: Any) -> Self:
        """Make the method of a new adapter.

        Args:
            type: A key of :data:`ROWS`.
            host: The base model.
            parameters: ``bottleneck_size`` or ``reduction_factor`` (hidden size over bottleneck
                size): one number, a list with one for each layer, or a mapping from numbers of
                layers; ``activation``, ``scaling``, ``dropout``, ``leave_out``,
                ``coupling_factor``.

        Raises:
            AdapterError: A parameter is unknown, out of range, or does not fit ``host``.
        """
        check_names(type, parameters, PARAMETERS)
        given = {name: value for name, value in parameters.items() if value is not None}
        sizes, factors = given.pop("bottleneck_size", None), given.pop("reduction_factor", None)
        if sizes is not None and factors is not None:
            raise AdapterError("Give bottleneck_size or reduction_factor, not both.")
        row = ROWS[type]
        if sizes is None:
            by_layer = [
                max(1, int(host.hidden_size // factor))
                for factor in _per_layer("reduction_factor", factors, row.reduction_factor, host)
            ]
        else:
            default = max(1, host.hidden_size // row.reduction_factor)
            by_layer = _per_layer("bottleneck_size", sizes, default, host)
        made = cls(
            type=type,
            bottleneck_size=1,
            **{"activation": row.activation, "scaling": row.scaling, **given},
        )
        kept = made.kept_layers(host)
        sizes = {layer: s for layer, s in zip(host.layers, by_layer, strict=True) if layer in kept}
        made = made.with_sizes(sizes)
        made.shapes(host)
        return made

    def with_sizes(self, sizes: Mapping[str, Any]) -> Self:
        """Return this method with other bottleneck sizes, by the module path of the layer."""
        values = set(sizes.values())
        size = values.pop() if len(values) == 1 else dict(sizes)
        return type(self)(**{**vars(self), "bottleneck_size": size})

    def shapes(self, host: Host) -> dict[Site, DeltaShape]:
        """Return the site of each delta in ``host``, with its sizes."""
        width, sizes, kept = host.hidden_size, self.bottleneck_size, self.kept_layers(host)
        if isinstance(sizes, Mapping) and set(sizes) != set(kept):
            raise AdapterError(
                f"bottleneck_size is given for {', '.join(sorted(sizes)) or 'no layer'}; the "
                f"layers with deltas are {', '.join(kept) or 'none'}."
            )
        return {
            BlockSite(layer, place): DeltaShape(
                width, sizes[layer] if isinstance(sizes, Mapping) else sizes, width
            )
            for layer in kept
            for place in ROWS[self.type].places
        }

    def form(self, site: Site, rank: int) -> DeltaForm:
        """Return what the delta at ``site`` computes."""
        return DeltaForm(
            reads=ROWS[self.type].reads,
            activation=self.activation,
            down_bias=True,
            up_bias=True,
            scaling=self.scaling,
            dropout=self.dropout,
        )

    def coupling(self) -> CouplingForm | None:
        """The form of the invertible adapter; None for a type without one."""
        if not ROWS[self.type].invertible:
            return None
        return CouplingForm(self.activation, self.coupling_factor, self.undone)


def _per_layer(name: str, given: Any, default: float, host: Host) -> list[Any]:
    """One number for each layer of ``host``."""
    count = len(host.layers)
    if given is None or isinstance(given, int | float | str):
        numbers = [default if given is None else given] * count
    elif isinstance(given, Mapping):
        unknown = sorted(set(given) - set(range(count)), key=str)
        if unknown:
            raise AdapterError(
                f"{name} is given for the layer {unknown[0]!r}; the base model's are numbered "
                f"from 0 to {count - 1}."
            )
        numbers = [given.get(number, default) for number in range(count)]
    elif not isinstance(given, Iterable):
        raise AdapterError(
            f"{name} is a number, or one for each layer in a list or by number, not {given!r}."
        )
    else:
        numbers = list(given)
        if len(numbers) != count:
            raise AdapterError(
                f"{name} has {len(numbers)} numbers; the base model has {count} layers."
            )
    for number in numbers:
        if name == "bottleneck_size":
            check_size(name, number)
        else:
            check_number(name, number, 1e-6)
    return numbers
