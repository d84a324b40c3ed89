from __future__ import annotations

from typing import Any

import torch

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.tree import Tree
from hubkit.comparing.control import random_donors
from hubkit.composition import Stack
from tests.support.models import random_adapter, tiny_model


def tensors(adapter: Any) -> list[torch.Tensor]:
    return [tensor for module in adapter.modules() for tensor in module.state_dict().values()]


def test_random_donors_have_the_same_numbers_at_other_places() -> None:
    donor = random_adapter(tiny_model())
    before = [tensor.clone() for tensor in tensors(donor)]
    [drawn] = random_donors([donor], seed=3)
    for mine, other, kept in zip(tensors(drawn), tensors(donor), before, strict=True):
        assert torch.equal(mine.flatten().sort().values, other.flatten().sort().values)
        assert not torch.equal(mine, other)
        assert torch.equal(other, kept), "the donor itself stays as it is"
    assert isinstance(drawn, Adapter)
    assert drawn.base == donor.base


def test_the_same_seed_draws_the_same_and_each_donor_its_own() -> None:
    model = tiny_model()
    pair = [random_adapter(model), Stack(random_adapter(model, "b"), random_adapter(model, "c"))]

    def drawn(seed: int) -> list[torch.Tensor]:
        found = random_donors(pair, seed)
        return [t for one in found for a in Tree.of(one).adapters for t in tensors(a)]

    one, again, other = drawn(1), drawn(1), drawn(2)
    assert all(map(torch.equal, one, again))
    assert not any(map(torch.equal, one, other))
    a, b = (tensors(one) for one in random_donors([pair[0], random_adapter(model)], 1))
    assert not any(map(torch.equal, a, b)), "the same weights, in another order"
