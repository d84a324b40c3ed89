from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hubkit.training.choosing.trials import Outcome, note_short, try_out
from hubkit.training.fit import Fit
from hubkit.training.settings import Decided
from registry.errors import DivergedError, ShortTrainingError

SETTINGS = Decided(epochs=5, learning_rate=9.0, batch_size=8, patience=5)
LOSSES = {1e-1: 0.5, 1e-2: 0.2, 1e-3: 0.4}


class Runs:
    """Stands for training: adds the learning rate to the weight, and notes what it is given."""

    def __init__(self, losses: dict[float, float | None]) -> None:
        self.weight = torch.nn.Parameter(torch.tensor([1.0]))
        self.losses = losses
        self.noted: list[Any] = []

    def fit(self, settings: Decided, name: str) -> Fit:
        assert self.weight.item() == 1, "each run begins with the same weights"
        self.noted.append((settings.learning_rate, name))
        self.weight.data += settings.learning_rate
        loss = self.losses[settings.learning_rate]
        if loss is None:
            raise DivergedError("gone", given=settings.learning_rate)
        return Fit({"loss": loss}, [], 2.0, steps=7, at_most=10)

    def fit_all(self, rate: float) -> Fit:
        assert self.weight.item() == 1
        self.noted.append(rate)
        self.weight.data -= rate
        return Fit({}, [], 3.0, steps=10, at_most=10)

    def chosen(self, *, every_row: bool = False) -> Outcome:
        rates = tuple(self.losses)
        return try_out(
            SETTINGS, rates, [self.weight], self.fit, self.fit_all if every_row else None
        )


def test_the_learning_rate_with_the_lowest_validation_loss_is_kept() -> None:
    runs = Runs({**LOSSES})
    found = runs.chosen()
    assert found.settings == replace(SETTINGS, learning_rate=1e-2)
    assert found.result.metrics == {"loss": 0.2}
    assert found.result.seconds == 6
    assert found.tried == {"0.1": 0.5, "0.01": 0.2, "0.001": 0.4}
    assert runs.weight.item() == pytest.approx(1.01)
    assert runs.noted[-1] == (1e-2, "2"), "what it gave is taken again"


def test_all_rows_are_trained_on_at_the_rate_that_some_of_them_chose() -> None:
    runs = Runs({**LOSSES})
    found = runs.chosen(every_row=True)
    assert runs.noted[-1] == 1e-2
    assert (found.result.metrics, found.result.steps) == ({"loss": 0.2}, 7)
    assert found.result.seconds == 9
    assert runs.weight.item() == pytest.approx(0.99)


def test_a_single_learning_rate_is_run_once_and_nothing_was_tried() -> None:
    runs = Runs({1e-2: 0.2})
    assert runs.chosen().tried == {}
    assert runs.noted == [(1e-2, "1")]


def test_a_rate_that_diverges_is_left_out_unless_all_do(caplog: pytest.LogCaptureFixture) -> None:
    found = Runs({1e-1: None, 1e-2: 0.2}).chosen()
    assert found.tried == {"0.1": None, "0.01": 0.2}
    assert "diverged at a learning rate of 0.1" in caplog.text
    with pytest.raises(DivergedError, match=r"at each learning rate: 0\.1, 0\.01"):
        Runs({1e-1: None, 1e-2: None}).chosen()
    with pytest.raises(DivergedError, match="gone"):
        Runs({1e-1: None}).chosen()


@pytest.mark.parametrize(
    ("losses", "best", "told"),
    [
        ([0.7, 0.6, 0.5, 0.4], 4, True),
        ([0.7, 0.4, 0.39, 0.385], 4, False),  # has settled
        ([0.7, 0.6, 0.5, 0.51], 3, False),
        ([0.7], 4, False),  # of one measure nobody knows
    ],
)
def test_a_run_that_was_over_while_its_loss_fell_is_told(
    losses: list[float], best: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    history: list[dict[str, float]] = [
        {"step": step, "eval_loss": loss} for step, loss in enumerate(losses, start=1)
    ]
    note_short([Fit({}, history, 1.0, steps=best, at_most=4)], "films")
    assert [getattr(one, "about", None) for one in caplog.records] == (
        [ShortTrainingError] if told else []
    )
    assert ("of films was still falling when training was over, after 4 steps" in caplog.text) == (
        told
    )
