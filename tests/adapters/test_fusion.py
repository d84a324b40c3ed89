from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from hubkit import Adapter, Batch, Fuse, Fusion, Stack, attach, train_only
from hubkit.adapters.tree import Tree
from hubkit.bases.describe import describe
from hubkit.methods.sites import BlockSite, Site, is_in
from hubkit.nn.delta import Delta
from registry.errors import AdapterError, BaseModelMismatchError, CompositionError
from tests.support.compositions import run_with
from tests.support.models import (
    METHODS,
    inputs_for,
    random_adapter,
    randomize,
    run,
    same,
    snapshot,
    tiny_model,
)


def adapters(method: str = "seq_bn", count: int = 2) -> list[Adapter]:
    return adapters_of(tiny_model(), method, count)


def adapters_of(model: PreTrainedModel, method: str = "seq_bn", count: int = 2) -> list[Adapter]:
    base = describe(model)
    return [
        replace(random_adapter(model, f"part-{i}", method, seed=i), base=base) for i in range(count)
    ]


def random_fusion(parts: list[Adapter], *, value: bool = True) -> Fusion:
    fusion = Fusion.create(Fuse(*parts), value=value)
    for index, layer in enumerate(fusion.layers.values()):
        randomize(layer, index)
        layer.requires_grad_(False)
    return fusion


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [True, False])
def test_a_saved_fusion_computes_the_same_bits(method: str, value: bool, tmp_path: Path) -> None:
    parts = adapters(method, 3)
    fusion = random_fusion(parts, value=value)
    fusion.save(tmp_path)
    loaded = Fusion.load(tmp_path, parts, name="again")
    assert (loaded.name, loaded.parts, loaded.base) == ("again", tuple(parts), parts[0].base)
    for site, layer in fusion.layers.items():
        assert same(snapshot(loaded.layers[site]), snapshot(layer))
    model = tiny_model()
    with attach(model, fusion):
        expected = run(model)
    with attach(model, loaded):
        assert torch.equal(run(model), expected)


def test_a_fusion_of_stacks_is_saved_under_the_names_of_their_last_adapters(tmp_path: Path) -> None:
    one, two, three = adapters(count=3)
    fusion = Fusion.create(Fuse(Stack(one, two), three))
    fusion.save(tmp_path)
    loaded = Fusion.load(tmp_path, [Stack(one, two), three])
    assert loaded.name == "part-1,part-2"


def test_sites_and_adapters_are_those_of_all_parts() -> None:
    (one,), (two,) = adapters("seq_bn", 1), adapters("double_seq_bn", 1)
    nested = Stack(random_fusion([one, two]), one)
    assert Tree.of(nested).adapters == (one, two, one)
    assert set(Tree.of(nested).sites) == set(two.deltas)
    assert Tree.of(nested).sites == dict.fromkeys(two.deltas, (16, 4, 16))


def test_a_fusion_can_be_stacked_and_fused_again() -> None:
    parts = adapters(count=3)
    inner = random_fusion(parts[:2])
    model = tiny_model()
    outputs = []
    for composition in (inner, Stack(inner, parts[2]), random_fusion([inner, parts[2]])):
        with attach(model, composition):
            outputs.append(run(model))
    assert all(bool(output.isfinite().all()) for output in outputs)
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[1], outputs[2])


def test_parts_of_different_bases_are_refused() -> None:
    (one,) = adapters(count=1)
    other_model = tiny_model(seed=3)
    other = replace(random_adapter(other_model, "other"), base=describe(other_model))
    with pytest.raises(BaseModelMismatchError) as caught:
        Fusion.create(Fuse(one, other))
    message = str(caught.value)
    assert "part-0 and other belong to different base models" in message
    assert one.base is not None
    assert one.base.fingerprint is not None
    assert one.base.fingerprint[:12] in message


def test_without_fingerprints_the_name_and_the_shape_of_the_base_decide() -> None:
    one, two = adapters()
    assert one.base is not None
    unknown = one.base.model_copy(update={"fingerprint": None})
    elsewhere = unknown.model_copy(update={"id": "team/other"})
    Fusion.create(Fuse(one, replace(two, base=unknown)))
    Fusion.create(Fuse(one, replace(two, base=None)))
    with pytest.raises(BaseModelMismatchError, match="team/other"):
        Fusion.create(Fuse(one, replace(two, base=elsewhere)))


def test_names_and_other_things_are_no_adapters() -> None:
    with pytest.raises(CompositionError, match=r"found 'a' \(str\). hubkit.load_composition loads"):
        Fusion.create(Fuse("a", "b"))


def test_without_a_base_there_is_nothing_to_save(tmp_path: Path) -> None:
    model = tiny_model()
    parts = [random_adapter(model, name, seed=seed) for seed, name in enumerate("ab")]
    with pytest.raises(AdapterError, match="names no base model"):
        random_fusion(parts).save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_fusion_of_adapters_that_do_not_say_their_architecture_has_that_of_the_model(
    tmp_path: Path,
) -> None:
    """As PEFT's folders do not, if they were made for a task type."""
    parts = [replace(part, model_type=None) for part in adapters("lora")]
    with pytest.raises(AdapterError, match="Nothing says which architecture"):
        random_fusion(parts).save(tmp_path)
    model = tiny_model()
    with attach(model, Fuse(*parts)) as attached:
        assert isinstance(attached.composition, Fusion)
        attached.composition.save(tmp_path)
        expected = run(model)
    loaded = Fusion.load(tmp_path, parts)
    with attach(model, loaded):
        torch.testing.assert_close(run(model), expected)
    loaded.save(tmp_path / "again")
    assert json.loads((tmp_path / "again/adapter_fusion_config.json").read_text())[
        "model_type"
    ] == (model.config.model_type)


@pytest.mark.parametrize(("method", "count"), [("seq_bn", 1), ("double_seq_bn", 2), ("lora", 2)])
def test_one_attention_for_all_layers_is_one_for_each_place_in_them(
    method: str, count: int, tmp_path: Path
) -> None:
    parts, model = adapters(method, 3), tiny_model()
    fusion = Fusion.create(Fuse(*parts), shared=True)
    assert fusion.shared
    assert len(set(fusion.layers.values())) == count
    for index, layer in enumerate(set(fusion.layers.values())):
        randomize(layer, index)
        layer.requires_grad_(False)
    apart = replace(fusion, layers={s: deepcopy(layer) for s, layer in fusion.layers.items()})
    assert not apart.shared
    expected = run_with(model, apart)
    assert torch.equal(run_with(model, fusion), expected)
    # Every layer of the base model has its own copy in the file, for the library.
    fusion.save(tmp_path / "shared")
    apart.save(tmp_path / "apart")
    name = "model_adapter_fusion.safetensors"
    assert same(load_file(tmp_path / "shared" / name), load_file(tmp_path / "apart" / name))
    loaded = Fusion.load(tmp_path / "shared", parts)
    assert loaded.shared
    assert len(set(loaded.layers.values())) == count
    assert torch.equal(run_with(model, loaded), expected)
    assert not Fusion.load(tmp_path / "apart", parts).shared


def test_a_shared_attention_runs_for_some_rows_of_a_batch_and_is_trained_once() -> None:
    model, parts = tiny_model(), adapters(count=2)
    fusion = Fusion.create(Fuse(*parts), shared=True)
    inputs = inputs_for(model)
    alone = run_with(model, fusion, inputs)
    rows: list[Any] = [fusion, *[None] * (len(alone) - 1)]
    torch.testing.assert_close(run_with(model, Batch(rows), inputs)[0], alone[0])
    with attach(model, fusion):
        train_only(model, fusion)
        trained = {n for n, p in model.named_parameters() if p.requires_grad}
        model(**inputs)[0].square().sum().backward()
    assert len(trained) == 5
    (layer,) = set(fusion.layers.values())
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert all(p.grad is None for part in parts for d in part.deltas.values() for p in [d.down])


def test_layers_that_are_said_to_be_one_and_are_not_are_refused(tmp_path: Path) -> None:
    parts = adapters()
    random_fusion(parts).save(tmp_path)
    file = tmp_path / "adapter_fusion_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "shared": True}))
    with pytest.raises(AdapterError, match="is said to share its attention between layers, but"):
        Fusion.load(tmp_path, parts)


def test_a_temperature_is_saved_in_the_query(tmp_path: Path) -> None:
    model, parts = tiny_model(), adapters(count=3)
    fusion = random_fusion(parts)
    for layer in fusion.layers.values():
        layer.temperature = 3.0
    expected = run_with(model, fusion)
    assert (expected - run_with(model, random_fusion(parts))).abs().max() > 1e-4
    fusion.save(tmp_path)
    loaded = Fusion.load(tmp_path, parts)
    assert {layer.temperature for layer in loaded.layers.values()} == {1.0}
    torch.testing.assert_close(run_with(model, loaded), expected)


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({}, (True, True, True)),
        ({"regularization": 0.0}, (True, False, True)),
        ({"value": False}, (False, False, False)),
    ],
)
def test_the_configuration_says_what_the_library_would(
    options: dict[str, Any], written: tuple[bool, ...], tmp_path: Path
) -> None:
    parts = adapters()
    Fusion.create(Fuse(*parts), **options).save(tmp_path)
    config = json.loads((tmp_path / "adapter_fusion_config.json").read_text())["config"]
    keys = ("value", "regularization", "value_initialized")
    assert tuple(config[key] for key in keys) == written
    loaded = Fusion.load(tmp_path, parts)
    assert {bool(layer.penalty) for layer in loaded.layers.values()} == {written[1]}


def test_in_a_layer_that_a_fusion_leaves_out_its_parts_add_nothing(tmp_path: Path) -> None:
    model = tiny_model()
    parts = adapters(count=2)
    whole = random_fusion(parts)
    fusion = whole.leaving_out([0], model)
    last = BlockSite("encoder.layer.1", "feed_forward")
    assert set(fusion.layers) == set(Tree.of(fusion).sites) == {last}
    above = [
        replace(
            part,
            method=replace(part.method, leave_out=(0,)),
            deltas={last: part.deltas[last]},
        )
        for part in parts
    ]
    with attach(model, replace(whole, parts=tuple(above), layers={last: whole.layers[last]})):
        expected = run(model)
    fusion.save(tmp_path)
    loaded = Fusion.load(tmp_path, parts)
    assert loaded.leave_out == (0,)
    for one in (fusion, loaded):
        with attach(model, one):
            assert torch.equal(run(model), expected)


def test_a_fusion_leaves_out_layers_that_there_are_and_not_all_of_them() -> None:
    model, fusion = tiny_model(), random_fusion(adapters())
    with pytest.raises(AdapterError, match=r"Layer 2 is to be left out .* has 2 layers"):
        fusion.leaving_out([2], model)
    with pytest.raises(AdapterError, match="All 2 layers"):
        fusion.leaving_out([0, 1], model)
    low = random_fusion([replace(one, deltas=_first_layer(one)) for one in adapters()])
    with pytest.raises(AdapterError, match=r"add nothing in the layers .* encoder.layer.1\."):
        low.leaving_out([0], model)


def test_a_fusion_that_lost_a_layer_is_told_from_one_that_leaves_it_out(tmp_path: Path) -> None:
    model, parts = tiny_model(num_hidden_layers=3), adapters_of(tiny_model(num_hidden_layers=3))
    fusion = random_fusion(parts).leaving_out([0], model)
    first, *_ = fusion.layers
    lost = replace(fusion, layers={first: fusion.layers[first]})
    with pytest.raises(CompositionError, match=r"same sites: encoder.layer.2.feed_forward"):
        attach(model, lost)


def _first_layer(adapter: Adapter) -> dict[Site, Delta]:
    return {site: one for site, one in adapter.deltas.items() if is_in(site, "encoder.layer.0")}


def test_adapters_that_do_not_say_their_architecture_are_fused_and_saved(tmp_path: Path) -> None:
    model = tiny_model()
    parts = [
        replace(random_adapter(model, name, "lora"), base=describe(model), model_type=None)
        for name in "ab"
    ]
    Fusion.create_in(model, Fuse(*parts), "both", leave_out=[0]).save(tmp_path)
    loaded = Fusion.load(tmp_path, parts)
    assert (loaded.model_type, loaded.leave_out) == (model.config.model_type, (0,))
