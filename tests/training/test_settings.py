from __future__ import annotations

from typing import Any

import pytest

from hubkit.training.settings import Settings
from registry.errors import ArgumentError, TrainingError


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 0.0, -1e-3, (1e-3, 0.0)])
def test_a_learning_rate_is_a_number_over_zero(rate: float | tuple[float, ...]) -> None:
    with pytest.raises(TrainingError, match="must be a number over 0"):
        Settings(learning_rate=rate)


@pytest.mark.parametrize(
    "name", ["epochs", "steps", "batch_size", "gradient_accumulation", "max_length", "patience"]
)
def test_counts_start_at_one(name: str) -> None:
    counts: dict[str, Any] = {name: 0}
    with pytest.raises(TrainingError, match=f"{name} must be at least 1, not 0"):
        Settings(learning_rate=1e-3, **counts)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"warmup": -0.1}, r"warmup must be a number of at least 0, not -0\.1"),
        ({"warmup": 2.5}, r"warmup must be a whole number of steps, or a part .*not 2\.5"),
        ({"weight_decay": float("nan")}, r"weight_decay must be a number of at least 0, not nan"),
        ({"seed": -1}, r"seed must be from 0 to 4294967295, not -1"),
        ({"seed": 2**32}, r"seed must be from 0 to 4294967295, not 4294967296"),
        ({"class_weights": {"a": -1.0}}, r"weight of the class 'a' .* at least 0, not -1"),
    ],
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Settings(learning_rate=1e-3, **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": "3"}, "epochs must be a whole number or None, not '3'"),
        ({"batch_size": 2.5}, "batch_size must be a whole number or None, not 2.5"),
        ({"schedule": "cosin"}, r"schedule must be 'linear', .*Did you mean cosine"),
        ({"precision": "fp8"}, r"precision must be 'no', 'bf16', 'fp16' or None, not 'fp8'"),
        ({"class_weights": "equal"}, r"class_weights must be 'balanced', a mapping or None"),
        ({"report_to": "tensorboard"}, "report_to must be a list, not 'tensorboard'"),
    ],
)
def test_what_has_another_type_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Settings(**{"learning_rate": 1e-3, **wrong})


def test_a_list_of_learning_rates_is_as_good_as_a_tuple() -> None:
    rates: Any = [1e-3, 1e-4]
    assert Settings(learning_rate=rates).learning_rates == (1e-3, 1e-4)
