from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import PreTrainedModel

from hubkit import Adapter, Batch, LearnedMix, Mix, Stack, attach, collapse, train_only
from hubkit.bases.describe import describe
from hubkit.nn.hooks import SUBMODULE
from hubkit.nn.host import BaseModel
from registry.errors import AdapterError, BaseModelMismatchError, CompositionError
from tests.support.compositions import (
    KINDS,
    adapter_of_kind,
    copies_of,
    random_fusion,
    random_mix,
    run_with,
)
from tests.support.models import (
    inputs_for,
    random_adapter,
    run,
    same,
    snapshot,
    tiny_batch,
    tiny_classifier,
    tiny_model,
)

# What adds up to one adapter: kinds of one input and one activation at each site.
ADD_UP = (
    ("seq_bn", "channel", "left_out"),
    ("double_seq_bn",),
    ("par_bn", "learned"),
    ("lora", "rslora", "lora_bias", "all_linear"),
)
NUMBERS = st.floats(-2, 2, width=32)


@cache
def model_of(architecture: str) -> PreTrainedModel:
    return tiny_model(architecture)


def check_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = 1e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_a_mix_of_one_is_that_adapter(kind: str, architecture: str) -> None:
    model = model_of(architecture)
    adapter = adapter_of_kind(model, kind)
    alone = run_with(model, adapter)
    check_close(run_with(model, Mix(adapter, weights=[1.0])), alone)
    check_close(run_with(model, LearnedMix.create(Mix(adapter))), alone)


@settings(max_examples=15)
@given(st.sampled_from(sorted(KINDS)), st.lists(NUMBERS, min_size=1, max_size=4))
def test_a_mix_of_copies_is_that_adapter_where_the_weights_sum_to_one(
    kind: str, weights: list[float]
) -> None:
    model = model_of("bert")
    adapter = adapter_of_kind(model, kind)
    weights = [*weights, 1.0 - sum(weights)]
    parts = copies_of(adapter, len(weights))
    check_close(run_with(model, Mix(*parts, weights=weights)), run_with(model, adapter))
    # New weights are equal, with a sum of one.
    check_close(run_with(model, LearnedMix.create(Mix(*parts))), run_with(model, adapter))


@settings(max_examples=15)
@given(
    st.sampled_from(ADD_UP).flatmap(
        lambda kinds: st.lists(
            st.tuples(st.sampled_from(kinds), st.integers(1, 6), NUMBERS), min_size=1, max_size=4
        )
    ),
    st.booleans(),
)
def test_a_mix_that_is_made_one_adapter_computes_what_the_mix_does(
    drawn: list[tuple[str, int, float]], learned: bool
) -> None:
    model = model_of("bert")
    parts = [
        adapter_of_kind(model, kind, f"part-{i}", bottleneck_size=size, seed=i)
        for i, (kind, size, _) in enumerate(drawn)
    ]
    mix: Any = Mix(*parts, weights=[weight for _, _, weight in drawn])
    if learned:
        mix = random_mix(parts, seed=7)
    one = collapse(mix, "sum")
    assert (one.name, type(one), one.head) == ("sum", Adapter, None)
    assert not any(p.requires_grad for module in one.modules() for p in module.parameters())
    for site, delta in one.deltas.items():
        ranks = [part.deltas[site].shape.rank for part in parts if site in part.deltas]
        assert delta.shape.rank == sum(ranks)
    check_close(run_with(model, one), run_with(model, mix))


@pytest.mark.parametrize("architecture", ["gpt2", "t5"])
@pytest.mark.parametrize("kinds", ADD_UP)
def test_a_mix_can_be_made_one_adapter_on_every_kind_of_model(
    architecture: str, kinds: tuple[str, ...]
) -> None:
    model = model_of(architecture)
    parts = [adapter_of_kind(model, kind, seed=i) for i, kind in enumerate(kinds)]
    weights = [0.3, -1.5, 2.0, 0.7][: len(parts)]
    mix = Mix(*parts, weights=weights)
    check_close(run_with(model, collapse(mix)), run_with(model, mix))


@pytest.mark.parametrize("kinds", ADD_UP)
def test_the_one_adapter_is_saved_and_loaded_to_the_bit(
    kinds: tuple[str, ...], tmp_path: Path
) -> None:
    model = model_of("bert")
    base = describe(model)
    parts = [
        replace(adapter_of_kind(model, kind, f"part-{i}", bottleneck_size=2 + i, seed=i), base=base)
        for i, kind in enumerate(kinds)
    ]
    one = collapse(Mix(*parts, weights=[0.3, -1.5, 2.0, 0.7][: len(parts)]), "sum")
    one.save(tmp_path)
    found = Adapter.load(tmp_path, name="sum", base=base)
    host = BaseModel(model)
    assert found.method.shapes(host) == one.method.shapes(host)
    assert set(found.deltas) == set(one.deltas)
    for site, delta in one.deltas.items():
        assert same(snapshot(found.deltas[site]), snapshot(delta))
    assert torch.equal(run_with(model, found), run_with(model, one))


def test_a_mix_of_adapters_at_other_sites_adds_each_where_it_is() -> None:
    model = model_of("bert")
    block, lora = (adapter_of_kind(model, kind) for kind in ("seq_bn", "lora"))
    check_close(
        run_with(model, Mix(block, lora, weights=[1.0, 1.0])), run_with(model, Stack(lora, block))
    )


def test_the_weights_of_a_mix_without_any_are_learned() -> None:
    model = tiny_classifier()
    parts = [
        adapter_of_kind(model, kind, f"part-{i}", seed=i)
        for i, kind in enumerate(("seq_bn", "double_seq_bn", "lora"))
    ]
    with attach(model, Mix(*parts)) as attached:
        mix = attached.composition
        assert isinstance(mix, LearnedMix)
        assert mix.parts == tuple(parts)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert sum(name.startswith(SUBMODULE) for name in trained) == len(mix.weights) == 8
        model(**tiny_batch()).loss.backward()
    assert all(weights.values.grad is not None for weights in mix.weights.values())
    counts = sorted(len(weights.values) for weights in mix.weights.values())
    assert counts == [1, 1, 1, 1, 1, 1, 2, 2]


def refused() -> list[Any]:
    model = tiny_model()

    def part(kind: str, **changes: Any) -> Adapter:
        return adapter_of_kind(model, kind, **changes)

    return [
        pytest.param(lambda: Mix(part("seq_bn"), part("double_seq_bn")), "seq_bn", id="methods"),
        pytest.param(lambda: Mix(part("seq_bn"), part("lora")), "lora", id="lora"),
        pytest.param(lambda: Mix(part("lora"), part("seq_bn")), "lora", id="lora first"),
        pytest.param(
            lambda: Mix(part("seq_bn"), part("seq_bn", name="tanh", activation="tanh")),
            "do not add up to one adapter",
            id="activations",
        ),
        pytest.param(lambda: Mix(part("seq_bn_inv")), "invertible adapter", id="couplings"),
        pytest.param(
            lambda: Mix(Stack(part("seq_bn"), part("channel")), part("left_out")),
            "holds other compositions",
            id="stack",
        ),
        pytest.param(
            lambda: Mix(random_fusion([part("seq_bn"), part("channel")])),
            "holds other compositions",
            id="fusion",
        ),
    ]


@pytest.mark.parametrize(("make", "message"), refused())
def test_what_does_not_add_up_to_one_adapter_is_refused(make: Any, message: str) -> None:
    mix = make()
    weights = [1.0] * len(mix.parts)
    for one in (Mix(*mix.parts, weights=weights), random_mix(mix.parts)):
        with pytest.raises(CompositionError, match=message):
            collapse(one)


def test_a_mix_of_different_bases_is_refused() -> None:
    one, other = (random_adapter(tiny_model(name), name) for name in ("bert", "roberta"))
    with pytest.raises(BaseModelMismatchError, match="bert and roberta belong to different base"):
        collapse(Mix(one, other, weights=[1.0, 1.0]))
    with pytest.raises(BaseModelMismatchError, match="bert and roberta belong to different base"):
        LearnedMix.create(Mix(one, other))


def test_weights_of_zero_leave_the_model_as_it_is() -> None:
    model = model_of("bert")
    parts = [adapter_of_kind(model, kind) for kind in ("seq_bn", "lora")]
    assert torch.equal(run_with(model, Mix(*parts, weights=[0.0, 0.0])), run(model))


VARIANTS = [(False, False), (True, False), (False, True), (True, True)]
"""Of ScaLearn: vectors or numbers, for each layer or shared by all."""


@pytest.mark.parametrize(("vectors", "shared"), VARIANTS)
def test_a_learned_mix_is_saved_and_loaded_to_the_bit_and_makes_one_adapter(
    vectors: bool, shared: bool, tmp_path: Path
) -> None:
    model = model_of("bert")
    parts = [
        replace(adapter_of_kind(model, "double_seq_bn", name, seed=seed), base=describe(model))
        for seed, name in enumerate("abc")
    ]
    mix = random_mix(parts, vectors=vectors, shared=shared)
    # Two layers with two places each, of width 16.
    sets, width = (2 if shared else 4), (16 if vectors else 1)
    own = {id(p): p for m in mix.modules() for p in m.parameters()}
    assert sum(p.numel() for p in own.values()) == sets * 3 * width
    expected = run_with(model, mix)
    mix.save(tmp_path)
    loaded = LearnedMix.load(tmp_path, parts)
    assert (loaded.vectors, loaded.shared) == (vectors, shared)
    assert len(load_file(tmp_path / "mix.safetensors")) == sets
    assert torch.equal(run_with(model, loaded), expected)
    check_close(run_with(model, collapse(loaded)), expected)
    inputs = inputs_for(model)
    rows: list[Any] = [loaded, None, parts[0]]
    inputs = {name: tensor[:1].repeat(3, 1) for name, tensor in inputs.items()}
    found = run_with(model, Batch(rows), inputs)
    check_close(found[0], run_with(model, loaded, inputs)[0])
    check_close(found[2], run_with(model, parts[0], inputs)[2])


def test_shared_weights_are_learned_once_for_all_layers_and_nothing_else_is() -> None:
    model = tiny_classifier()
    parts = [adapter_of_kind(model, "seq_bn", name, seed=seed) for seed, name in enumerate("ab")]
    mix = LearnedMix.create(Mix(*parts), shared=True, total=2.0)
    before = snapshot(model)
    with attach(model, mix):
        train_only(model, mix)
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        (name,) = [name for name in trained if name.startswith(SUBMODULE)]
        assert trained[name].tolist() == [1.0, 1.0]
        model(**tiny_batch()).loss.backward()
        torch.optim.SGD(trained.values(), lr=0.1).step()
    (weights,) = set(mix.weights.values())
    assert weights.values.tolist() != [1.0, 1.0]
    after = snapshot(model)
    assert {n for n in before if not torch.equal(before[n], after[n])} <= trained.keys()


def test_layers_that_a_part_leaves_out_cannot_share_weights() -> None:
    parts = [adapter_of_kind(model_of("bert"), kind) for kind in ("seq_bn", "left_out")]
    with pytest.raises(
        CompositionError, match=r"left_out adds something in some layers only, such as at"
    ):
        LearnedMix.create(Mix(*parts), shared=True)


def test_weights_of_other_parts_are_refused(tmp_path: Path) -> None:
    model = model_of("bert")
    base = describe(model)
    one, two, other = (
        replace(adapter_of_kind(model, kind, name), base=base)
        for kind, name in (("seq_bn", "a"), ("seq_bn", "b"), ("double_seq_bn", "c"))
    )
    random_mix([one, two]).save(tmp_path)
    with pytest.raises(AdapterError, match=r"have the shape \[2\], but its parts need \[1\]"):
        LearnedMix.load(tmp_path, [one])
    with pytest.raises(AdapterError, match=r"not have the same sites: encoder\.layer\.0\.atten"):
        LearnedMix.load(tmp_path, [one, other])
    (tmp_path / "mix.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"holds no mix\.safetensors"):
        LearnedMix.load(tmp_path, [one, two])
    bare = [replace(one, base=None), replace(two, base=None)]
    with pytest.raises(AdapterError, match="names no base model, so it cannot be saved"):
        random_mix(bare).save(tmp_path)
