from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hubkit import Adapter, Fuse, Fusion, Stack, attach
from hubkit.adapters.tree import Tree
from hubkit.bases.load import describe
from registry.errors import AdapterError, BaseModelMismatchError, CompositionError
from tests.support.models import (
    METHODS,
    random_adapter,
    randomize,
    run,
    same,
    snapshot,
    tiny_model,
)


def adapters(method: str = "seq_bn", count: int = 2) -> list[Adapter]:
    model = tiny_model()
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
