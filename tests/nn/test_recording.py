from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hubkit import Adapter, Fuse, Fusion, Stack, attach
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.hooks import SUBMODULE
from hubkit.nn.nodes import FusionNode
from tests.nn.samples import by_hand, naive_fusion
from tests.support.models import (
    random_adapter,
    randomize,
    run,
    tiny_batch,
    tiny_classifier,
    tiny_inputs,
    tiny_model,
)


def adapters(model: Any, names: str = "abc", method: str = "seq_bn") -> list[Adapter]:
    return [random_adapter(model, name, method, seed=seed) for seed, name in enumerate(names)]


def trained(*parts: Any, seed: int = 7) -> Fusion:
    fusion = Fusion.create(Fuse(*parts))
    for index, layer in enumerate(fusion.layers.values()):
        randomize(layer, seed + index, sigma=0.3)
        layer.requires_grad_(False).eval()
    return fusion


def listeners(model: nn.Module) -> int:
    layers = [module for module in model.modules() if isinstance(module, FusionLayer)]
    assert layers
    return sum(len(layer._forward_hooks) for layer in layers)


@pytest.mark.parametrize("method", ["seq_bn", "double_seq_bn", "lora"])
@torch.no_grad()
def test_the_attention_of_every_fusion_comes_with_the_output(method: str) -> None:
    model = tiny_model()
    fusion = trained(*adapters(model, method=method))
    with attach(model, fusion):
        before = model(**tiny_inputs())
        assert "fusion_attention" not in before
        readings: list[Any] = []
        nodes = [m for m in model.modules() if isinstance(m, FusionNode)]
        for node in nodes:
            node.register_forward_pre_hook(lambda _m, inputs: readings.append(inputs[0]))
        output = model(**tiny_inputs(), output_fusion_attention=True)
        assert list(output.fusion_attention) == [str(site) for site in fusion.layers]
        torch.testing.assert_close(output[0], before[0], rtol=0, atol=1e-5)
        by_site = dict(zip(output.fusion_attention, readings[: len(nodes)], strict=True))
        for site, layer in fusion.layers.items():
            attention = output.fusion_attention[str(site)]
            assert attention.shape == (3, 7, 3)
            torch.testing.assert_close(attention.sum(-1), torch.ones(3, 7))
            reading = by_site[str(site)] if method != "lora" else None
            if reading is not None:
                deltas = [part.deltas[site] for part in fusion.parts]
                z = torch.stack([by_hand(delta, reading) for delta in deltas], dim=-2)
                x = reading.read(deltas[0].form.reads)
                _, expected = naive_fusion(layer, x, z)
                torch.testing.assert_close(attention, expected, rtol=0, atol=1e-5)


def test_the_name_of_the_argument_may_be_given_as_false() -> None:
    model = tiny_model()
    with attach(model, trained(*adapters(model))), torch.no_grad():
        plain = model(**tiny_inputs())
        output = model(**tiny_inputs(), output_fusion_attention=False)
        assert "fusion_attention" not in output
        assert torch.equal(output[0], plain[0])


def test_a_tuple_ends_with_it() -> None:
    model = tiny_classifier()
    fusion = trained(*adapters(model))
    with attach(model, fusion), torch.no_grad():
        named = model(**tiny_inputs(), output_fusion_attention=True)
        bare = model(**tiny_inputs(), return_dict=False)
        asked = model(**tiny_inputs(), return_dict=False, output_fusion_attention=True)
    assert isinstance(asked, tuple)
    assert len(asked) == len(bare) + 1
    assert list(asked[-1]) == [str(site) for site in fusion.layers]
    for site, attention in asked[-1].items():
        torch.testing.assert_close(attention, named.fusion_attention[site], rtol=0, atol=0)


@pytest.mark.parametrize("asked_again", [True, False])
def test_after_an_error_nothing_goes_on_listening(asked_again: bool) -> None:
    model = tiny_classifier()
    with attach(model, trained(*adapters(model))), torch.no_grad():
        expected = model(**tiny_inputs(), output_fusion_attention=True)
        folded = model(**tiny_inputs())
        broken = model.bert.encoder.layer[1].output.dense.register_forward_hook(_fail)
        with pytest.raises(ZeroDivisionError):
            model(**tiny_inputs(rows=2), output_fusion_attention=True)
        broken.remove()
        assert listeners(model) == 0
        output = model(**tiny_inputs(), output_fusion_attention=asked_again)
        assert torch.equal(output.logits, (expected if asked_again else folded).logits)
        assert ("fusion_attention" in output) == asked_again
        if asked_again:
            for site, attention in output.fusion_attention.items():
                assert torch.equal(attention, expected.fusion_attention[site])


def _fail(*_: object) -> None:
    raise ZeroDivisionError


def test_inputs_that_the_model_refuses_leave_nothing_listening() -> None:
    model = tiny_model("distilbert")
    with attach(model, trained(*adapters(model))):
        with pytest.raises(ValueError, match="input_ids"):
            model(output_fusion_attention=True)
        assert listeners(model) == 0
        assert "fusion_attention" not in model(**tiny_inputs())


def test_a_fusion_inside_another_composition_is_named_by_its_place() -> None:
    model = tiny_model()
    a, b, c, d = adapters(model, "abcd")
    inner = trained(a, b)
    outer = trained(inner, c, seed=20)
    site = "encoder.layer.0.feed_forward"
    with attach(model, outer), torch.no_grad():
        attention = model(**tiny_inputs(), output_fusion_attention=True).fusion_attention
    assert [name for name in attention if name.startswith(site)] == [site, f"{site}.branches.0"]
    with attach(model, Stack(d, inner)), torch.no_grad():
        attention = model(**tiny_inputs(), output_fusion_attention=True).fusion_attention
    assert [name for name in attention if name.startswith(site)] == [f"{site}.stages.1"]


def test_one_fusion_in_two_places_has_an_attention_in_each() -> None:
    model = tiny_model()
    a, b, c, d = adapters(model, "abcd")
    inner = trained(a, b)
    site = "encoder.layer.0.feed_forward"
    alone = []
    for task in (c, d):
        with attach(model, Stack(task, inner)), torch.no_grad():
            output = model(**tiny_inputs(), output_fusion_attention=True)
            alone.append(output.fusion_attention[f"{site}.stages.1"])
    assert not torch.equal(*alone)
    with attach(model, trained(Stack(c, inner), Stack(d, inner), seed=30)), torch.no_grad():
        attention = model(**tiny_inputs(), output_fusion_attention=True).fusion_attention
    # In the first layer, what enters is the same.
    for branch, expected in enumerate(alone):
        found = attention[f"{site}.branches.{branch}.stages.1"]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_attention_of_a_fusion_in_training_has_its_gradient() -> None:
    model = tiny_classifier().train()
    fusion = trained(*adapters(model))
    for layer in fusion.layers.values():
        layer.requires_grad_(True)
    with attach(model, fusion):
        output = model(**tiny_batch(), output_fusion_attention=True)
        (-sum(a.clamp_min(1e-9).log().mean() for a in output.fusion_attention.values())).backward()
    first = next(iter(fusion.layers.values()))
    assert first.query.weight.grad is not None
    assert first.query.weight.grad.abs().max().item() > 0


def test_nothing_is_left_of_it_after_detaching() -> None:
    model = tiny_model()
    with attach(model, trained(*adapters(model))), torch.no_grad():
        model(**tiny_inputs(), output_fusion_attention=True)
    assert not hasattr(model, SUBMODULE)
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    assert run(model).isfinite().all()
