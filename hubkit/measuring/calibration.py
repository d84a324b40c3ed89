"""How far the probabilities of a classifier are from what is right, once they are calibrated.

What a model answers right or wrong tells two models apart with many rows only. How probable it
found the right answers does so with fewer. A model that was trained on few rows is too sure of its
answers, though, so that its probabilities are calibrated first.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

_MOST = np.log(100.0)
"""Of the logarithm of a temperature: where every row is right, a lower one always fits better."""


def brier(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The Brier score of each row (Brier, 1950), after temperature scaling.

    It is the squared distance of the probabilities from those that are right: 0 at best, 2 at
    worst. One temperature divides all scores, the one by which the right choices are most probable
    (Guo et al. 2017, arXiv 1706.04599).

    Args:
        scores: Of each choice of each row, before the softmax, *shape* ``(rows, choices)``; -inf
            stands for a choice that a row does not have.
        right: The position of the right choice, *shape* ``(rows,)``.

    Returns:
        *Shape* ``(rows,)``.
    """
    scores = scores.astype(np.float64)
    rows = np.arange(len(scores))

    def unlikely(logarithm: float) -> float:
        likely = log_softmax(scores / np.exp(logarithm), axis=-1)[rows, right]
        return -float(likely.mean())

    best = minimize_scalar(unlikely, bounds=(-_MOST, _MOST), method="bounded").x
    apart = softmax(scores / np.exp(best), axis=-1)
    apart[rows, right] -= 1
    found: np.ndarray = np.square(apart).sum(-1)
    return found
