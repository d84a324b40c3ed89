from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from hubkit.tasks.language.losses import perplexity, shifted_losses, token_losses

LOGITS = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([[1, 2, 3, 4, 5], [6, -100, 0, -100, -100], [-100] * 5])


def test_each_row_costs_what_its_tokens_cost() -> None:
    costs, counts = token_losses(LOGITS, LABELS)
    assert counts.tolist() == [[5], [2], [0]]
    for row, cost in enumerate(costs[:2, 0]):
        expected = cross_entropy(LOGITS[row], LABELS[row], reduction="sum")
        assert float(cost) == pytest.approx(float(expected), rel=1e-6)
    assert float(costs[2]) == 0


def test_a_decoder_says_the_next_token_whatever_stands_before_the_text() -> None:
    costs, counts = shifted_losses(LOGITS, LABELS)
    expected = cross_entropy(LOGITS[0, :-1], LABELS[0, 1:], reduction="sum")
    assert counts.tolist() == [[4], [1], [0]]
    assert float(costs[0]) == pytest.approx(float(expected), rel=1e-6)
    before = torch.cat([torch.zeros(3, 2, 7), LOGITS], dim=1)
    assert torch.equal(shifted_losses(before, LABELS)[0], costs)


def test_the_perplexity_is_over_tokens_and_not_over_rows() -> None:
    found = perplexity((np.array([[9.0], [1.0]]), np.array([[3.0], [1.0]])))
    assert found == {"loss": 2.5, "perplexity": pytest.approx(math.exp(2.5))}
    assert math.isfinite(perplexity((np.array([[1e9]]), np.array([[1.0]])))["perplexity"])
