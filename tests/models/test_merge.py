"""LoRA in the weights of a base model. `test_references.py` holds it to the stock libraries."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hubkit import Mix, attach, merge
from hubkit.methods.lora import LoRA
from registry.errors import AdapterError, BaseModelMismatchError, CompositionError
from tests.support.models import random_adapter, run, same, snapshot, tiny_inputs, tiny_model


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_merged_weights_give_what_the_attached_adapter_gives(architecture: str) -> None:
    model = tiny_model(architecture)
    adapter = random_adapter(model, "a", "lora")
    before, plain = snapshot(model), run(model)
    with attach(model, adapter):
        expected = run(model)
    assert (expected - plain).abs().max() > 1e-3
    with merge(model, adapter) as merged:
        assert model.state_dict().keys() == before.keys()
        torch.testing.assert_close(run(model), expected, rtol=0, atol=1e-5)
        assert merged.adapter is adapter
    assert same(snapshot(model), before)
    assert torch.equal(run(model), plain)


def test_a_weight_is_the_sum_of_its_own_and_the_product_of_the_factors() -> None:
    model = tiny_model()
    adapter = random_adapter(model, "a", "lora")
    assert isinstance(adapter.method, LoRA)
    alpha = adapter.method.alpha
    before = snapshot(model)
    with merge(model, adapter):
        merged = snapshot(model)
    changed = {name for name in before if not torch.equal(before[name], merged[name])}
    assert changed == {f"{site}.weight" for site in adapter.deltas}
    for site, delta in adapter.deltas.items():
        name, update = f"{site}.weight", alpha / delta.shape.rank * delta.up @ delta.down
        torch.testing.assert_close(merged[name], before[name] + update, rtol=0, atol=1e-6)


def test_a_mix_of_lora_is_merged_as_one() -> None:
    model = tiny_model()
    one, two = (random_adapter(model, name, "lora", seed=seed) for seed, name in enumerate("ab"))
    mix = Mix(one, two, weights=[0.75, -0.5])
    with attach(model, mix):
        expected = run(model)
    with merge(model, mix):
        torch.testing.assert_close(run(model), expected, rtol=0, atol=1e-5)


def test_a_model_in_half_precision_keeps_its_dtype() -> None:
    model = tiny_model().to(torch.bfloat16)
    adapter = random_adapter(tiny_model(), "a", "lora")
    weight = model.state_dict()
    with merge(model, adapter):
        merged = model.state_dict()
        site, delta = next(iter(adapter.deltas.items()))
        assert merged[f"{site}.weight"].dtype == torch.bfloat16
        update = delta.scale * delta.up @ delta.down
        expected = (weight[f"{site}.weight"].float() + update).to(torch.bfloat16)
        assert torch.equal(merged[f"{site}.weight"], expected)


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (lambda model: random_adapter(model), AdapterError, "only LoRA can be merged"),
        (
            lambda model: random_adapter(tiny_model(hidden_size=32), "a", "lora"),
            BaseModelMismatchError,
            "maps 32 inputs",
        ),
    ],
    ids=["bottleneck", "other width"],
)
def test_what_cannot_be_merged_leaves_the_model_as_it_was(
    made: Any, error: type[Exception], message: str
) -> None:
    model = tiny_model()
    before, inputs = snapshot(model), tiny_inputs()
    plain = run(model, inputs)
    with pytest.raises(error, match=message):
        merge(model, made(model))
    assert same(snapshot(model), before)
    with merge(model, random_adapter(model, "a", "lora")):
        assert not torch.equal(run(model, inputs), plain)


def test_one_adapter_is_merged_at_a_time_and_only_out_of_what_it_was_merged_into() -> None:
    model = tiny_model()
    one, two = (random_adapter(model, name, "lora", seed=s) for s, name in enumerate("ab"))
    before = run(model)
    merged = merge(model, one)
    with pytest.raises(CompositionError, match="has an adapter merged into it"):
        merge(model, two)
    merged.unmerge()
    assert torch.equal(run(model), before)
    merged = merge(model, one)
    model.load_state_dict(tiny_model(seed=4).state_dict())
    with pytest.raises(CompositionError, match="were changed since a was merged"):
        merged.unmerge()
