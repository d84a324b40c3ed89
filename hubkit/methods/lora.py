"""LoRA: low-rank updates of linear layers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from hubkit.methods.method import (
    DeltaForm,
    DeltaShape,
    Host,
    Method,
    check_names,
    check_number,
    check_size,
)
from hubkit.methods.sites import LinearSite, Site, is_in
from registry.errors import AdapterError

ALL_LINEAR = "all-linear"
"""The name for every linear layer of the backbone."""

PARAMETERS = (
    "rank",
    "alpha",
    "use_rslora",
    "target_modules",
    "rank_pattern",
    "alpha_pattern",
    "bias",
    "dropout",
    "leave_out",
)
"""The parameters of a new LoRA."""

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """LoRA, with the parameters and the rules of the library ``peft``.

    Attributes:
        rank: ``r``.
        alpha: A delta is scaled by ``alpha / r``.
        use_rslora: Whether it is scaled by ``alpha / sqrt(r)`` instead (Kalajdzievski 2023,
            arXiv 2312.03732).
        target_modules: Which linear layers: the ends of their module paths inside the backbone; or
            a regular expression that matches the whole path; or :data:`ALL_LINEAR`.
        rank_pattern: Other ranks, by the end of a path or a regular expression for that end.
        alpha_pattern: Other alphas, by keys of the same kind.
        bias: Whether each delta has a ``c``.
        chained: Whether its input in a stack is the delta of the LoRA before it, which its own
            replaces. Stacks of the library ``adapters`` do this, and its LoRAs are read so. In
            ``peft``, the deltas of all active LoRAs add up.
    """

    type: str = "lora"
    rank: int = 8
    alpha: float = 8
    use_rslora: bool = False
    target_modules: tuple[str, ...] | str
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    bias: bool = False
    chained: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rank_pattern", "alpha_pattern"):
            if not isinstance(getattr(self, name), Mapping):
                raise AdapterError(
                    f"{name} is a number for each end of a path, such as {{'query': 4}}, not "
                    f"{getattr(self, name)!r}."
                )
        for name in ("bias", "use_rslora", "chained"):
            if not isinstance(getattr(self, name), bool):
                raise AdapterError(f"{name} is true or false, not {getattr(self, name)!r}.")
        if not isinstance(self.target_modules, str):
            if not isinstance(self.target_modules, Iterable):
                raise AdapterError(
                    "target_modules are ends of the paths of linear layers, or a regular "
                    f"expression, not {self.target_modules!r}."
                )
            object.__setattr__(self, "target_modules", tuple(self.target_modules))
        for rank in (self.rank, *self.rank_pattern.values()):
            check_size("rank", rank)
        for alpha in (self.alpha, *self.alpha_pattern.values()):
            check_number("alpha", alpha, -math.inf)
        patterns = [*self.rank_pattern, *self.alpha_pattern]
        for pattern in [*patterns, self.target_modules] if self._is_expression else patterns:
            _check_expression(pattern)

    @classmethod
    def create(cls, type: str, host: Host, **parameters: Any) -> Self:
        """Make the method of a new adapter.

        Args:
            type: ``lora``.
            host: The base model.
            parameters: The attributes; ``target_modules`` defaults to the linear layers that make
                the queries and the values of attention, ``rank`` and ``alpha`` to 8.

        Raises:
            AdapterError: A parameter is unknown, out of range, or does not fit ``host``.
        """
        check_names(type, parameters, PARAMETERS)
        given = {name: value for name, value in parameters.items() if value is not None}
        made = cls(**{"target_modules": host.queries_and_values, **given})
        made.shapes(host)
        return made

    @property
    def _is_expression(self) -> bool:
        return isinstance(self.target_modules, str) and self.target_modules != ALL_LINEAR

    def shapes(self, host: Host) -> dict[Site, DeltaShape]:
        """Return the site of each delta in ``host``, with its sizes."""
        kept = self.kept_layers(host)
        left_out = [layer for layer in host.layers if layer not in kept]
        found: dict[Site, DeltaShape] = {
            LinearSite(path): DeltaShape(inputs, self.rank_at(path), outputs)
            for path, (inputs, outputs) in host.linears.items()
            if self._is_target(path) and not any(is_in(LinearSite(path), one) for one in left_out)
        }
        if not found:
            raise AdapterError(
                f"target_modules {self.target_modules!r} name no linear layer of the base model; "
                f"it has {', '.join(sorted({path.rpartition('.')[2] for path in host.linears}))}."
            )
        return found

    def form(self, site: Site, rank: int) -> DeltaForm:
        """Return what the delta at ``site`` computes."""
        alpha = self.alpha_at(str(site))
        return DeltaForm(
            reads="input",
            up_bias=self.bias,
            scaling=alpha / (math.sqrt(rank) if self.use_rslora else rank),
            dropout=self.dropout,
            starts_at_zero=True,
            chained=self.chained,
        )

    def rank_at(self, path: str) -> int:
        """The rank of the delta at a linear layer."""
        return _at(path, self.rank_pattern, self.rank)

    def alpha_at(self, path: str) -> float:
        """The alpha of the delta at a linear layer."""
        return _at(path, self.alpha_pattern, self.alpha)

    def _is_target(self, path: str) -> bool:
        if self.target_modules == ALL_LINEAR:
            return True
        if isinstance(self.target_modules, str):
            return re.fullmatch(self.target_modules, path) is not None
        return any(path == end or path.endswith(f".{end}") for end in self.target_modules)


def _at(path: str, pattern: Mapping[str, _Number], default: _Number) -> _Number:
    """The number that ``pattern`` has for ``path``, by the rule of ``peft``."""
    for expression, number in pattern.items():
        if re.match(rf"(.*\.)?({expression})$", path):
            return number
    return default


def _check_expression(expression: Any) -> None:
    try:
        re.compile(expression)
    except (re.error, TypeError) as error:
        raise AdapterError(f"{expression!r} is not a regular expression: {error}.") from error
