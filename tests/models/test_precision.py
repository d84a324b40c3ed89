"""Half precision, autocast, and activations that are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from hubkit import (
    Adapter,
    Batch,
    Fuse,
    Mix,
    Stack,
    attach,
    insert_adapter,
    save_adapter,
    set_head,
    train_only,
)
from hubkit.nn.hooks import SUBMODULE
from tests.support.compositions import adapter_of_kind, random_fusion, run_with
from tests.support.models import inputs_for, run, same, snapshot, tiny_batch, tiny_model

KINDS = ("seq_bn", "double_seq_bn", "lora", "channel")
COMPOSITIONS: dict[str, Callable[[list[Adapter]], Any]] = {
    "single": lambda parts: parts[1],
    "stack": lambda parts: Stack(*parts),
    "fusion": random_fusion,
    "mix": lambda parts: Mix(*parts, weights=[0.3, 0.3, 0.3, 0.3]),
    "batch": lambda parts: Batch([parts[0], random_fusion(parts[1:]), parts[2]]),
}


def check_is_rounded(found: Tensor, expected: Tensor, plain: Tensor) -> None:
    """Far nearer to what is expected than that is to the output without adapters."""
    error = (found - expected).abs().mean().item()
    assert 0 < error < 0.05 * (expected - plain).abs().mean().item()


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5"])
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_a_bfloat16_model_leaves_frozen_float32_adapters_alone(
    architecture: str, composition: str
) -> None:
    full, half = (tiny_model(architecture).to(dtype) for dtype in (torch.float32, torch.bfloat16))
    parts = [adapter_of_kind(full, kind) for kind in KINDS]
    made = COMPOSITIONS[composition](parts)
    before = [snapshot(module) for part in parts for module in part.modules()]
    expected = run_with(full, made)
    inputs = {
        name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        for name, tensor in inputs_for(half).items()
    }
    with attach(half, made):
        adapters = {id(p) for p in getattr(half, SUBMODULE).parameters()}
        dtypes = {(id(p) in adapters, p.dtype) for p in half.parameters()}
        assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}
        rounded = run(half, inputs)
    assert rounded.dtype == torch.bfloat16
    after = [snapshot(module) for part in parts for module in part.modules()]
    assert all(same(one, other) for one, other in zip(after, before, strict=True))
    check_is_rounded(rounded.float(), expected, run(full, inputs_for(full)))
    assert run_with(full, made).equal(expected)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5"])
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_autocast_rounds_and_changes_nothing_else(architecture: str, composition: str) -> None:
    model = tiny_model(architecture)
    made = COMPOSITIONS[composition]([adapter_of_kind(model, kind) for kind in KINDS])
    expected = run_with(model, made)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = run_with(model, made).float()
    check_is_rounded(rounded, expected, run(model, inputs_for(model)))
    assert run_with(model, made).equal(expected)


@pytest.mark.parametrize("composition", ["seq_bn", "lora", "fusion"])
def test_what_is_trained_under_autocast_gets_gradients_like_those_without(
    composition: str,
) -> None:
    def gradients(*, autocast: bool) -> Tensor:
        model = tiny_model("bert", AutoModelForSequenceClassification, num_labels=2).train()
        no_dropout(model)
        with (
            attach(model, trained(model, composition)) as attached,
            torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        ):
            train_only(model, attached.composition)
            loss = model(**tiny_batch()).loss
            loss.backward()
            return flat_gradients(model)

    exact, rounded = gradients(autocast=False), gradients(autocast=True)
    assert torch.cosine_similarity(exact, rounded, dim=0).item() > 0.99


def trained(model: PreTrainedModel, kind: str) -> Any:
    if kind == "fusion":
        return random_fusion([adapter_of_kind(model, one) for one in ("seq_bn", "lora")])
    return adapter_of_kind(model, kind)


def no_dropout(model: PreTrainedModel) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        # Some models drop with the function, at the rate of an attribute.
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def flat_gradients(model: PreTrainedModel) -> Tensor:
    gradients = [
        parameter.grad.flatten()
        for name, parameter in model.named_parameters()
        if SUBMODULE in name and parameter.grad is not None
    ]
    return torch.cat(gradients)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5", "bart"])
@pytest.mark.parametrize("kind", ["double_seq_bn", "all_linear", "fusion"])
def test_recomputing_activations_changes_no_gradient(architecture: str, kind: str) -> None:
    def gradients(*, recomputed: bool) -> Tensor:
        auto_class: Any = AutoModelForCausalLM
        if architecture in ("t5", "bart"):
            auto_class = AutoModelForSeq2SeqLM
        elif architecture == "bert":
            auto_class = AutoModelForSequenceClassification
        model = tiny_model(architecture, auto_class, pad_token_id=1).train()
        no_dropout(model)
        if recomputed:
            model.activation_checkpointing_enable()
        inputs = inputs_for(model)
        labels = inputs.get("decoder_input_ids", inputs["input_ids"])
        labels = torch.tensor([0, 1, 1]) if architecture == "bert" else labels
        with attach(model, trained(model, kind)) as attached:
            train_only(model, attached.composition)
            model(**inputs, labels=labels).loss.backward()
            assert all(
                parameter.grad is not None
                for parameter in model.parameters()
                if parameter.requires_grad
            )
            return flat_gradients(model)

    expected, found = (gradients(recomputed=recomputed) for recomputed in (False, True))
    assert expected.abs().max().item() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_fusion_in_half_precision_scores_in_float32() -> None:
    model = tiny_model().to(torch.bfloat16)
    parts = [adapter_of_kind(model, "seq_bn", name, seed=s) for s, name in enumerate("ab")]
    with attach(model, Fuse(*parts)), torch.no_grad():
        attention = model(**inputs_for(model), output_fusion_attention=True).fusion_attention
    assert attention
    for weights in attention.values():
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["seq_bn", "double_seq_bn_inv", "par_bn", "lora"])
def test_an_adapter_trained_in_a_half_precision_model_is_float32_and_loads_to_the_bit(
    dtype: torch.dtype, method: str, tmp_path: Path
) -> None:
    def classifier() -> PreTrainedModel:
        model = tiny_model("bert", AutoModelForSequenceClassification, num_labels=2)
        return model.to(dtype)

    model = classifier().train()
    no_dropout(model)
    insert_adapter(model, "mine", method=method)
    trained = {n: p for n, p in model.named_parameters() if SUBMODULE in n}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    before = {name: p.detach().clone() for name, p in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-5)
    for _ in range(2):
        optimizer.zero_grad()
        model(**tiny_batch()).loss.backward()
        optimizer.step()
    # Steps that small are lost in half precision.
    for name, parameter in trained.items():
        if name.endswith((".up", ".down")):
            assert (parameter - before[name]).abs().max().item() < 1e-4
            assert not torch.equal(parameter, before[name])

    expected = run(model.eval())
    assert expected.dtype == dtype
    save_adapter(model, "mine", tmp_path / "saved")
    adapter = Adapter.load(tmp_path / "saved")
    assert {p.dtype for one in adapter.modules() for p in one.parameters()} == {torch.float32}
    other = classifier()
    with attach(other, adapter):
        assert adapter.head is not None
        set_head(other, adapter.head)
        assert torch.equal(run(other), expected)
