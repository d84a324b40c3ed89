from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from hubkit import Adapter, Batch, Fuse, Fusion, Stack, attach, merge
from hubkit.bases.describe import describe
from hubkit.models.attach import attached_to
from hubkit.models.head import head_of
from hubkit.nn.hooks import SUBMODULE
from registry.errors import (
    BaseModelMismatchError,
)
from tests.support.models import (
    METHODS,
    random_adapter,
    randomize,
    run,
    tiny_classifier,
    tiny_model,
)


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
        delta.up.zero_()
        delta.up_bias.zero_()
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


def test_weights_are_shared_with_the_adapter_where_the_model_has_its_dtype() -> None:
    model = tiny_model()
    adapter = random_adapter(model)
    with attach(model, adapter):
        carried = {p.data_ptr() for p in getattr(model, SUBMODULE).parameters()}
    own = {p.data_ptr() for delta in adapter.deltas.values() for p in delta.parameters()}
    assert carried == own


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


# --- what a head reads from -----------------------------------------------------------------------


def of_pooler(model: PreTrainedModel, name: str = "a", **settings: Any) -> Adapter:
    """An adapter with the head of `model`, which reads from its pooler."""
    return replace(
        random_adapter(model, name, **settings),
        base=describe(model.base_model),
        head=head_of(model),
    )


def with_other_pooler() -> PreTrainedModel:
    model = tiny_classifier()
    randomize(model.bert.pooler, 5)
    return model


@pytest.mark.parametrize(
    "composed",
    [lambda a, b: a, lambda a, b: Stack(b, a), lambda a, b: Batch([a, b, None])],
    ids=["alone", "last", "row"],
)
def test_a_head_behind_another_pooler_is_refused(composed: Callable[..., Any]) -> None:
    model = tiny_classifier()
    one = of_pooler(model)
    other = replace(
        random_adapter(model, "b"), base=describe(model.base_model).model_copy(update={"parts": {}})
    )
    changed = with_other_pooler()
    with pytest.raises(BaseModelMismatchError, match=r"Adapter a .* the weights of the pooler"):
        attach(changed, composed(one, other))
    with attach(changed, composed(one, other), allow_base_mismatch=True):
        pass
    with attach(model, composed(one, other)):
        pass


def test_a_lora_is_merged_before_its_own_pooler_alone() -> None:
    lora = of_pooler(tiny_classifier(), method="lora", bottleneck_size=2)
    with pytest.raises(BaseModelMismatchError, match="the weights of the pooler"):
        merge(with_other_pooler(), lora)


def test_a_pooler_that_nothing_of_the_adapter_is_read_through_may_be_another() -> None:
    model, changed = tiny_classifier(), with_other_pooler()
    one, last = of_pooler(model), random_adapter(model, "b")
    with attach(changed, Stack(one, last)):  # the head is that of the last
        pass
    head = head_of(model, ["bert.pooler.dense.weight", "bert.pooler.dense.bias"])
    with attach(changed, replace(one, head=head)):  # which brings its own pooler
        pass


def test_a_model_without_a_head_may_have_another_pooler_with_a_note(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        caplog.at_level(logging.WARNING, "hubkit"),
        attach(with_other_pooler().base_model, of_pooler(tiny_classifier())),
    ):
        pass
    assert "differs from the base model of adapter a in the weights of the pooler" in caplog.text
