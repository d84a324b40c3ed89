"""How well a language model expects the words that are there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor
from torch.nn.functional import cross_entropy

from hubkit.tasks.task import Outputs

PERPLEXITY_UP: Mapping[str, bool] = MappingProxyType({"perplexity": False, "loss": False})
"""Whether higher is better."""

_MOST = 700.0
"""The largest loss whose exponential is a number."""


def token_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What the tokens of each row cost, and how many they are: each of *shape* ``(batch, 1)``.

    Args:
        logits: *Shape* ``(batch, length, words)``.
        labels: The token that is expected at each place, -100 where none is. *Shape* ``(batch,
            length)``.
    """
    there = labels != -100
    # Of these places only: with a large vocabulary, the rest would need much memory.
    costs = cross_entropy(logits[there].float(), labels[there], reduction="none")
    sums = costs.new_zeros(len(labels)).index_add(0, there.nonzero()[:, 0], costs)
    return sums.unsqueeze(1), there.sum(1, keepdim=True)


def shifted_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The same for a decoder, which says at each place what the next token is."""
    # A method that puts tokens of its own before the text has more logits than labels.
    logits = logits[:, logits.shape[1] - labels.shape[1] :]
    return token_losses(logits[:, :-1], labels[:, 1:])


def perplexity(outputs: Outputs) -> dict[str, float]:
    """The mean loss of a token, over all tokens of all rows, and its exponential.

    Args:
        outputs: Those of :func:`token_losses`.
    """
    costs, counts = outputs
    loss = float(costs.sum(dtype="float64") / max(1.0, counts.sum(dtype="float64")))
    return {"perplexity": math.exp(min(loss, _MOST)), "loss": loss}
