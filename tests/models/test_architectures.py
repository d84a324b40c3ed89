from __future__ import annotations

import pytest
import torch

from hubkit import attach
from tests.support.models import (
    ENCODER_DECODERS,
    METHODS,
    REFERENCED,
    inputs_for,
    random_adapter,
    run,
    same,
    snapshot,
    tiny_model,
)


@pytest.mark.parametrize("architecture", REFERENCED)
@pytest.mark.parametrize("method", METHODS)
def test_a_zero_adapter_changes_no_bit_and_a_detached_one_leaves_none(
    architecture: str, method: str
) -> None:
    model = tiny_model(architecture)
    inputs, before = inputs_for(model), snapshot(model)
    outputs = run(model, inputs)
    adapter = random_adapter(model, method=method)
    with attach(model, adapter):
        changed = run(model, inputs)
        assert [key for key in model.state_dict() if key in before] == list(before)
    assert (changed - outputs).abs().max().item() > 0.01
    assert same(snapshot(model), before)
    assert torch.equal(run(model, inputs), outputs)
    for delta in adapter.deltas.values():
        delta.up.zero_()
        delta.up_bias.zero_()
    with attach(model, adapter):
        assert torch.equal(run(model, inputs), outputs)


@pytest.mark.parametrize("architecture", REFERENCED)
@pytest.mark.parametrize("method", METHODS)
def test_the_delta_at_every_site_counts(architecture: str, method: str) -> None:
    model = tiny_model(architecture)
    adapter = random_adapter(model, method=method)
    weights = [delta.up.requires_grad_() for delta in adapter.deltas.values()]
    layers = 3 if architecture in ENCODER_DECODERS else 2
    assert len(weights) == layers * (2 if method == "double_seq_bn" else 1)
    with attach(model, adapter):
        model(**inputs_for(model))[0].square().sum().backward()
    for weight in weights:
        assert weight.grad is not None
        assert weight.grad.abs().max().item() > 0
