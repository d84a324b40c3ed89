from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from hubkit import Fusion, Mix, Stack, attach
from hubkit.bases.describe import describe
from hubkit.methods.sites import BlockSite
from hubkit.models.attention import (
    fusion_in,
    layers_and_places,
    mean_attention,
    token_attention,
)
from registry.errors import AdapterError, CompositionError
from tests.support.compositions import adapter_of_kind, random_fusion, run_with
from tests.support.folders import edit_json
from tests.support.models import (
    inputs_for,
    run,
    tiny_batch,
    tiny_classifier,
    tiny_inputs,
    tiny_model,
)

KINDS = ("seq_bn", "double_seq_bn", "lora", "left_out", "rslora")


def fusion_on(model: PreTrainedModel) -> Fusion:
    return random_fusion([adapter_of_kind(model, kind, seed=s) for s, kind in enumerate(KINDS)])


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5", "vit"])
def test_attention_is_returned_with_the_output_when_it_is_asked_for(architecture: str) -> None:
    model = tiny_model(architecture)
    fusion, inputs = fusion_on(model), inputs_for(model)
    with attach(model, fusion), torch.no_grad():
        plain = model(**inputs)
        found = model(**inputs, output_fusion_attention=True)
        assert "fusion_attention" not in model(**inputs, output_fusion_attention=False)
    assert "fusion_attention" not in plain
    torch.testing.assert_close(found[0], plain[0], rtol=0, atol=1e-5 * plain[0].abs().max().item())
    assert set(found.fusion_attention) == {str(site) for site in fusion.layers}
    for site in fusion.layers:
        weights = found.fusion_attention[str(site)]
        assert weights.shape[-1] == len(fusion.present(site))
        assert weights.shape[0] == 3
        assert weights.ndim == 3 or "pooler" in str(site)
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))


def test_attention_is_the_softmax_of_the_scores_of_the_paper() -> None:
    model = tiny_model()
    parts = [adapter_of_kind(model, "seq_bn", name, seed=s) for s, name in enumerate("abc")]
    fusion = random_fusion(parts)
    site = BlockSite("encoder.layer.0", "feed_forward")
    block, read = model.encoder.layer[0].output, []
    # The first site reads what the base model alone computes.
    hook = block.register_forward_hook(lambda _m, _i, output: read.append(output))
    run(model)
    hook.remove()
    (x,) = read
    layer, deltas = fusion.layers[site], [part.deltas[site] for part in parts]
    with torch.no_grad():
        z = [
            delta.scale * (torch.relu(x @ delta.down.T + delta.down_bias) @ delta.up.T)
            + delta.scale * delta.up_bias
            for delta in deltas
        ]
        scores = torch.stack([(layer.query(x) * layer.key(one)).sum(-1) for one in z], -1)
    with attach(model, fusion), torch.no_grad():
        attention = model(**tiny_inputs(), output_fusion_attention=True).fusion_attention
    torch.testing.assert_close(attention[str(site)], scores.softmax(-1), rtol=0, atol=1e-5)


def test_a_fusion_inside_another_composition_is_found_by_its_place() -> None:
    model = tiny_model()
    parts = [adapter_of_kind(model, "seq_bn", name, seed=s) for s, name in enumerate("abc")]
    inner = random_fusion(parts[:2], "inner")
    with attach(model, Stack(inner, parts[2])), torch.no_grad():
        attention = model(**tiny_inputs(), output_fusion_attention=True).fusion_attention
    assert len(attention) == 2
    assert all(name.startswith("encoder.layer.") for name in attention)
    assert all(weights.shape == (3, 7, 2) for weights in attention.values())


def test_nothing_goes_on_listening_after_an_error() -> None:
    model = tiny_model()
    fusion = fusion_on(model)
    with attach(model, fusion):
        expected = run(model)
        with pytest.raises(Exception, match=r".+"):
            model(input_ids=torch.tensor([[10**6]]), output_fusion_attention=True)
        assert not any(layer._forward_hooks for layer in fusion.layers.values())
        assert torch.equal(run(model), expected)
        model(**tiny_inputs(), output_fusion_attention=True)
        assert not any(layer._forward_hooks for layer in fusion.layers.values())


def test_the_mean_attention_counts_every_token_but_padding_once() -> None:
    model = tiny_classifier()
    fusion = fusion_on(model)
    batches: list[dict[str, Any]] = [
        tiny_inputs(rows=3, seed=0),
        tiny_inputs(rows=2, length=5, seed=1),
    ]
    with attach(model, fusion):
        found = mean_attention(model, fusion, batches)
        sums: dict[str, Tensor] = {}
        for inputs in batches:
            for row in range(len(inputs["input_ids"])):
                length = int(inputs["attention_mask"][row].sum())
                # Each row by itself, without what fills it up.
                one = {name: tensor[row : row + 1, :length] for name, tensor in inputs.items()}
                with torch.no_grad():
                    weights = model(**one, output_fusion_attention=True).fusion_attention
                for site, tensor in weights.items():
                    sums[site] = sums.get(site, 0.0) + tensor.double().sum((0, 1))
    assert set(found) == set(sums) == {str(site) for site in fusion.layers}
    for site in fusion.layers:
        names = [str(fusion.parts[number]) for number in fusion.present(site)]
        expected = (sums[str(site)] / sums[str(site)].sum()).tolist()
        assert found[str(site)] == pytest.approx(dict(zip(names, expected, strict=True)), abs=1e-6)
        assert sum(found[str(site)].values()) == pytest.approx(1.0)


def test_attention_can_be_asked_for_while_training() -> None:
    model = tiny_classifier().train()
    with attach(model, fusion_on(model)):
        output = model(**tiny_batch(), output_fusion_attention=True)
    assert output.loss.isfinite()
    assert output.fusion_attention


# Token by token.


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5"])
def test_each_token_has_the_softmax_of_its_scores_in_each_layer(
    architecture: str, stacked: bool
) -> None:
    model = tiny_model(architecture)
    fusion, inputs = fusion_on(model), inputs_for(model)
    below = adapter_of_kind(model, "double_seq_bn", "below", seed=9)
    heard: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        layer.register_forward_hook(
            lambda _m, given, _o, site=str(site): heard.update({site: given})
        )
        for site, layer in fusion.layers.items()
    ]
    with attach(model, Stack(below, fusion) if stacked else fusion):
        found = token_attention(model, fusion, ["token"], [inputs])
    for hook in hooks:
        hook.remove()
    assert found.adapters == KINDS
    # Of an encoder-decoder model, the layers of its encoder.
    assert found.layers == (0, 1)
    places = layers_and_places(model, map(str, fusion.layers))
    mask = inputs["attention_mask"].bool()
    for number, weights in zip(found.layers, found.weights, strict=True):
        sites = [site for site in fusion.layers if places[str(site)][0] == number]
        expected = torch.zeros(len(sites), int(mask.sum()), len(KINDS), dtype=torch.float64)
        for row, site in zip(expected, sites, strict=True):
            layer, (x, deltas) = fusion.layers[site], heard[str(site)]
            with torch.no_grad():
                scores = (layer.query(x).unsqueeze(-2) * layer.key(deltas)).sum(-1)
            row[:, fusion.present(site)] = scores.softmax(-1)[mask].double()
        torch.testing.assert_close(weights, expected.mean(0), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(2, int(mask.sum())).double())
    torch.testing.assert_close(found.mean(), (found.in_layer(0) + found.in_layer(1)) / 2)


def test_a_word_has_the_mean_of_its_tokens() -> None:
    model = tiny_model()
    fusion = fusion_on(model)
    with attach(model, fusion):
        found = token_attention(model, fusion, ["a"] * 7, [tiny_inputs(rows=2, length=7)])
    joined = found.joined([("first", [0]), ("second", [1, 2, 3])])
    assert joined.tokens == ("first", "second")
    torch.testing.assert_close(joined.weights[:, 1], found.weights[:, 1:4].mean(1))
    assert torch.equal(joined.weights[:, 0], found.weights[:, 0])


def test_a_stack_is_asked_for_its_one_fusion() -> None:
    model = tiny_model()
    parts = [adapter_of_kind(model, "seq_bn", name, seed=s) for s, name in enumerate("abcd")]
    fusion, other = random_fusion(parts[:2]), random_fusion(parts[2:], "other")
    assert fusion_in(Stack(parts[2], Stack(fusion, parts[3]))) is fusion
    for nothing in (parts[0], Stack(*parts), Mix(*parts[:2]), Stack(fusion, other), None):
        assert fusion_in(nothing) is None


# Pruning.


def attention_of(fusion: Fusion, model: PreTrainedModel) -> dict[str, dict[str, float]]:
    with attach(model, fusion):
        return mean_attention(model, fusion, [tiny_inputs()])


def test_a_pruned_fusion_keeps_the_most_attended_adapters_of_each_site() -> None:
    model = tiny_model()
    fusion = fusion_on(model)
    attention = attention_of(fusion, model)
    for keep in (1, 2):
        pruned = fusion.prune(attention, keep)
        for site in fusion.layers:
            ranked = sorted(attention[str(site)].items(), key=lambda item: -item[1])
            best = {name for name, _ in ranked[:keep]}
            assert {str(fusion.parts[n]) for n in pruned.present(site)} == best
        assert set(attention_of(pruned, model)) == set(attention)
    assert fusion.present(next(iter(fusion.layers))) == fusion.prune(attention, 9).present(
        next(iter(fusion.layers))
    )
    assert torch.equal(run_with(model, fusion.prune(attention, 9)), run_with(model, fusion))


def test_a_pruned_fusion_is_the_fusion_of_what_it_keeps() -> None:
    model = tiny_model()
    parts = [adapter_of_kind(model, "seq_bn", name, seed=s) for s, name in enumerate("abc")]
    fusion = random_fusion(parts)
    # The same two at every site, so that a fusion of those two has the same layers.
    attention = {str(site): {"a": 0.1, "b": 0.5, "c": 0.4} for site in fusion.layers}
    pruned, small = fusion.prune(attention, 2), random_fusion(parts[1:])
    found = run_with(model, pruned)
    torch.testing.assert_close(found, run_with(model, small), rtol=0, atol=1e-6)
    assert (found - run_with(model, fusion)).abs().max().item() > 0.01
    static = random_fusion(parts, value=False).prune(attention, 1)
    expected = run_with(model, parts[1])
    torch.testing.assert_close(run_with(model, static), expected, rtol=0, atol=1e-5)


def test_a_pruned_fusion_computes_what_it_keeps_alone() -> None:
    model = tiny_model()
    fusion = fusion_on(model)
    pruned = fusion.prune(attention_of(fusion, model), 1)
    with attach(model, pruned):
        carried = sum(
            name.endswith(".down") for name, _ in model.named_parameters() if "branches" in name
        )
    assert carried == len(fusion.layers)


@pytest.mark.parametrize("keep", [0, -1])
def test_a_fusion_keeps_at_least_one_adapter(keep: int) -> None:
    model = tiny_model()
    fusion = fusion_on(model)
    with pytest.raises(CompositionError, match=f"one adapter or more at a site, not {keep}"):
        fusion.prune(attention_of(fusion, model), keep)


@pytest.mark.parametrize("attention", [{}, {"encoder.layer.0.feed_forward": {"a": 1.0}}])
def test_the_attention_of_another_fusion_is_refused(attention: dict[str, Any]) -> None:
    fusion = fusion_on(tiny_model())
    with pytest.raises(CompositionError, match="the attention given is that of"):
        fusion.prune(attention, 1)


@pytest.mark.parametrize("kept", [{"x": [9]}, {"x": []}, {"x": ["a"]}, [1], {"x": [-1]}])
def test_numbers_of_adapters_that_are_not_there_are_refused(kept: Any, tmp_path: Path) -> None:
    model = tiny_model()
    base = describe(model)
    parts = [
        replace(adapter_of_kind(model, "seq_bn", name, seed=s), base=base)
        for s, name in enumerate("ab")
    ]
    random_fusion(parts).save(tmp_path)
    edit_json(tmp_path, "adapter_fusion_config.json", kept=kept)
    with pytest.raises(AdapterError, match="'kept' must list"):
        Fusion.load(tmp_path, parts)
