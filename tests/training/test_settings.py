from __future__ import annotations

from typing import Any

import pytest

from hubkit.training.settings import Settings
from registry.errors import TrainingError


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 0.0, -1e-3])
def test_a_learning_rate_is_a_number_over_zero(rate: float) -> None:
    with pytest.raises(TrainingError, match="must be a number over 0"):
        Settings(learning_rate=rate)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "max_length", "patience"])
def test_counts_start_at_one(name: str) -> None:
    counts: dict[str, Any] = {name: 0}
    with pytest.raises(TrainingError, match=f"{name} must be at least 1, not 0"):
        Settings(learning_rate=1e-3, **counts)
