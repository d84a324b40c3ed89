from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hubkit.nn.delta import Delta
from hubkit.nn.methods import METHODS, Method
from tests.support.models import randomize


def by_hand(delta: Delta, x: Tensor, scaling: float, activation: str) -> Tensor:
    inner = x @ delta.down.weight.T + delta.down.bias
    if activation == "relu":
        inner = inner * (inner > 0)
    elif activation == "leakyrelu":
        inner = torch.where(inner > 0, inner, 0.01 * inner)
    else:
        inner = inner / (1 + torch.exp(-inner))
    return scaling * (inner @ delta.up.weight.T + delta.up.bias)


@pytest.mark.parametrize(
    ("type", "activation", "scaling"),
    [("seq_bn", "relu", 1.0), ("double_seq_bn", "swish", 1.0), ("par_bn", "relu", 4.0)],
)
def test_each_method_computes_its_published_formula(
    type: str, activation: str, scaling: float
) -> None:
    delta = Delta(Method.default(type, 12, 5), 12).double()
    randomize(delta, seed=3)
    x = torch.randn(2, 3, 12, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(delta(x), by_hand(delta, x, scaling, activation), rtol=0, atol=1e-12)
    assert delta.reads == METHODS[type].reads


def test_scaling_and_activation_can_differ_from_the_defaults() -> None:
    method = Method(type="seq_bn", bottleneck_size=3, activation="leakyrelu", scaling=-0.5)
    delta = Delta(method, 8).double()
    randomize(delta, seed=4)
    x = torch.randn(4, 8, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(delta(x), by_hand(delta, x, -0.5, "leakyrelu"), rtol=0, atol=1e-12)


def test_new_weights_are_drawn_as_in_bert() -> None:
    torch.manual_seed(0)
    delta = Delta(Method.default("seq_bn", 256, 64), 256)
    for projection in (delta.down, delta.up):
        assert projection.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert abs(projection.weight.mean().item()) < 1e-3
        assert not projection.bias.any()
    assert delta.down.weight.shape == (64, 256)
    assert delta.up.weight.shape == (256, 64)
