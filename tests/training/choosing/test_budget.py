from __future__ import annotations

from typing import Any

import pytest

from hubkit.training.choosing.budget import decided, steps_in_all
from hubkit.training.settings import Settings


def of(rows: int, **given: Any) -> tuple[int | None, int, int]:
    found = decided(Settings(**{"learning_rate": 1e-3, **given}), rows)
    return found.epochs, found.batch_size, found.patience


@pytest.mark.parametrize(
    ("rows", "given", "expected"),
    [
        (10_000, {}, (20, 16, 5)),
        (80, {}, (40, 16, 10)),
        (1, {}, (200, 16, 50)),
        (80, {"batch_size": 80}, (200, 80, 50)),
        (80, {"gradient_accumulation": 5}, (200, 16, 50)),
        (80, {"epochs": 3, "patience": 2}, (3, 16, 2)),
        (80, {"steps": 7}, (None, 16, 10)),
    ],
)
def test_few_rows_are_gone_through_more_often_unless_somebody_says_how_often(
    rows: int, given: dict[str, Any], expected: tuple[int | None, int, int]
) -> None:
    assert of(rows, **given) == expected


def test_of_epochs_and_steps_whichever_comes_first_ends_a_run() -> None:
    given = {"learning_rate": (1e-3, 1e-4), "gradient_accumulation": 2}
    for more, steps in (
        ({"epochs": 3}, 9),
        ({"steps": 7}, 7),
        ({"epochs": 3, "steps": 7}, 7),
        ({"epochs": 2, "steps": 7}, 6),
    ):
        made = decided(Settings(**{**given, **more}), 5)  # type: ignore[arg-type]
        assert steps_in_all(5, made) == steps
        assert made.learning_rate == 1e-3
