from __future__ import annotations

from copy import deepcopy
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from hubkit import Adapter, Batch, Parallel, Stack, attach
from registry.errors import CompositionError
from tests.support.compositions import adapter_of_kind, random_fusion
from tests.support.models import DECODERS, ENCODER_DECODERS, inputs_for, tiny_inputs, tiny_model


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


def generated(model: PreTrainedModel, rows: int = 2, **settings: Any) -> Tensor:
    """Tokens, the rows of which are padded on the left and end at one length."""
    inputs = tiny_inputs(rows=rows)["input_ids"]
    mask = torch.ones_like(inputs)
    mask[0, :2] = 0
    settings = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, **settings}
    found: Tensor = model.generate(
        input_ids=inputs, attention_mask=mask, decoder_start_token_id=2, **settings
    )
    return found


def generator(architecture: str) -> tuple[PreTrainedModel, dict[str, Adapter]]:
    auto_class = AutoModelForSeq2SeqLM if architecture in ENCODER_DECODERS else AutoModelForCausalLM
    model = tiny_model(architecture, auto_class, pad_token_id=1)
    kinds = {"a": "double_seq_bn", "b": "all_linear"}
    return model, {name: adapter_of_kind(model, kind) for name, kind in kinds.items()}


def alone(model: PreTrainedModel, parts: dict[str, Adapter], **settings: Any) -> dict[str, Tensor]:
    found = {}
    for name, part in parts.items():
        with attach(model, part):
            found[name] = generated(model, **settings)
    assert not torch.equal(*found.values())
    return found


SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "several": {"num_beams": 4, "num_return_sequences": 2},
    "no cache": {"num_beams": 2, "use_cache": False},
}
GENERATORS = ("gpt2", "llama", "t5", "bart")


@pytest.mark.parametrize("architecture", GENERATORS)
@pytest.mark.parametrize("search", SEARCHES)
def test_each_beam_has_the_adapter_of_its_row(architecture: str, search: str) -> None:
    model, parts = generator(architecture)
    settings = SEARCHES[search]
    expected = alone(model, parts, **settings)
    each = settings.get("num_return_sequences", 1)
    wanted = torch.cat([expected["b"][:each], expected["a"][each:]])
    with attach(model, Batch(parts)) as attached, attached.rows(["b", "a"]):
        assert torch.equal(generated(model, **settings), wanted)
    with attach(model, Batch([parts["b"], parts["a"]])):
        assert torch.equal(generated(model, **settings), wanted)
    assert "generate" not in vars(model)


def some(architecture: str, search: str, rows: int) -> bool:
    """Whether `make test` has the case: every two of the three are together in one."""
    return (GENERATORS.index(architecture) + [*SEARCHES].index(search) + rows) % 2 == 0


@pytest.mark.parametrize(
    ("architecture", "search", "rows"),
    [
        pytest.param(*case, marks=() if some(*case) else pytest.mark.torture)
        for case in product(GENERATORS, SEARCHES, (1, 2))
    ],
)
def test_one_input_is_generated_from_with_several_adapters(
    architecture: str, search: str, rows: int
) -> None:
    model, parts = generator(architecture)
    settings = {**SEARCHES[search], "rows": rows}
    expected = alone(model, parts, **settings)
    with attach(model, Parallel(*parts.values())):
        assert torch.equal(generated(model, **settings), torch.cat([*expected.values()]))
        # A plain call goes on repeating as before.
        assert len(model(**inputs_for(model)).logits) == 2 * 3
    assert "generate" not in vars(model)


def test_sampled_sequences_have_the_adapter_of_their_row() -> None:
    model, parts = generator("gpt2")
    settings = {"do_sample": True, "num_return_sequences": 3, "top_k": 1}
    expected = alone(model, parts, **settings)
    with attach(model, Batch(parts)) as attached, attached.rows(["a", "b"]):
        found = generated(model, **settings)
    assert torch.equal(found, torch.cat([expected["a"][:3], expected["b"][3:]]))


@pytest.mark.parametrize("architecture", ["gpt2", "t5"])
def test_generation_needs_an_adapter_for_each_row_of_the_input(architecture: str) -> None:
    model, parts = generator(architecture)
    with attach(model, Batch(parts)) as attached:
        for names in (["a"], ["a", "b", "a", "b"]):
            with (
                attached.rows(names),
                pytest.raises(CompositionError, match=f"for {len(names)} rows, but .* given 2"),
            ):
                generated(model, num_beams=2)
        with pytest.raises(CompositionError, match="have no adapters yet"):
            generated(model)
        with attached.rows(["a", "b"]), pytest.raises(CompositionError, match="given 4"):
            model(**{name: tensor.repeat(2, 1) for name, tensor in tiny_inputs(2).items()})


def test_what_cannot_be_repeated_is_refused() -> None:
    model, parts = generator("gpt2")
    with attach(model, Parallel(*parts.values())):
        with pytest.raises(CompositionError, match="generates from an input"):
            model.generate(max_new_tokens=2)
        with pytest.raises(CompositionError, match="but not prompt_lookup_num_tokens"):
            generated(model, rows=1, prompt_lookup_num_tokens=2)


def test_a_copy_of_a_model_generates_by_itself() -> None:
    model, parts = generator("gpt2")
    with attach(model, Parallel(*parts.values())):
        expected, copied = generated(model), deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(generated(copied), expected)
