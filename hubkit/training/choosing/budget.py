"""How long to train, by how many rows there are. Loads no torch.

Few rows make few steps in an epoch, and what an adapter needs is steps: after three epochs of 800
tweets in batches of 32 it still answers with the more frequent class.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from hubkit.training.settings import Decided, Settings

FEW = 500
"""With so many rows or fewer, none of them is given away: see `hubkit.training.choosing.trials`."""
EPOCHS = 20
STEPS = 200
"""Passes over the data at most, but not fewer steps than these."""
BATCH_SIZE = 16
PATIENCE = 5
PATIENT_STEPS = 50
"""Epochs without a better validation loss before training stops, but not fewer steps than these."""


def decided(settings: Settings, rows: int) -> Decided:
    """Settings with what was left open.

    Args:
        settings: The user's choices. Of several learning rates, the first is taken.
        rows: How many are trained on.
    """
    batch_size = settings.batch_size or BATCH_SIZE
    in_epoch = steps_in_epoch(math.ceil(rows / batch_size), settings)
    epochs, patience = settings.epochs, settings.patience
    if epochs is None and settings.steps is None:
        epochs = max(EPOCHS, math.ceil(STEPS / in_epoch))
    if patience is None:
        patience = max(PATIENCE, math.ceil(PATIENT_STEPS / in_epoch))
    open_before = {
        "epochs": epochs,
        "batch_size": batch_size,
        "patience": patience,
        "learning_rate": settings.learning_rates[0],
    }
    chosen = {name: getattr(settings, name) for name in asdict(settings)}
    return Decided(**{**chosen, **open_before})


def steps_in_epoch(batches: int, settings: Settings) -> int:
    """How many steps go through so many batches."""
    return max(1, math.ceil(batches / settings.gradient_accumulation))


def steps_in_all(batches: int, settings: Decided) -> int:
    """How many steps a run has, at most.

    Args:
        batches: Of an epoch.
        settings: How long to train.
    """
    by_epochs = [settings.epochs * steps_in_epoch(batches, settings)] if settings.epochs else []
    return min(by_epochs + ([settings.steps] if settings.steps else []))
