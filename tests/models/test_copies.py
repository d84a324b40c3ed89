from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from hubkit import Parallel, Stack, attach
from hubkit.models.copies import batch_size, repeat_rows
from hubkit.nn.batch import Copies
from hubkit.nn.host import BaseModel, backbone
from registry.errors import CompositionError
from tests.support.models import (
    DECODERS,
    ENCODER_DECODERS,
    REFERENCED,
    inputs_for,
    random_adapter,
    run,
    same,
    snapshot,
    tiny_classifier,
    tiny_inputs,
    tiny_model,
)

RELATIVE = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "max_relative_positions": 2,
    "position_buckets": -1,
}


def model_of(architecture: str) -> PreTrainedModel:
    return tiny_model(architecture, **(RELATIVE if architecture == "deberta-v2" else {}))


def one_by_one(model: PreTrainedModel, parts: tuple[Any, ...], inputs: dict[str, Tensor]) -> Tensor:
    outputs = []
    for part in parts:
        with attach(model, part):
            outputs.append(run(model, inputs))
    return torch.cat(outputs)


def at_once(model: PreTrainedModel, parts: tuple[Any, ...], inputs: dict[str, Tensor]) -> Tensor:
    with attach(model, Parallel(*parts)):
        return run(model, inputs)


def cases() -> Iterator[Any]:
    for architecture in REFERENCED:
        yield architecture, "seq_bn"
    for architecture in ("bert", "gpt2", "llama", "t5", "bart", "vit", "modernbert"):
        yield architecture, "lora"


@pytest.mark.parametrize(("architecture", "method"), [*cases()])
def test_every_task_gives_what_it_gives_alone(architecture: str, method: str) -> None:
    model = model_of(architecture)
    parts = tuple(random_adapter(model, n, method, seed=s) for s, n in enumerate("abc"))
    inputs = inputs_for(model)
    expected = one_by_one(model, parts, inputs)
    found = at_once(model, parts, inputs)
    assert len(found) == 3 * 3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found[:3] - found[3:6]).abs().max().item() > 1e-3


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5", "bart", "vit"])
def test_a_single_row_is_repeated_too(architecture: str) -> None:
    model = model_of(architecture)
    parts = tuple(random_adapter(model, n, seed=s) for s, n in enumerate("ab"))
    inputs = {name: tensor[-1:] for name, tensor in inputs_for(model).items()}
    expected = one_by_one(model, parts, inputs)
    torch.testing.assert_close(at_once(model, parts, inputs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [2, 4, 7, 8, 14, 16])
@pytest.mark.parametrize("architecture", ["bert", "deberta-v2", "t5", "gpt2", "modernbert"])
def test_no_number_of_rows_is_taken_for_another_size(architecture: str, rows: int) -> None:
    """The sizes of heads, positions and widths are among these numbers."""
    model = model_of(architecture)
    parts = tuple(random_adapter(model, n, seed=s) for s, n in enumerate("ab"))
    inputs = tiny_inputs(rows=rows)
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = tiny_inputs(rows=rows, seed=1)["input_ids"]
    expected = one_by_one(model, parts, inputs)
    torch.testing.assert_close(at_once(model, parts, inputs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_lora_of_deberta_gives_what_it_gives_alone_or_is_refused(shared: bool) -> None:
    """A query's LoRA may also see the relative positions, which have no rows of their own."""
    model = tiny_model("deberta-v2", **RELATIVE, share_att_key=shared)
    parts = tuple(random_adapter(model, n, "lora", seed=s) for s, n in enumerate("ab"))
    inputs = inputs_for(model)
    expected = one_by_one(model, parts, inputs)
    try:
        found = at_once(model, parts, inputs)
    except CompositionError:
        return
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "llama", "gpt2", "deberta-v2", "vit", "t5"])
def test_layers_below_the_first_adapted_one_see_each_row_once(architecture: str) -> None:
    model = model_of(architecture)
    host = BaseModel(model)
    first = random_adapter(model, "a", seed=1, leave_out=[0])
    second = random_adapter(model, "b", seed=2, leave_out=[0])
    inputs = inputs_for(model)
    expected = one_by_one(model, (first, second), inputs)
    seen: Counter[str] = Counter()
    for layer in host.layers:
        backbone(model).get_submodule(layer).register_forward_hook(
            lambda _m, _i, output, layer=layer: seen.update(
                {layer: len(output[0] if isinstance(output, tuple) else output)}
            )
        )
    found = at_once(model, (first, second), inputs)
    assert seen == {layer: 3 if number == 0 else 6 for number, layer in enumerate(host.layers)}
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_where_only_the_decoder_is_adapted_the_encoder_runs_once() -> None:
    for architecture in ENCODER_DECODERS:
        model = model_of(architecture)
        parts = tuple(
            random_adapter(model, n, seed=s, leave_out=[0, 1]) for s, n in enumerate("ab")
        )
        assert all("decoder" in str(site) for site in parts[0].deltas)
        inputs = inputs_for(model)
        expected = one_by_one(model, parts, inputs)
        encoded: list[int] = []
        hook = model.get_encoder().register_forward_hook(
            lambda _m, _i, output, encoded=encoded: encoded.append(len(output[0]))
        )
        found = at_once(model, parts, inputs)
        hook.remove()
        assert encoded == [3]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_parts_that_adapt_different_layers_part_at_the_lowest() -> None:
    model = tiny_model(num_hidden_layers=4)
    low, high = (
        random_adapter(model, "low", seed=1, leave_out=[0, 2, 3]),
        random_adapter(model, "high", seed=2, leave_out=[0, 1, 2]),
    )
    parts = (high, Stack(low, high), low)
    inputs = tiny_inputs()
    torch.testing.assert_close(
        at_once(model, parts, inputs), one_by_one(model, parts, inputs), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_head_answers_for_every_task(architecture: str) -> None:
    model = tiny_model(architecture, AutoModelForCausalLM)
    parts = tuple(random_adapter(model, n, seed=s) for s, n in enumerate("ab"))
    expected = one_by_one(model, parts, tiny_inputs())
    torch.testing.assert_close(at_once(model, parts, tiny_inputs()), expected, rtol=0, atol=1e-5)


def test_the_order_of_the_arguments_does_not_matter() -> None:
    model = tiny_model()
    parts = tuple(random_adapter(model, n, seed=s) for s, n in enumerate("ab"))
    inputs = tiny_inputs()
    expected = one_by_one(model, parts, inputs)
    # What stands first may have no rows: positions are the same for all of them.
    positions = {"position_ids": torch.arange(7).unsqueeze(0), **inputs}
    torch.testing.assert_close(at_once(model, parts, positions), expected, rtol=0, atol=1e-5)
    with attach(model, Parallel(*parts)), torch.no_grad():
        found = model(inputs["input_ids"], inputs["attention_mask"])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_gradients_are_those_of_the_separate_runs() -> None:
    model = tiny_classifier(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    parts = [random_adapter(model, n, seed=s) for s, n in enumerate("ab")]
    weights = [p.requires_grad_(True) for a in parts for m in a.modules() for p in m.parameters()]
    mixing = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    with attach(model, Parallel(*parts)):
        found = torch.autograd.grad((model(**tiny_inputs()).logits * mixing).sum(), weights)
    total = torch.zeros(())
    for part, numbers in zip(parts, mixing.split(3), strict=True):
        with attach(model, part):
            total = total + (model(**tiny_inputs()).logits * numbers).sum()
    for one, other in zip(found, torch.autograd.grad(total, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_detaching_restores_the_model_to_the_bit() -> None:
    model = tiny_model()
    parts = tuple(random_adapter(model, n, seed=s) for s, n in enumerate("ab"))
    before, state = run(model), snapshot(model)
    at_once(model, parts, tiny_inputs())
    assert torch.equal(run(model), before)
    assert same(snapshot(model), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_without_deltas_the_copies_are_those_of_the_base_model() -> None:
    model = tiny_model()
    before = run(model)
    hooks = [*repeat_rows(model, ["encoder.layer.1"], Copies(3))]
    torch.testing.assert_close(run(model), torch.cat([before] * 3), rtol=0, atol=1e-6)
    for hook in hooks:
        hook.remove()
    assert torch.equal(run(model), before)


def test_the_rows_are_those_of_the_first_tensor() -> None:
    model = tiny_model()
    one, two = torch.zeros(1, 2), torch.zeros(2, 3)
    assert batch_size(model, (None, two), {"other": one}) == 2
    assert batch_size(model, (), {"position_ids": one, "input_ids": two}) == 2
    assert batch_size(model, (), {"position_ids": one, "inputs_embeds": two}) == 2
