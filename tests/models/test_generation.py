from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from hubkit import Batch, Stack, attach
from tests.support.compositions import adapter_of_kind, random_fusion
from tests.support.models import DECODERS, ENCODER_DECODERS, tiny_inputs, tiny_model


def compositions(model: PreTrainedModel, kind: str) -> Any:
    if kind == "fusion":
        kinds = ("seq_bn", "double_seq_bn", "lora", "all_linear")
        return random_fusion([adapter_of_kind(model, one) for one in kinds])
    if kind == "batch":
        lora, block = (adapter_of_kind(model, one) for one in ("all_linear", "double_seq_bn"))
        return Batch([Stack(block, lora), lora])
    return adapter_of_kind(model, kind)


def generate(model: PreTrainedModel, *, use_cache: bool) -> tuple[Tensor, Tensor]:
    inputs = tiny_inputs(rows=2)["input_ids"]
    found = model.generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
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


CASES = [(architecture, "double_seq_bn") for architecture in DECODERS + ENCODER_DECODERS] + [
    (architecture, kind)
    for architecture in ("gpt2", "llama", "t5", "bart")
    for kind in ("all_linear", "fusion", "batch")
]


@pytest.mark.parametrize(("architecture", "kind"), CASES)
def test_generation_with_a_cache_is_generation_without_one(architecture: str, kind: str) -> None:
    auto_class = AutoModelForSeq2SeqLM if architecture in ENCODER_DECODERS else AutoModelForCausalLM
    model = tiny_model(architecture, auto_class, pad_token_id=1)
    _, plain = generate(model, use_cache=True)
    with attach(model, compositions(model, kind)):
        tokens, scores = generate(model, use_cache=True)
        expected_tokens, expected = generate(model, use_cache=False)
    assert torch.equal(tokens, expected_tokens)
    tolerance = 1e-5 * expected[expected > -1e4].abs().max().item()
    torch.testing.assert_close(scores, expected, rtol=0, atol=max(1e-5, tolerance))
    assert (scores - plain).abs().max().item() > 0.1
