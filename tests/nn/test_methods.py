from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubkit.nn.delta import ACTIVATIONS, Delta
from hubkit.nn.methods import METHODS, Method
from registry.errors import AdapterError

methods = st.builds(
    Method,
    type=st.sampled_from(sorted(METHODS)),
    bottleneck_size=st.integers(1, 4096),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    scaling=st.floats(-100, 100),
)


@given(methods)
def test_a_method_comes_back_from_its_parameters(method: Method) -> None:
    assert Method.from_parameters(method.type, method.parameters) == method


@pytest.mark.parametrize(
    ("type", "hidden_size", "size"),
    [("seq_bn", 768, 48), ("double_seq_bn", 768, 48), ("par_bn", 768, 384), ("seq_bn", 8, 1)],
)
def test_default_sizes_are_the_published_reduction_factors(
    type: str, hidden_size: int, size: int
) -> None:
    assert Method.default(type, hidden_size).bottleneck_size == size
    assert Method.default(type, hidden_size, 5).bottleneck_size == 5


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_can_be_computed_and_has_no_weights(activation: str) -> None:
    method = Method(type="seq_bn", bottleneck_size=2, activation=activation, scaling=1.0)
    delta = Delta(method, 4)
    assert len(list(delta.parameters())) == 4
    assert bool(delta(torch.ones(1, 4)).isfinite().all())


def test_what_is_unknown_is_refused_with_what_is_known() -> None:
    with pytest.raises(AdapterError, match="Unknown method 'lora'; hubkit composes seq_bn, double"):
        Method.default("lora", 8)
    with pytest.raises(AdapterError, match=r"Unknown activation 'prelu'; hubkit knows .*relu"):
        Delta(Method(type="seq_bn", bottleneck_size=1, activation="prelu", scaling=1.0), 4)
    with pytest.raises(AdapterError, match=r"has the parameters .*; found rank"):
        Method.from_parameters("seq_bn", {"rank": 8})
    with pytest.raises(AdapterError, match="found none"):
        Method.from_parameters("seq_bn", {})
