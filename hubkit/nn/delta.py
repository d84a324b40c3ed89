"""The one map that every composable adapter is made of: ``s * (U @ act(D @ x + b) + c)``."""

from __future__ import annotations

from torch import Tensor, nn
from transformers.activations import ACT2FN

from hubkit.nn.methods import Method, Reads
from registry.errors import AdapterError

# Those with weights of their own are left out: no adapter file holds them.
ACTIVATIONS = frozenset({*ACT2FN, "leakyrelu"} - {"prelu", "xielu"})
"""The activations of a bottleneck, by the names that transformers gives them."""


class Delta(nn.Module):
    """A low-rank change at one site of the base model.

    ``delta(x) = s * (U @ act(D @ x + b) + c)``, with the down-projection ``D`` (r, d) and its bias
    ``b`` (r), the up-projection ``U`` (d, r) and its bias ``c`` (d), and a constant scale ``s``.

    Weights start as in BERT, N(0, 0.02 ** 2) with biases at zero (Pfeiffer et al. 2021).

    Args:
        method: Size, activation, scale, and what the delta reads.
        hidden_size: The width ``d``.

    Raises:
        AdapterError: The activation is none of :data:`ACTIVATIONS`.
    """

    reads: Reads

    def __init__(self, method: Method, hidden_size: int) -> None:
        super().__init__()
        self.reads = method.reads
        self.scaling = method.scaling
        self.activation = _activation(method.activation)
        self.down = nn.Linear(hidden_size, method.bottleneck_size)
        self.up = nn.Linear(method.bottleneck_size, hidden_size)
        for projection in (self.down, self.up):
            nn.init.normal_(projection.weight, std=0.02)
            nn.init.zeros_(projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What is added at the site.

        Args:
            x: What :attr:`reads` names. *Shape:* ``(..., d)``.

        Returns:
            *Shape:* ``(..., d)``.
        """
        z: Tensor = self.up(self.activation(self.down(x)))
        # A multiplication by one would still cost a pass over (batch, length, d).
        return z if self.scaling == 1.0 else self.scaling * z


def _activation(name: str) -> nn.Module:
    if name not in ACTIVATIONS:
        raise AdapterError(
            f"Unknown activation {name!r}; hubkit knows {', '.join(sorted(ACTIVATIONS))}."
        )
    activation: nn.Module = nn.LeakyReLU() if name == "leakyrelu" else ACT2FN[name]
    return activation
