"""What does not fit a model is refused, and nothing has been changed by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForTokenClassification

from hubkit import Adapter, Batch, Fuse, Fusion, Mix, Parallel, Stack, attach
from hubkit.bases.describe import describe
from hubkit.methods.sites import LinearSite
from registry.errors import (
    AdapterError,
    BaseModelMismatchError,
    CompositionError,
    HubkitError,
    UnsupportedModelError,
)
from tests.support.compositions import adapter_of_kind, random_fusion, random_mix
from tests.support.models import random_adapter, run, tiny_model
from tests.support.untouched import untouched


def case(make: Callable[[], Any], error: type[HubkitError], *words: str) -> Any:
    return pytest.param(make, error, words, id=" ".join(words)[:40])


def one(kind: str = "seq_bn", name: str = "a", *, seed: int = 1, **changes: Any) -> Adapter:
    return adapter_of_kind(tiny_model(**changes), kind, name, seed=seed)


def mismatches() -> Iterator[Any]:
    def other_weights() -> Adapter:
        return replace(random_adapter(tiny_model(seed=1)), base=describe(tiny_model(seed=1)))

    yield case(
        other_weights, BaseModelMismatchError, "Adapter a was trained on BertModel", "the weights ("
    )
    yield case(
        lambda: random_adapter(tiny_model(hidden_size=8, num_attention_heads=2)),
        BaseModelMismatchError,
        "width 8; BertModel has hidden size 16",
    )
    yield case(
        lambda: random_adapter(tiny_model(num_hidden_layers=3)),
        BaseModelMismatchError,
        "with deltas at 3 sites; BertModel is a bert with 2. Only the adapter has a site encoder",
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
    for kind in ("lora", "double_seq_bn", "seq_bn_inv"):
        yield case(
            lambda kind=kind: one(kind, hidden_size=8, num_attention_heads=2),
            BaseModelMismatchError,
            "Adapter a",
            "8",
            "16",
        )
        yield case(
            lambda kind=kind: one(kind, num_hidden_layers=3),
            BaseModelMismatchError,
            "a fits a bert",
        )
        yield case(
            lambda kind=kind: one(kind, num_hidden_layers=1),
            BaseModelMismatchError,
            "a fits a bert",
        )
    yield case(
        lambda: without_a_site(one("lora")), BaseModelMismatchError, "with deltas at 3 sites", "4"
    )
    yield case(
        lambda: with_a_site_elsewhere(one("lora")),
        BaseModelMismatchError,
        "fits a bert; BertModel is a bert. Only the adapter has a site elsewhere. Only BertModel ",
        "has a site encoder.layer.0.attention.self.query. Load",
    )
    yield case(
        lambda: replace(one(), deltas={}), BaseModelMismatchError, "with deltas at 0 sites", "2"
    )
    # Also where they are parts of something else.
    for wrap in (wrapped_in_stack, wrapped_in_batch, wrapped_in_mix, random_fusion):
        yield case(
            lambda wrap=wrap: wrap(
                [one(num_hidden_layers=3), one("channel", "b", num_hidden_layers=3)]
            ),
            BaseModelMismatchError,
            "with deltas at 3 sites",
        )
        yield case(
            lambda wrap=wrap: wrap(
                [one(), replace(one("channel", "b", num_hidden_layers=3), model_type=None)]
            ),
            BaseModelMismatchError,
            "Adapter b",
        )


def with_a_site_elsewhere(adapter: Adapter) -> Adapter:
    first, *_ = adapter.deltas
    deltas = {**adapter.deltas, LinearSite("elsewhere"): adapter.deltas[first]}
    return replace(adapter, deltas={site: deltas[site] for site in deltas if site != first})


def without_a_site(adapter: Adapter) -> Adapter:
    return replace(adapter, deltas=dict([*adapter.deltas.items()][1:]))


def wrapped_in_stack(parts: list[Adapter]) -> Any:
    return Stack(*parts)


def wrapped_in_batch(parts: list[Adapter]) -> Any:
    return Batch([*parts, None])


def wrapped_in_mix(parts: list[Adapter]) -> Any:
    return Mix(*parts, weights=[1.0] * len(parts))


def senseless() -> Iterator[Any]:
    yield case(lambda: None, CompositionError, "Expected loaded adapters, found None")
    yield case(lambda: "a", CompositionError, "Expected loaded adapters, found 'a'")
    yield case(lambda: [one()], CompositionError, "Expected loaded adapters, found [")
    yield case(lambda: Batch([one(), "b"]), CompositionError, "found 'b' (str)")
    yield case(
        lambda: wrapped_in_mix([one("seq_bn_inv", "i"), one("seq_bn_inv", "j", seed=2)]),
        CompositionError,
        "holds the invertible adapters i, j",
    )
    yield case(lambda: Batch([Fuse(one(), one(name="b"))]), CompositionError, "without weights")
    yield case(lambda: Batch([Mix(one(), one(name="b"))]), CompositionError, "without weights")
    # Fusing at sites that no adapter has, and at none at all.
    yield case(lambda: over_others(random_fusion([one("lora"), one()])), CompositionError, "fusion")
    yield case(
        lambda: without_a_layer(random_fusion([one(), one(name="b")])), HubkitError, "fusion"
    )
    yield case(lambda: over_others(random_mix([one("lora"), one()])), CompositionError, "mix")
    yield case(lambda: Fuse(nothing("a"), nothing("b")), HubkitError, "a")


def over_others(made: Any) -> Any:
    """With weights at the sites of LoRA, over parts that are none."""
    return replace(made, parts=(one(), one("channel", "b")))


def without_a_layer(fusion: Fusion) -> Fusion:
    return replace(fusion, layers=dict([*fusion.layers.items()][1:]))


def nothing(name: str) -> Adapter:
    """An adapter that leaves out all layers."""
    return random_adapter(tiny_model(), name, leave_out=(0, 1))


@pytest.mark.parametrize(("make", "error", "words"), [*mismatches(), *senseless()])
def test_what_does_not_fit_is_refused_and_the_model_untouched(
    make: Callable[[], Any], error: type[HubkitError], words: tuple[str, ...]
) -> None:
    model = tiny_model()
    with untouched(model), pytest.raises(error) as caught:
        attach(model, make())
    for word in words:
        assert word in str(caught.value)


# What has the same layers of the same sizes is told apart by its name or its weights alone.
OTHERS = ("distilbert", "gpt2", "llama", "t5")


@pytest.mark.parametrize("kind", ["seq_bn", "lora", "seq_bn_inv"])
@pytest.mark.parametrize(
    ("architecture", "known"),
    [*((name, True) for name in (*OTHERS, "roberta")), *((name, False) for name in OTHERS)],
)
def test_an_adapter_of_another_architecture_is_refused(
    architecture: str, known: bool, kind: str
) -> None:
    model, adapter = tiny_model(), adapter_of_kind(tiny_model(architecture), kind)
    if not known:
        adapter = replace(adapter, model_type=None)
    with untouched(model), pytest.raises((BaseModelMismatchError, AdapterError)):
        attach(model, adapter)


def test_a_fusion_to_train_inside_a_fusion_to_train_is_refused() -> None:
    model = tiny_model()
    one, two, three = (random_adapter(model, name, seed=s) for s, name in enumerate("abc"))
    with pytest.raises(CompositionError, match="without weights"):
        attach(model, Fuse(Fuse(one, two), three))
    with pytest.raises(CompositionError, match="without weights"):
        attach(model, Stack(Stack(Fuse(one, two), two), three))


def test_a_model_that_carries_adapters_takes_no_more() -> None:
    model = tiny_model()
    with attach(model, one()), untouched(model):
        for other in (one("lora"), Stack(one(), one("lora")), one(num_hidden_layers=3)):
            with pytest.raises(HubkitError):
                attach(model, other)


def test_an_unsupported_model_is_refused() -> None:
    model = tiny_model("albert")
    for composition in (one(), Stack(one(), one("lora")), Fuse(one(), one(name="b"))):
        with (
            untouched(model),
            pytest.raises(UnsupportedModelError, match="No layout for the architecture 'albert'"),
        ):
            attach(model, composition)


# What makes no sense is refused when it is put together.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Stack, "at least two adapters, found 0"),
        (Fuse, "at least two adapters, found 0"),
        (Mix, "at least one adapter, found 0"),
        (Parallel, "at least two adapters, found 0"),
        (lambda: Batch([]), "at least one adapter, found none"),
        (lambda: Batch({}), "at least one adapter, found none"),
        (lambda: Batch([None, None]), "at least one adapter, found none"),
        (lambda: Fuse(one()), "at least two adapters, found 1"),
        (lambda: Fuse(*[one()] * 2), "is given twice; each part once"),
        (lambda: nested(20, Stack), "nests deeper than 8 levels"),
        (lambda: nested(20, lambda *parts: Mix(*parts, weights=[1.0, 1.0])), "nests deeper"),
        (lambda: nested(20, lambda *parts: random_fusion(parts)), "deep"),
    ],
)
def test_a_composition_of_nothing_or_of_too_much_is_refused(
    make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(CompositionError, match=message):
        make()


def nested(depth: int, wrap: Callable[..., Any]) -> Any:
    composition: Any = one("left_out")
    for level in range(depth):
        composition = wrap(composition, one("left_out", f"level-{level}"))
    return composition


def test_a_lora_of_a_model_without_a_pooler_fits_one_that_has_a_pooler() -> None:
    whole = tiny_model()
    plain = tiny_model(auto_class=AutoModelForTokenClassification)
    adapter = random_adapter(plain, method="lora", target_modules=("query", "dense"))
    assert LinearSite("pooler.dense") not in adapter.deltas
    whole.load_state_dict(plain.base_model.state_dict(), strict=False)
    with attach(plain.base_model, adapter):
        expected = run(plain.base_model)
    with attach(whole, adapter):
        assert torch.equal(run(whole), expected)
