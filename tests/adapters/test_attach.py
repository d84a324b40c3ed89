from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from hubkit import Adapter, Fuse, Fusion, Stack, attach
from hubkit.adapters.attach import attached_to
from hubkit.base_models import describe
from hubkit.nn.attach import SUBMODULE
from registry.errors import (
    BaseModelMismatchError,
    CompositionError,
    HubkitError,
    UnsupportedModelError,
)
from tests.support.models import (
    METHODS,
    REFERENCED,
    REFERENCES,
    random_adapter,
    randomize,
    reference_base,
    reference_outputs,
    run,
    same,
    snapshot,
    tiny_inputs,
    tiny_model,
)

Load = Callable[[Path], Any]


def load_adapters(folder: Path, names: str) -> list[Adapter]:
    return [Adapter.load(folder / name) for name in names]


CASES: dict[str, Load] = {
    "single": lambda folder: Adapter.load(folder / "a"),
    "stack": lambda folder: Stack(*load_adapters(folder, "ab")),
    "fuse_dynamic": lambda folder: Fusion.load(folder / "fusion_abc", load_adapters(folder, "abc")),
    "fuse_static": lambda folder: Fusion.load(
        folder / "fusion_ab_static", load_adapters(folder, "ab")
    ),
}


def reference_cases() -> Iterator[Any]:
    for architecture, method, case in product(REFERENCED, METHODS, CASES):
        # The reference library drops the first of two stacked parallel adapters.
        if (method, case) != ("par_bn", "stack"):
            yield pytest.param(architecture, method, case, id=f"{architecture}-{method}-{case}")


@pytest.mark.parametrize(("architecture", "method", "case"), [*reference_cases()])
def test_outputs_equal_those_of_the_reference_library(
    architecture: str, method: str, case: str
) -> None:
    folder = REFERENCES / architecture / method
    inputs, expected = reference_outputs(folder)
    model = reference_base(architecture)
    with attach(model, CASES[case](folder)), torch.no_grad():
        found = model(**inputs).last_hidden_state
    for output, reference in ((found, expected[case]), (run(model, inputs), expected["base"])):
        tolerance = 1e-5 * max(1.0, reference.abs().max().item())
        torch.testing.assert_close(output, reference, rtol=0, atol=tolerance)
    assert (found - expected["base"]).abs().max().item() > 0.1


@cache
def shared_model() -> PreTrainedModel:
    return tiny_model()


def copies_of(adapter: Adapter, count: int) -> list[Adapter]:
    return [
        replace(adapter, name=f"copy-{index}", deltas=deepcopy(adapter.deltas))
        for index in range(count)
    ]


@settings(max_examples=8)
@given(st.integers(2, 5), st.sampled_from(METHODS[:2]), st.integers(1, 1000))
def test_fusing_copies_of_one_adapter_is_that_adapter(count: int, method: str, seed: int) -> None:
    model = shared_model()
    adapter = random_adapter(model, method=method, seed=seed)
    with attach(model, adapter):
        alone = run(model)
    static = Fusion.create(Fuse(*copies_of(adapter, count)), value=False)
    for layer in static.layers.values():
        randomize(layer, seed)
    with attach(model, static):
        torch.testing.assert_close(run(model), alone, rtol=0, atol=2e-6)
    with attach(model, Fuse(*copies_of(adapter, count))):  # dynamic, at its initial weights
        torch.testing.assert_close(run(model), alone, rtol=0, atol=1e-5)


@settings(max_examples=8)
@given(st.permutations(range(3)), st.sampled_from(METHODS), st.integers(1, 1000))
def test_the_order_of_the_parts_of_a_fusion_changes_nothing_but_the_attention(
    order: list[int], method: str, seed: int
) -> None:
    model = shared_model()
    adapters = [
        random_adapter(model, f"part-{i}", method, bottleneck_size=2 + i, seed=seed + i)
        for i in range(3)
    ]
    fusion = Fusion.create(Fuse(*adapters))
    for layer in fusion.layers.values():
        randomize(layer, seed)
    outputs, attention = run_with_attention(model, fusion)
    permuted = replace(fusion, parts=tuple(adapters[i] for i in order))
    other_outputs, other_attention = run_with_attention(model, permuted)
    torch.testing.assert_close(other_outputs, outputs, rtol=0, atol=1e-5)
    torch.testing.assert_close(other_attention, attention[..., order], rtol=0, atol=1e-5)
    assert attention.std(-1).max().item() > 0.01


def run_with_attention(model: PreTrainedModel, fusion: Fusion) -> tuple[torch.Tensor, torch.Tensor]:
    found: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _m, _i, fused: found.append(fused.attention))
        for layer in fusion.layers.values()
    ]
    try:
        with attach(model, fusion):
            return run(model), torch.stack(found)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("method", METHODS[:2])
def test_the_order_of_a_stack_counts(method: str) -> None:
    model = tiny_model()
    one, other = (random_adapter(model, name, method, seed=s) for s, name in enumerate("ab"))
    with attach(model, Stack(one, other)):
        forwards = run(model)
    with attach(model, Stack(other, one)):
        assert (run(model) - forwards).abs().max().item() > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_that_adds_nothing_leaves_a_stack_as_it_is(method: str) -> None:
    model = tiny_model()
    adapter, zero = random_adapter(model, "a", method), random_adapter(model, "zero", method)
    for delta in zero.deltas.values():
        delta.up.weight.zero_()
        delta.up.bias.zero_()
    with attach(model, adapter):
        alone = run(model)
    for stack in (Stack(adapter, zero), Stack(zero, adapter)):
        with attach(model, stack):
            assert torch.equal(run(model), alone)


def test_adapters_of_different_methods_and_sizes_combine() -> None:
    model = tiny_model()
    narrow = random_adapter(model, "narrow", "seq_bn", bottleneck_size=2)
    wide = random_adapter(model, "wide", "double_seq_bn", bottleneck_size=6)
    fusion = Fusion.create(Fuse(narrow, wide))
    # Both sub-blocks of both layers; narrow has nothing after attention.
    assert len(fusion.layers) == 4
    with attach(model, fusion):
        nodes = dict(getattr(model, SUBMODULE).items())
        assert {name: len(node.branches) for name, node in nodes.items()} == {
            "encoder-layer-0-attention": 1,
            "encoder-layer-0-feed_forward": 2,
            "encoder-layer-1-attention": 1,
            "encoder-layer-1-feed_forward": 2,
        }
        assert bool(run(model).isfinite().all())


def test_what_a_model_carries_can_be_asked() -> None:
    model = tiny_model()
    adapter = random_adapter(model)
    assert attached_to(model) is None
    with attach(model, adapter) as attached:
        assert attached_to(model) is adapter
        assert (attached.model, attached.composition) == (model, adapter)
    assert attached_to(model) is None


def test_a_fuse_of_adapters_becomes_a_fusion_to_train() -> None:
    model = tiny_model()
    adapters = [random_adapter(model, name, seed=s) for s, name in enumerate("ab")]
    with attach(model, Fuse(*adapters)) as attached:
        fusion = attached.composition
        assert isinstance(fusion, Fusion)
        assert fusion.parts == tuple(adapters)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert sum(name.startswith(SUBMODULE) for name in trained) == 2 * 5


def test_a_bfloat16_model_leaves_frozen_float32_adapters_alone() -> None:
    adapter = random_adapter(tiny_model())
    before = {site: snapshot(delta) for site, delta in adapter.deltas.items()}
    with attach(tiny_model(), adapter):
        pass
    full, half = tiny_model(), tiny_model().to(torch.bfloat16)
    with attach(half, adapter):
        assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
        rounded = run(half)
    assert rounded.dtype == torch.bfloat16
    for site, delta in adapter.deltas.items():
        assert same(snapshot(delta), before[site])
        assert {p.dtype for p in delta.parameters()} == {torch.float32}
    with attach(full, adapter):
        torch.testing.assert_close(rounded.float(), run(full), rtol=0, atol=0.3)


def test_weights_are_shared_with_the_adapter_where_the_model_has_its_dtype() -> None:
    model = tiny_model()
    adapter = random_adapter(model)
    with attach(model, adapter):
        carried = {p.data_ptr() for p in getattr(model, SUBMODULE).parameters()}
    own = {p.data_ptr() for delta in adapter.deltas.values() for p in delta.parameters()}
    assert carried == own


def mismatches() -> Iterator[Any]:
    def other_weights() -> Adapter:
        return replace(random_adapter(tiny_model(seed=1)), base=describe(tiny_model(seed=1)))

    def case(make: Callable[[], Any], error: type[HubkitError], *words: str) -> Any:
        return pytest.param(make, error, words, id=" ".join(words)[:40])

    yield case(other_weights, BaseModelMismatchError, "Adapter a was trained on BertModel", "has ")
    yield case(
        lambda: random_adapter(tiny_model(hidden_size=8, num_attention_heads=2)),
        BaseModelMismatchError,
        "width 8; BertModel has hidden size 16",
    )
    yield case(
        lambda: random_adapter(tiny_model(num_hidden_layers=3)),
        BaseModelMismatchError,
        "with deltas at 3 sites; BertModel is a bert with 2",
    )
    yield case(
        lambda: random_adapter(tiny_model("distilbert")),
        BaseModelMismatchError,
        "fits a distilbert",
    )
    yield case(
        lambda: random_adapter(tiny_model("roberta")), BaseModelMismatchError, "fits a roberta"
    )
    yield case(
        lambda: Stack("a", "b"), CompositionError, "Expected loaded adapters, found 'a' (str)"
    )
    yield case(
        lambda: Stack(
            random_adapter(tiny_model(), "a"), random_adapter(tiny_model("roberta"), "b")
        ),
        BaseModelMismatchError,
        "a and b belong to different base models",
    )
    yield case(
        lambda: Stack(
            random_adapter(tiny_model(), "c", seed=3),
            Fuse(random_adapter(tiny_model(), "a"), random_adapter(tiny_model(), "b", seed=2)),
        ),
        CompositionError,
        "stack(c, fuse(a, b)) holds a fusion without weights: train that one first",
    )


@pytest.mark.parametrize(("make", "error", "words"), [*mismatches()])
def test_what_does_not_fit_is_refused_and_the_model_untouched(
    make: Callable[[], Any], error: type[HubkitError], words: tuple[str, ...]
) -> None:
    model = tiny_model()
    outputs, state = run(model), snapshot(model)
    with pytest.raises(error) as caught:
        attach(model, make())
    for word in words:
        assert word in str(caught.value)
    assert same(snapshot(model), state)
    assert torch.equal(run(model), outputs)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_fusion_to_train_inside_a_fusion_to_train_is_refused() -> None:
    model = tiny_model()
    one, two, three = (random_adapter(model, name, seed=s) for s, name in enumerate("abc"))
    with pytest.raises(CompositionError, match="without weights"):
        attach(model, Fuse(Fuse(one, two), three))
    with pytest.raises(CompositionError, match="without weights"):
        attach(model, Stack(Stack(Fuse(one, two), two), three))


def test_an_adapter_of_one_bit_less_is_another_base() -> None:
    model = tiny_model()
    adapter = replace(random_adapter(model), base=describe(model))
    with attach(model, adapter):
        run(model)
    with torch.no_grad():
        weight = model.encoder.layer[0].output.dense.weight
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(torch.inf))
    with pytest.raises(BaseModelMismatchError):
        attach(model, adapter)


def test_an_unsupported_model_is_refused_untouched() -> None:
    model = tiny_model("albert")
    state = snapshot(model)
    with pytest.raises(UnsupportedModelError, match="No layout for the architecture 'albert'"):
        attach(model, random_adapter(tiny_model()))
    assert same(snapshot(model), state)


def test_rows_do_not_see_each_other() -> None:
    model = tiny_model()
    adapters = [random_adapter(model, name, seed=s) for s, name in enumerate("ab")]
    inputs = tiny_inputs()
    with attach(model, Fuse(*adapters)):
        together = run(model, inputs)
        alone = [run(model, {k: v[i : i + 1] for k, v in inputs.items()}) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), together, rtol=0, atol=1e-5)
