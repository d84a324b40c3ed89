from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from hubkit import Adapter, Batch, Fuse, Fusion, Stack, attach
from hubkit.methods.sites import BlockSite, LinearSite
from hubkit.nn.delta import Delta
from tests.support.compositions import (
    KINDS,
    adapter_of_kind,
    copies_of,
    random_fusion,
    run_with,
)
from tests.support.models import METHODS, random_adapter, run, tiny_inputs, tiny_model

# A fusion over parallel adapters adds the residual once more, as in the library they come from.
FUSED_AS_THEY_ARE = sorted(kind for kind in KINDS if kind not in ("par_bn", "learned"))


@cache
def model_of(architecture: str = "bert") -> PreTrainedModel:
    return tiny_model(architecture)


def check_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    tolerance *= max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@settings(max_examples=15)
@given(st.integers(2, 5), st.sampled_from(FUSED_AS_THEY_ARE), st.integers(1, 1000))
def test_fusing_copies_of_one_adapter_is_that_adapter(count: int, kind: str, seed: int) -> None:
    model = model_of()
    adapter = adapter_of_kind(model, kind, seed=seed)
    alone = run_with(model, adapter)
    static = random_fusion(copies_of(adapter, count), value=False, seed=seed)
    check_close(run_with(model, static), alone)
    # Dynamic, at its initial weights.
    check_close(run_with(model, Fuse(*copies_of(adapter, count))), alone, 3e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5", "vit"])
@pytest.mark.parametrize("kind", ["double_seq_bn", "all_linear"])
def test_fusing_copies_is_that_adapter_on_every_kind_of_model(architecture: str, kind: str) -> None:
    model = model_of(architecture)
    adapter = adapter_of_kind(model, kind)
    fusion = random_fusion(copies_of(adapter, 3), value=False)
    check_close(run_with(model, fusion), run_with(model, adapter))


@settings(max_examples=12)
@given(
    st.permutations(range(3)),
    st.sampled_from([[method] * 3 for method in (*METHODS, "lora")] + [["seq_bn", "lora", "lora"]]),
    st.integers(1, 1000),
)
def test_the_order_of_the_parts_of_a_fusion_changes_nothing_but_the_attention(
    order: list[int], methods: list[str], seed: int
) -> None:
    model = model_of()
    adapters = [
        random_adapter(model, f"part-{i}", method, bottleneck_size=2 + i, seed=seed + i)
        for i, method in enumerate(methods)
    ]
    fusion = random_fusion(adapters, seed=seed)
    outputs, attention = run_with_attention(model, fusion)
    permuted = replace(fusion, parts=tuple(adapters[i] for i in order))
    other_outputs, other_attention = run_with_attention(model, permuted)
    check_close(other_outputs, outputs)
    names = [adapter.name for adapter in adapters]
    for site, weights in attention.items():
        present = [name for i, name in enumerate(names) if i in fusion.present(site)]
        moved = [names[i] for i in order if names[i] in present]
        columns = [present.index(name) for name in moved]
        torch.testing.assert_close(other_attention[site], weights[..., columns], rtol=0, atol=1e-5)
        assert weights.shape[-1] == 1 or weights.std(-1).max().item() > 0.001


def run_with_attention(model: PreTrainedModel, fusion: Fusion) -> tuple[Tensor, dict[Any, Tensor]]:
    with attach(model, fusion), torch.no_grad():
        output = model(**tiny_inputs(), output_fusion_attention=True)
    sites = {str(site): site for site in fusion.layers}
    return output[0], {sites[name]: tensor for name, tensor in output.fusion_attention.items()}


def naive_fusion(fusion: Fusion, site: Any, asked: Tensor, deltas: list[Tensor]) -> Tensor:
    """As the paper writes it, projecting each adapter's output."""
    layer = fusion.layers[site].double()
    query = layer.query(asked.double())
    keys = torch.stack([layer.key(delta.double()) for delta in deltas], -2)
    scores = (query.unsqueeze(-2) * keys).sum(-1)
    values = torch.stack([delta.double() for delta in deltas], -2)
    if layer.value is not None:
        values = layer.value(values)
    mixed: Tensor = (scores.softmax(-1).unsqueeze(-1) * values).sum(-2)
    layer.float()
    return mixed.float()


def naive_delta(delta: Delta, x: Tensor) -> Tensor:
    act = delta.activation or (lambda a: a)
    a = x @ delta.down.T
    z = act(a if delta.down_bias is None else a + delta.down_bias) @ delta.up.T
    return delta.scale * (z if delta.up_bias is None else z + delta.up_bias)


def watch(module: torch.nn.Module, change: Callable[[Any, Tensor], Tensor]) -> Any:
    return module.register_forward_hook(lambda _m, inputs, output: change(inputs, output))


@pytest.mark.parametrize("value", [True, False])
def test_a_fusion_over_lora_is_attention_over_what_each_adds_to_a_linear_layer(value: bool) -> None:
    model = tiny_model()
    parts = [
        adapter_of_kind(model, kind, bottleneck_size=2 + i, seed=i)
        for i, kind in enumerate(("lora", "rslora", "all_linear"))
    ]
    fusion = random_fusion(parts, value=value)
    found = run_with(model, fusion)

    def by_hand(site: LinearSite) -> Any:
        present = [part.deltas[site] for part in parts if site in part.deltas]

        def change(inputs: Any, output: Tensor) -> Tensor:
            deltas = [naive_delta(delta, inputs[0]) for delta in present]
            return output + naive_fusion(fusion, site, inputs[0], deltas)

        return watch(model.get_submodule(site.path), change)

    hooks = [by_hand(site) for site in fusion.layers if isinstance(site, LinearSite)]
    assert len(hooks) == len(fusion.layers) == 2 * 6 + 1
    expected = run(model)
    for hook in hooks:
        hook.remove()
    check_close(found, expected)
    assert (found - run(model)).abs().max().item() > 0.1


def by_hand_blocks(
    model: PreTrainedModel, add: Callable[[BlockSite, Tensor, Tensor, Any], Tensor]
) -> Tensor:
    """BERT with `add(site, h, residual, norm)` in place of the output of each feed-forward."""
    hooks = []
    for index, layer in enumerate(model.encoder.layer):
        site = BlockSite(f"encoder.layer.{index}", "feed_forward")
        residuals: list[Tensor] = []
        hooks.append(
            layer.output.register_forward_pre_hook(
                lambda _m, inputs, kept=residuals: kept.append(inputs[1])
            )
        )
        hooks.append(
            watch(
                layer.output.dropout,
                lambda _i, h, s=site, kept=residuals, norm=layer.output.LayerNorm: add(
                    s, h, kept.pop(), norm
                ),
            )
        )
    try:
        return run(model)
    finally:
        for hook in hooks:
            hook.remove()


def test_of_a_stack_in_a_fusion_the_last_stage_is_mixed() -> None:
    model = tiny_model()
    language, one, two = (
        adapter_of_kind(model, "seq_bn", name, seed=s) for s, name in enumerate("lab")
    )
    fusion = random_fusion([Stack(language, one), two])
    found = run_with(model, fusion)

    def add(site: BlockSite, h: Tensor, residual: Tensor, norm: Any) -> Tensor:
        x = norm(h + residual)
        after = norm(h + naive_delta(language.deltas[site], x) + residual)
        deltas = [naive_delta(one.deltas[site], after), naive_delta(two.deltas[site], x)]
        return h + naive_fusion(fusion, site, x, deltas)

    check_close(found, by_hand_blocks(model, add))
    assert (found - run_with(model, random_fusion([one, two]))).abs().max().item() > 0.01


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "t5"])
def test_at_a_site_that_one_adapter_has_a_static_fusion_is_that_adapter(architecture: str) -> None:
    model = model_of(architecture)
    lora, block = (adapter_of_kind(model, kind) for kind in ("all_linear", "double_seq_bn"))
    fusion = random_fusion([lora, block], value=False)
    assert set(fusion.layers) == {*lora.deltas, *block.deltas}
    check_close(run_with(model, fusion), run_with(model, Stack(lora, block)))


def test_a_fusion_over_lora_and_bottlenecks_attends_among_those_of_each_site() -> None:
    model = model_of()
    kinds = ("seq_bn", "double_seq_bn", "lora", "rslora", "left_out")
    parts = [adapter_of_kind(model, kind, seed=s) for s, kind in enumerate(kinds)]
    fusion = random_fusion(parts)
    _, attention = run_with_attention(model, fusion)
    counts = {str(site): weights.shape[-1] for site, weights in attention.items()}
    assert counts == {
        **{f"encoder.layer.{i}.attention.self.{n}": 2 for i in (0, 1) for n in ("query", "value")},
        **{f"encoder.layer.{i}.attention": 1 for i in (0, 1)},
        "encoder.layer.0.feed_forward": 2,
        "encoder.layer.1.feed_forward": 3,
    }


def test_where_an_adapter_leaves_out_a_layer_the_others_share_the_attention() -> None:
    model = model_of()
    full = adapter_of_kind(model, "seq_bn", "full")
    last = BlockSite("encoder.layer.1", "feed_forward")
    part = replace(
        full,
        name="part",
        method=replace(full.method, leave_out=(0,)),
        deltas={last: full.deltas[last]},
    )
    # Copies where both are, and alone where one is: the full adapter everywhere.
    fusion = random_fusion([full, part], value=False)
    check_close(run_with(model, fusion), run_with(model, full))


def test_several_fusions_use_the_same_adapters_at_once() -> None:
    model = model_of()
    parts = [
        adapter_of_kind(model, kind, seed=s) for s, kind in enumerate(("seq_bn", "lora", "channel"))
    ]
    fusions = [
        random_fusion(parts[:2], "first", seed=1),
        random_fusion(parts, "second", seed=2),
        random_fusion(parts[::-1], "third", seed=3, value=False),
    ]
    alone = [run_with(model, fusion) for fusion in fusions]
    for one, other in pairwise(alone):
        assert (one - other).abs().max().item() > 0.01
    check_close(
        run_with(model, Batch(fusions)), torch.stack([out[i] for i, out in enumerate(alone)])
    )
    # One after the other, on one model.
    assert all(
        torch.equal(run_with(model, fusion), out)
        for fusion, out in zip(fusions, alone, strict=True)
    )
    # And one over the others.
    static = random_fusion([fusions[0], replace(fusions[0], name="again")], value=False)
    check_close(run_with(model, static), alone[0])


def test_an_adapter_and_a_fusion_of_it_share_a_stack() -> None:
    model = model_of()
    one, two, zero = (
        adapter_of_kind(model, "seq_bn", name, seed=s) for s, name in enumerate(("a", "b", "zero"))
    )
    for delta in zero.deltas.values():
        delta.up.zero_()
        delta.up_bias.zero_()
    fusion = random_fusion([one, two])
    check_close(run_with(model, Stack(zero, fusion)), run_with(model, fusion))
    assert isinstance(Stack(one, fusion), Stack)
    assert (run_with(model, Stack(one, fusion)) - run_with(model, fusion)).abs().max() > 0.01


def test_rows_do_not_see_each_other() -> None:
    model = model_of()
    parts: list[Adapter] = [
        adapter_of_kind(model, kind, seed=s) for s, kind in enumerate(("seq_bn", "lora", "par_bn"))
    ]
    fusion, inputs = random_fusion(parts), tiny_inputs()
    with attach(model, fusion):
        together = run(model, inputs)
        alone = [run(model, {k: v[i : i + 1] for k, v in inputs.items()}) for i in range(3)]
    check_close(torch.cat(alone), together)
