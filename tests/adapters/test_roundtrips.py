"""What is saved is loaded with the same bits, names and outputs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from hubkit import Adapter, Fusion, Stack, attach, insert_adapter, save_adapter
from hubkit.bases.describe import describe
from hubkit.formats.adapterhub.adapter import foreign_name
from hubkit.models.attention import mean_attention
from tests.support.compositions import KINDS, adapter_of_kind, random_fusion, run_with
from tests.support.models import (
    ENCODER_DECODERS,
    REFERENCED,
    inputs_for,
    random_adapter,
    run,
    same,
    snapshot,
    tiny_classifier,
    tiny_model,
)

# What modules of the base model and of adapters are called.
ODD_NAMES = ["query", "encoder", "adapters", "lora_A", "layer.0", "a.b.c", "weight", "default"]
ODD_NAMES += ["base_model", "hubkit_adapters", "0", "adapter_down", "loras", "output"]


def with_base(adapter: Adapter, model: PreTrainedModel) -> Adapter:
    return replace(adapter, base=describe(model))


def check_same(found: Adapter, expected: Adapter) -> None:
    assert set(found.deltas) == set(expected.deltas)
    for site, delta in expected.deltas.items():
        other = found.deltas[site]
        assert same(snapshot(other), snapshot(delta))
        assert (other.form, other.activation) == (delta.form, delta.activation)
        assert not other.training
        assert not any(p.requires_grad for p in other.parameters())
    assert (found.coupling is None) == (expected.coupling is None)
    if found.coupling is not None and expected.coupling is not None:
        assert same(snapshot(found.coupling), snapshot(expected.coupling))


def quick(architecture: str, kind: str) -> bool:
    """Whether `make test` has the pair: all methods of three, and some of each other, in turn."""
    place = REFERENCED.index(architecture) + [*KINDS].index(kind)
    return architecture in ("bert", "gpt2", "t5") or place % 4 == 0


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        pytest.param(*pair, marks=() if quick(*pair) else pytest.mark.torture)
        for pair in product(REFERENCED, KINDS)
    ],
)
def test_an_adapter_of_every_method_is_loaded_as_it_was_saved(
    architecture: str, kind: str, tmp_path: Path
) -> None:
    model = tiny_model(architecture)
    changes: dict[str, Any] = {}
    if kind == "ragged" and architecture in ENCODER_DECODERS:
        changes["bottleneck_size"] = {0: 2, 1: 5, 2: 3}
    adapter = with_base(adapter_of_kind(model, kind, "mine", **changes), model)
    adapter.save(tmp_path / "mine")
    found = Adapter.load(tmp_path / "mine", base=adapter.base)
    assert found.name == "mine"
    assert found.model_type == architecture
    check_same(found, adapter)
    assert torch.equal(run_with(model, found), run_with(model, adapter))
    # And once more: nothing is lost on the way.
    found.save(tmp_path / "again")
    for file in ("adapter.safetensors", "adapter_model.safetensors"):
        if (tmp_path / "mine" / file).exists():
            again = (tmp_path / "again" / file).read_bytes()
            assert again == (tmp_path / "mine" / file).read_bytes()


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5", "vit", "modernbert"])
@pytest.mark.parametrize("kinds", [("lora", "all_linear"), ("lora", "double_seq_bn", "left_out")])
@pytest.mark.parametrize("value", [True, False])
def test_a_fusion_over_lora_is_loaded_as_it_was_saved(
    architecture: str, kinds: tuple[str, ...], value: bool, tmp_path: Path
) -> None:
    model = tiny_model(architecture)
    parts = [with_base(adapter_of_kind(model, kind, seed=s), model) for s, kind in enumerate(kinds)]
    fusion = random_fusion(parts, value=value)
    fusion.save(tmp_path)
    found = Fusion.load(tmp_path, parts)
    assert set(found.layers) == set(fusion.layers)
    for site, layer in fusion.layers.items():
        assert same(snapshot(found.layers[site]), snapshot(layer))
    assert torch.equal(run_with(model, found), run_with(model, fusion))


@pytest.mark.parametrize("keep", [1, 2])
def test_a_pruned_fusion_is_loaded_as_it_was_saved(keep: int, tmp_path: Path) -> None:
    model = tiny_model()
    kinds = ("seq_bn", "lora", "double_seq_bn", "rslora", "channel")
    parts = [with_base(adapter_of_kind(model, kind, seed=s), model) for s, kind in enumerate(kinds)]
    fusion = random_fusion(parts)
    with attach(model, fusion):
        attention = mean_attention(model, fusion, [inputs_for(model)])
    pruned = fusion.prune(attention, keep)
    pruned.save(tmp_path)
    found = Fusion.load(tmp_path, parts)
    assert found.kept == pruned.kept
    assert {site: found.present(site) for site in found.layers} == {
        site: pruned.present(site) for site in pruned.layers
    }
    assert torch.equal(run_with(model, found), run_with(model, pruned))
    assert not torch.equal(run_with(model, found), run_with(model, fusion))


def test_a_fusion_of_stacks_over_lora_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    model = tiny_model()
    kinds = ("lora", "all_linear", "seq_bn")
    one, two, three = (
        with_base(adapter_of_kind(model, kind, seed=s), model) for s, kind in enumerate(kinds)
    )
    fusion = random_fusion([Stack(one, two), Stack(one, three)])
    fusion.save(tmp_path)
    found = Fusion.load(tmp_path, [Stack(one, two), Stack(one, three)])
    assert torch.equal(run_with(model, found), run_with(model, fusion))


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("method", ["double_seq_bn", "lora", "seq_bn_inv"])
def test_an_adapter_may_be_called_like_a_module(name: str, method: str, tmp_path: Path) -> None:
    model = tiny_model()
    adapter = with_base(random_adapter(model, name, method), model)
    expected = run_with(model, adapter)
    adapter.save(tmp_path / name)
    found = Adapter.load(tmp_path / name, base=adapter.base)
    assert found.name == (name if method == "lora" else foreign_name(name))
    check_same(found, adapter)
    assert torch.equal(run_with(model, found), expected)
    assert Adapter.load(tmp_path / name, name=name).name == name


@pytest.mark.parametrize("names", [("query", "key", "value"), ("adapters", "a.b", "layer"), "abc"])
def test_a_fusion_over_adapters_that_are_called_like_modules_is_loaded_as_it_was_saved(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    model = tiny_model()
    methods = ("seq_bn", "lora", "double_seq_bn")
    parts = [
        with_base(random_adapter(model, name, method, seed=s), model)
        for s, (name, method) in enumerate(zip(names, methods, strict=True))
    ]
    fusion = random_fusion(parts)
    fusion.save(tmp_path)
    found = Fusion.load(tmp_path, parts)
    assert torch.equal(run_with(model, found), run_with(model, fusion))


@pytest.mark.parametrize("name", ["query", "encoder", "adapters", "lora_A", "classifier", "bert"])
@pytest.mark.parametrize("method", ["seq_bn", "lora"])
def test_an_inserted_adapter_may_be_called_like_a_module(
    name: str, method: str, tmp_path: Path
) -> None:
    model = tiny_classifier()
    attached = insert_adapter(model, name.lower(), method=method)
    for module in attached.composition.modules():
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(std=0.2)
    expected = run(model)
    save_adapter(model, name.lower(), tmp_path / "saved")
    found = Adapter.load(tmp_path / "saved", name=name.lower())
    attached.detach()
    with attach(model, found):
        assert torch.equal(run(model), expected)
