"""How to train, and the defaults. Loads no torch, so that the command line can show them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from registry.errors import TrainingError

ADAPTER_LEARNING_RATE = 1e-3
FUSION_LEARNING_RATE = 5e-4
FUSION_BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        epochs: Passes over the data, at most.
        learning_rate: At the first step; it falls to zero in a straight line.
        batch_size: Texts in a step. The default lets an adapter take enough steps on few texts;
            a fusion starts from trained adapters and needs fewer (`FUSION_BATCH_SIZE`).
        max_length: Tokens of a row; the rest is cut off, or read in another window. None: as many
            as are usual for the task type.
        target_max_length: Tokens of a text that is to be written; the rest is cut off. None: as
            ``max_length``.
        patience: Epochs without a better validation loss before training stops.
        seed: Of every random generator.

    Raises:
        TrainingError: One of them is out of range.
    """

    epochs: int = 20
    learning_rate: float
    batch_size: int = 16
    max_length: int | None = None
    target_max_length: int | None = None
    patience: int = 5
    seed: int = 42

    def __post_init__(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise TrainingError(
                f"The learning rate must be a number over 0, not {self.learning_rate}; "
                f"{ADAPTER_LEARNING_RATE} is usual."
            )
        for name in ("epochs", "batch_size", "max_length", "target_max_length", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TrainingError(f"{name} must be at least 1, not {value}.")
