"""What a model carries, while others run it, copy it, train it or attach something else."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from hubkit import Adapter, Batch, Fuse, Fusion, Parallel, Stack, attach, merge, train_only
from hubkit.bases.describe import describe
from hubkit.models.attention import mean_attention
from hubkit.nn.hooks import SUBMODULE
from registry.errors import AdapterError, CompositionError
from tests.support.models import (
    random_adapter,
    randomize,
    run,
    tiny_classifier,
    tiny_inputs,
    tiny_model,
)


def adapters(model: Any, count: int = 3, method: str = "seq_bn") -> list[Adapter]:
    return [
        random_adapter(model, name, method, seed=i + 1) for i, name in enumerate("abcd"[:count])
    ]


def random_fusion(parts: list[Adapter]) -> Fusion:
    fusion = Fusion.create(Fuse(*parts))
    for layer in fusion.layers.values():
        randomize(layer, 5)
        layer.requires_grad_(False)
    return fusion


def test_each_thread_has_the_rows_that_it_chose() -> None:
    model = tiny_model()
    one, two, _ = adapters(model)
    expected = {}
    for name, adapter in (("one", one), ("two", two)):
        with attach(model, adapter):
            expected[name] = run(model)
    with attach(model, Batch({"one": one, "two": two})) as attached:

        def serve(name: str) -> Tensor:
            with attached.rows([name] * 3):
                return run(model)

        names = ["one", "two"] * 40
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(serve, names))
    for name, output in zip(names, found, strict=True):
        torch.testing.assert_close(output, expected[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["adapter", "fusion", "parallel"])
def test_threads_run_one_attached_model_at_once(kind: str) -> None:
    model = tiny_model()
    parts = adapters(model)
    composition = {
        "adapter": parts[0],
        "fusion": random_fusion(parts),
        "parallel": Parallel(*parts),
    }[kind]
    inputs = [tiny_inputs(rows=rows, seed=rows) for rows in (2, 3, 4, 5)] * 10
    with attach(model, composition):
        expected = [run(model, one) for one in inputs]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda one: run(model, one), inputs))
    for output, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(output, reference, rtol=0, atol=1e-5)


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", ["stack", "fusion", "batch", "parallel", "lora", "inverse"])
def test_a_copy_of_the_model_has_weights_of_its_own(how: str, kind: str) -> None:
    model = tiny_model()
    one, two, three = adapters(model)
    composition = {
        "stack": Stack(one, two),
        "fusion": random_fusion([one, two, three]),
        "batch": Batch([one, None, two]),
        "parallel": Parallel(one, two),
        "lora": random_adapter(model, "l", "lora"),
        "inverse": random_adapter(model, "i", "seq_bn_inv"),
    }[kind]
    with attach(model, composition):
        expected = run(model)
        copy = COPIES[how](model)
        assert torch.equal(run(copy), expected)
        randomize(getattr(copy, SUBMODULE), 9)
        assert not torch.equal(run(copy), expected)
        assert torch.equal(run(model), expected)
        doubled = run(copy.double())
        assert doubled.dtype == torch.double


def test_a_fused_optimiser_leaves_no_stale_fusion() -> None:
    model = tiny_classifier().eval()
    fusion = random_fusion(adapters(model))
    inputs = tiny_inputs()
    with attach(model, fusion):
        run(model)  # folds
        train_only(model, fusion)
        weights = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=0.5, fused=True)
        model(**inputs).logits.square().sum().backward()
        optimizer.step()
        model.requires_grad_(False)
        found = run(model)
        model.train().eval()
        torch.testing.assert_close(found, run(model), rtol=0, atol=1e-5)


def test_a_compiled_model_sees_what_is_attached_later() -> None:
    model = tiny_model(num_hidden_layers=1)  # two take twice as long to compile
    one, two, _ = adapters(model)
    compiled = torch.compile(model, backend="eager")
    base = run(compiled)
    for adapter in (one, two):
        with attach(model, adapter):
            expected = run(model)
            torch.testing.assert_close(run(compiled), expected, rtol=0, atol=1e-6)
            assert not torch.equal(expected, base)
    torch.testing.assert_close(run(compiled), base, rtol=0, atol=1e-6)


def test_adapters_of_one_name_are_told_apart() -> None:
    model = tiny_model()
    parts = [replace(part, name="adapter") for part in adapters(model)]
    fusion = random_fusion(parts)
    with attach(model, fusion):
        attention = mean_attention(model, fusion, [tiny_inputs()])
    for weights in attention.values():
        assert list(weights) == ["adapter", "adapter#2", "adapter#3"]
        assert sum(weights.values()) == pytest.approx(1)
    for site, numbers in fusion.prune(attention, 1).kept.items():
        assert max(attention[site].values()) == [*attention[site].values()][numbers[0]]


def test_attention_is_asked_of_the_fusion_that_is_attached() -> None:
    model = tiny_model()
    one, other = (random_fusion(adapters(model)) for _ in range(2))
    with attach(model, one):
        with pytest.raises(CompositionError, match="does not carry"):
            mean_attention(model, other, [tiny_inputs()])
        with pytest.raises(CompositionError, match="none was given"):
            mean_attention(model, one, [])


def test_a_fusion_is_not_loaded_over_its_adapters_in_another_order(tmp_path: Any) -> None:
    model = tiny_model()
    base = describe(model)
    parts = [replace(part, base=base) for part in adapters(model)]
    random_fusion(parts).save(tmp_path)
    assert Fusion.load(tmp_path, parts).parts == tuple(parts)
    with pytest.raises(AdapterError, match="in the order a, b, c, but they were given as b, a, c"):
        Fusion.load(tmp_path, [parts[1], parts[0], parts[2]])


def test_what_the_model_does_not_carry_is_not_trained() -> None:
    model = tiny_model().to(torch.float64)
    one, two, _ = adapters(tiny_model())
    with attach(model, one):
        before = {name: p.requires_grad for name, p in model.named_parameters()}
        for value in (one, two):  # the first was copied into another dtype
            with pytest.raises(CompositionError, match="does not carry the weights of"):
                train_only(model, value)
        assert {name: p.requires_grad for name, p in model.named_parameters()} == before


def test_a_backbone_carries_one_thing_at_a_time_whichever_model_it_is_in() -> None:
    model = tiny_classifier()
    one, two, _ = adapters(model)
    for first, second in ((model, model.base_model), (model.base_model, model)):
        with attach(first, one):
            with pytest.raises(CompositionError, match="carries adapters already"):
                attach(second, two)
            with pytest.raises(CompositionError, match="carries adapters already"):
                merge(second, random_adapter(model, "l", "lora"))


def test_the_same_weights_in_another_dtype_are_the_same_base_with_a_note(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = tiny_model()
    adapter = replace(random_adapter(model), base=describe(model))
    half = tiny_model().to(torch.bfloat16)
    with attach(half, adapter):
        assert bool(run(half).isfinite().all())
    assert "in another dtype: float32 in training, bfloat16 here" in caplog.text
