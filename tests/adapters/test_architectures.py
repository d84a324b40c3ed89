from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from hubkit import attach
from tests.support.models import (
    DECODERS,
    ENCODER_DECODERS,
    METHODS,
    REFERENCED,
    inputs_for,
    random_adapter,
    run,
    same,
    snapshot,
    tiny_batch,
    tiny_inputs,
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
        delta.up.weight.zero_()
        delta.up.bias.zero_()
    with attach(model, adapter):
        assert torch.equal(run(model, inputs), outputs)


@pytest.mark.parametrize("architecture", REFERENCED)
@pytest.mark.parametrize("method", METHODS)
def test_the_delta_at_every_site_counts(architecture: str, method: str) -> None:
    model = tiny_model(architecture)
    adapter = random_adapter(model, method=method)
    weights = [delta.up.weight.requires_grad_() for delta in adapter.deltas.values()]
    layers = 3 if architecture in ENCODER_DECODERS else 2
    assert len(weights) == layers * (2 if method == "double_seq_bn" else 1)
    with attach(model, adapter):
        model(**inputs_for(model))[0].square().sum().backward()
    for weight in weights:
        assert weight.grad is not None
        assert weight.grad.abs().max().item() > 0


@pytest.mark.parametrize("architecture", DECODERS + ENCODER_DECODERS)
def test_generation_with_a_cache_is_generation_without_one(architecture: str) -> None:
    auto_class = AutoModelForSeq2SeqLM if architecture in ENCODER_DECODERS else AutoModelForCausalLM
    model = tiny_model(architecture, auto_class, pad_token_id=1)
    inputs = {"input_ids": tiny_inputs(rows=2)["input_ids"]}

    def generate(*, use_cache: bool) -> tuple[torch.Tensor, torch.Tensor]:
        found = model.generate(
            **inputs,
            attention_mask=torch.ones_like(inputs["input_ids"]),
            do_sample=False,
            num_beams=1,
            min_new_tokens=6,
            max_new_tokens=6,
            decoder_start_token_id=2,
            use_cache=use_cache,
            output_scores=True,
            return_dict_in_generate=True,
        )
        return found.sequences, torch.stack(found.scores).clamp(min=-1e4)

    plain = generate(use_cache=True)
    with attach(model, random_adapter(model, method="double_seq_bn")):
        tokens, scores = generate(use_cache=True)
        expected_tokens, expected = generate(use_cache=False)
    assert torch.equal(tokens, expected_tokens)
    tolerance = 1e-5 * expected[expected > -1e4].abs().max().item()
    torch.testing.assert_close(scores, expected, rtol=0, atol=max(1e-5, tolerance))
    assert (scores - plain[1]).abs().max().item() > 0.1


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_recomputing_activations_changes_no_gradient(architecture: str) -> None:
    def gradients(model: PreTrainedModel) -> list[torch.Tensor]:
        adapter = random_adapter(model, method="double_seq_bn")
        weights = [delta.down.weight.requires_grad_() for delta in adapter.deltas.values()]
        with attach(model, adapter):
            model(**tiny_batch()).loss.backward()
        return [weight.grad for weight in weights if weight.grad is not None]

    dropout = {"gpt2": ("attn_pdrop", "embd_pdrop", "resid_pdrop")}
    changes = dict.fromkeys(dropout.get(architecture, ("dropout", "attention_dropout")), 0.0)
    changes |= {"pad_token_id": 1, "num_labels": 2}
    model = tiny_model(architecture, AutoModelForSequenceClassification, **changes).train()
    expected = gradients(model)
    model.activation_checkpointing_enable()
    found = gradients(model)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
