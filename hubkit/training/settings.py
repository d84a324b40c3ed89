"""How to train, and the defaults. Loads no torch, so that the command line can show them."""

from __future__ import annotations

from dataclasses import dataclass

ADAPTER_LEARNING_RATE = 1e-3
FUSION_LEARNING_RATE = 5e-4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        epochs: Passes over the data, at most.
        learning_rate: At the first step; it falls to zero in a straight line.
        batch_size: Texts in a step.
        max_length: Tokens of a text; the rest is cut off.
        patience: Epochs without a better validation loss before training stops.
        seed: Of every random generator.
    """

    epochs: int = 20
    learning_rate: float
    batch_size: int = 32
    max_length: int = 128
    patience: int = 5
    seed: int = 42
