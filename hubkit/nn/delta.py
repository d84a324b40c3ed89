"""The one map that every composable adapter is made of: ``s * (U @ act(D @ x + b) + c)``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from transformers.activations import ACT2FN

from hubkit.methods.method import DeltaForm, DeltaShape
from hubkit.nn.plain import LeanModule
from registry.errors import AdapterError

# Those with weights of their own are left out: no adapter file holds them.
ACTIVATIONS = frozenset({*ACT2FN, "leakyrelu"} - {"prelu", "xielu"})
"""The activations of a bottleneck, by the names that transformers gives them."""


class Delta(LeanModule):
    """A low-rank change at one site of the base model.

    ``delta(x) = s * (U @ act(D @ x + b) + c)``. The parameters are ``down`` for ``D``, *shape*
    ``(r, d_in)``, ``up`` for ``U``, *shape* ``(d_out, r)``, ``down_bias`` and ``up_bias`` for ``b``
    and ``c`` where the method has them, and ``scale`` for ``s``, *shape* ``(1)`` or ``(d_out)``,
    where it is learned. They are held without modules of their own: a server holds thousands.

    Bottlenecks start as in BERT, N(0, 0.02 ** 2) with biases at zero (Pfeiffer et al. 2021); LoRA
    starts with ``U = 0`` (Hu et al. 2021).

    Args:
        shape: Its three sizes.
        form: All that it computes but its weights.

    Raises:
        AdapterError: The activation is not in :data:`ACTIVATIONS`.

    Example:
        >>> form = DeltaForm(reads="norm", activation="relu", down_bias=True, up_bias=True)
        >>> delta = Delta(DeltaShape(inputs=768, rank=48, outputs=768), form)
        >>> delta(torch.randn(16, 128, 768)).shape
        torch.Size([16, 128, 768])
    """

    def __init__(self, shape: DeltaShape, form: DeltaForm) -> None:
        super().__init__()
        self.form = form = _shared(form)
        self.activation = activation(form.activation)
        self.down = nn.Parameter(torch.empty(shape.rank, shape.inputs))
        self.up = nn.Parameter(torch.empty(shape.outputs, shape.rank))
        self.down_bias = nn.Parameter(torch.zeros(shape.rank)) if form.down_bias else None
        self.up_bias = nn.Parameter(torch.zeros(shape.outputs)) if form.up_bias else None
        if isinstance(form.scaling, str):
            size = 1 if form.scaling == "learned" else shape.outputs
            self.scale: Tensor | float = nn.Parameter(torch.ones(size))
        else:
            self.scale = form.scaling
        if form.starts_at_zero:
            nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
            nn.init.zeros_(self.up)
        else:
            draw(self.down)
            draw(self.up)
        self.slim()

    @property
    def shape(self) -> DeltaShape:
        """Its three sizes."""
        return DeltaShape(self.down.shape[1], self.down.shape[0], self.up.shape[0])

    @property
    def dropping(self) -> float:
        """The probability of its dropout now.

        Dropout is for what learns: a frozen adapter has none, whatever the mode of the model.
        """
        return self.form.dropout if self.training and self.up.requires_grad else 0.0

    def forward(self, x: Tensor) -> Tensor:
        """What is added at the site.

        Args:
            x: What ``form.reads`` names. *Shape:* ``(..., d_in)``.

        Returns:
            *Shape:* ``(..., d_out)``.
        """
        p = self.dropping
        if p and self.form.reads == "input":
            x = dropout(x, p)
        a = linear(x, self.down, self.down_bias)
        if self.activation is not None:
            a = self.activation(a)
        if self.up_bias is None and isinstance(self.scale, float):
            # Scaled where it is narrow.
            z = linear(a if self.scale == 1.0 else self.scale * a, self.up)
        else:
            z = linear(a, self.up, self.up_bias)
            # A multiplication by one would still cost a pass over (batch, length, d).
            z = z if isinstance(self.scale, float) and self.scale == 1.0 else self.scale * z
        return dropout(z, p) if p and self.form.reads != "input" else z


def draw(weight: Tensor) -> None:
    """Fill a weight from N(0, 0.02 ** 2).

    On torch's device ``meta`` it has nothing to fill, and torch takes long to find that out.
    """
    if not weight.is_meta:
        nn.init.normal_(weight, std=0.02)


@lru_cache(maxsize=1024)
def _shared(form: DeltaForm) -> DeltaForm:
    """One object for all deltas of a form."""
    return form


@cache
def activation(name: str) -> Callable[[Tensor], Tensor] | None:
    """The activation of that name, one object for all deltas; None for the identity.

    Raises:
        AdapterError: It is not in :data:`ACTIVATIONS`.
    """
    if name not in ACTIVATIONS:
        raise AdapterError(
            f"Unknown activation {name!r}; hubkit knows {', '.join(sorted(ACTIVATIONS))}."
        )
    if name == "linear":
        return None
    module: Any = nn.LeakyReLU() if name == "leakyrelu" else ACT2FN[name]
    return _Activation(name, module)


class _Activation:
    """A module without weights, kept out of the module tree of each of the deltas that share it."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self._name = name
        self._module = module

    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = self._module(x)
        return result

    def __reduce__(self) -> Any:
        # Copies share it, too: an activation has no weights.
        return activation, (self._name,)
