from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import brier_score_loss

from hubkit.measuring.calibration import brier


def drawn(seed: int, rows: int = 400, choices: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and right choices that are as probable as the scores say."""
    chance = np.random.default_rng(seed)
    scores = chance.normal(size=(rows, choices)) * 2
    right = np.array([chance.choice(choices, p=row) for row in softmax(scores, axis=-1)])
    return scores, right


def test_calibrated_scores_give_the_brier_score_of_their_probabilities() -> None:
    scores, right = drawn(0, rows=20_000)
    expected = brier_score_loss(right, softmax(scores, axis=-1), scale_by_half=False)
    assert brier(scores, right).mean() == pytest.approx(expected, abs=1e-3)


@given(st.integers(0, 100), st.floats(0.1, 10))
def test_how_sure_the_scores_are_as_a_whole_does_not_count(seed: int, factor: float) -> None:
    scores, right = drawn(seed)
    assert brier(scores * factor, right) == pytest.approx(brier(scores, right), abs=1e-3)


def test_a_choice_that_a_row_does_not_have_counts_for_nothing() -> None:
    scores, right = drawn(1, choices=2)
    wider = np.concatenate([scores, np.full((len(scores), 1), -np.inf)], axis=1)
    assert brier(wider, right) == pytest.approx(brier(scores, right))


def test_rows_that_are_all_right_have_next_to_nothing_and_no_warning() -> None:
    scores = np.array([[3.0, -1.0], [0.5, 2.0]])
    assert brier(scores, np.array([0, 1])) == pytest.approx([0, 0], abs=1e-6)
    assert brier(scores, np.array([1, 0])).max() <= 2
