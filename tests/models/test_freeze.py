from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

import hubkit
from hubkit import (
    Adapter,
    Fusion,
    LearnedMix,
    Stack,
    attach,
    insert_adapter,
    save_adapter,
    train_only,
)
from hubkit.nn.foldable import Foldable
from hubkit.nn.hooks import SUBMODULE
from registry.errors import AdapterError
from tests.support.compositions import (
    KINDS,
    adapter_of_kind,
    random_fusion,
    random_mix,
)
from tests.support.models import (
    METHODS,
    base_folder,
    inputs_for,
    run,
    same,
    snapshot,
    tiny_batch,
    tiny_classifier,
    tiny_model,
)


def parts_of(model: PreTrainedModel) -> list[Adapter]:
    kinds = ("seq_bn", "lora", "channel", "all_linear")
    return [adapter_of_kind(model, kind, seed=s) for s, kind in enumerate(kinds)]


def weights_of(*values: Any) -> set[int]:
    """The parameters that training the values is to change."""
    found = set()
    for value in values:
        modules = [*value.deltas.values(), value.coupling] if isinstance(value, Adapter) else []
        if isinstance(value, Fusion):
            modules = [*value.layers.values()]
        if isinstance(value, LearnedMix):
            modules = [*value.weights.values()]
        found |= {id(p) for module in modules if module is not None for p in module.parameters()}
    return found


def check_that_only_these_train(model: PreTrainedModel, *values: Any) -> None:
    """In two steps of an optimiser that is given all there is."""
    ids = weights_of(*values)
    # A pooler is trained with the head, unless an adapter changes it.
    adapted = any("pooler" in name for name, _ in getattr(model, SUBMODULE).named_parameters())
    head = ("classifier.",) if adapted else ("classifier.", "bert.pooler.")
    trained = {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if id(parameter) in ids or name.startswith(head)
    }
    assert ids
    assert {n for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad} == (
        trained
    )
    before = snapshot(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
    # Two steps: with one matrix at zero it takes one to move the other.
    for seed in range(2):
        optimizer.zero_grad()
        model(**tiny_batch(seed)).loss.backward()
        optimizer.step()
    named = dict(model.named_parameters(remove_duplicate=False))
    assert {name for name, parameter in named.items() if parameter.grad is not None} == trained
    after = snapshot(model)
    assert {name for name in before if not torch.equal(before[name], after[name])} == trained


COMPOSITIONS: dict[str, Callable[[list[Adapter]], tuple[Any, list[Any]]]] = {
    "adapter": lambda parts: (parts[0], [parts[0]]),
    "lora": lambda parts: (parts[1], [parts[1]]),
    "fusion": lambda parts: _with(random_fusion(parts)),
    "fusion and one of its adapters": lambda parts: _with(random_fusion(parts), parts[2]),
    "fusion and its lora": lambda parts: _with(random_fusion(parts), parts[1]),
    "one adapter in a fusion": lambda parts: (random_fusion(parts), [parts[0]]),
    "mix": lambda parts: _with(random_mix(parts)),
    "mix and one of its adapters": lambda parts: _with(random_mix(parts), parts[3]),
    "top of a stack": lambda parts: (Stack(parts[1], parts[0]), [parts[0]]),
    "fusion on a stack": lambda parts: _in_stack(random_fusion(parts[:2]), parts[3]),
}


def _with(value: Any, *others: Any) -> tuple[Any, list[Any]]:
    return value, [value, *others]


def _in_stack(fusion: Fusion, adapter: Adapter) -> tuple[Any, list[Any]]:
    return Stack(adapter, fusion), [fusion]


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_just_what_is_named_and_the_head_get_gradients_and_change(composition: str) -> None:
    model = tiny_classifier().train()
    made, trained = COMPOSITIONS[composition](parts_of(model))
    with attach(model, made):
        train_only(model, *trained)
        check_that_only_these_train(model, *trained)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_an_adapter_of_every_method_is_trained(kind: str) -> None:
    model = tiny_classifier().train()
    adapter = adapter_of_kind(model, kind)
    with attach(model, adapter):
        train_only(model, adapter)
        check_that_only_these_train(model, adapter)


@pytest.mark.parametrize("method", [*METHODS, "lora", "seq_bn_inv"])
def test_a_new_adapter_and_the_head_are_trained_and_nothing_else(method: str) -> None:
    model = tiny_classifier().train()
    # Of so many units, some are alive from the start.
    size = {} if method == "lora" else {"bottleneck_size": 8}
    attached = insert_adapter(model, "mine", method=method, **size)
    check_that_only_these_train(model, attached.composition)


def test_without_values_only_the_head_and_its_pooler_are_trained() -> None:
    model = tiny_classifier()
    with attach(model, parts_of(model)[0]):
        train_only(model)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
    pooler = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert trained == {"classifier.weight", "classifier.bias"} | pooler


CHOICE, TAGS = AutoModelForMultipleChoice, AutoModelForTokenClassification
IMAGES, CLASSES = AutoModelForImageClassification, AutoModelForSequenceClassification


@pytest.mark.parametrize(
    ("architecture", "auto_class"),
    [
        *(("bert", one) for one in (AutoModel, AutoModelForMaskedLM, CLASSES, CHOICE, TAGS)),
        *(("roberta", one) for one in (CLASSES, CHOICE)),
        *((name, CLASSES) for name in ("deberta-v2", "electra", "gpt2", "modernbert", "mpnet")),
        ("vit", IMAGES),
    ],
)
def test_what_a_trained_head_reads_of_a_pooler_is_trained_and_nothing_else_of_the_base(
    architecture: str, auto_class: Any
) -> None:
    model = tiny_model(architecture, auto_class, pad_token_id=1)
    attached = insert_adapter(model, "mine", method="lora", rank=2)
    base = model.base_model_prefix
    trained = {
        name
        for name, one in model.named_parameters()
        if one.requires_grad and SUBMODULE not in name and name.startswith(f"{base}.")
    }
    assert {name.split(".")[1] for name in trained} <= {"pooler"}
    inputs = tiny_batch() if auto_class is CLASSES else inputs_for(model)
    if auto_class is CHOICE:
        inputs = {name: value[:, None] for name, value in inputs.items() if name != "labels"}
    if "cls" not in dict(model.named_children()) and model.base_model is not model:
        model(**inputs).logits.square().sum().backward()
        assert {n for n in trained if model.get_parameter(n).grad is None} == set()
        has_pooler = getattr(model.base_model, "pooler", None) is not None
        assert bool(trained) == has_pooler
    else:  # the head is the base model's, or there is none
        assert trained == set()
    attached.detach()


def test_the_base_model_gets_its_own_pooler_back_to_the_bit() -> None:
    model = tiny_classifier()
    before = snapshot(model.base_model)
    attached = insert_adapter(model, "mine", bottleneck_size=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    model(**tiny_batch()).loss.backward()
    optimizer.step()
    train_only(model, attached.composition)  # which notes nothing anew
    assert not torch.equal(model.bert.pooler.dense.weight, before["pooler.dense.weight"])
    attached.detach()
    assert same(snapshot(model.base_model), before)
    model.bert.pooler.dense.weight.data += 1
    attached.detach()  # does nothing
    assert not torch.equal(model.bert.pooler.dense.weight, before["pooler.dense.weight"])


@pytest.mark.parametrize("bare", [True, False], ids=["without head", "with head"])
def test_the_head_of_a_language_model_is_trained_only_where_the_base_model_lacks_it(
    bare: bool, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", "bert", AutoModel if bare else AutoModelForMaskedLM)
    model = AutoModelForMaskedLM.from_pretrained(base)
    head = {
        f"cls.predictions.{name}"
        for name in (
            *("bias", "transform.dense.weight", "transform.dense.bias"),
            *("transform.LayerNorm.weight", "transform.LayerNorm.bias"),
        )
    }
    attached = insert_adapter(model, "mine", bottleneck_size=8)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in trained if "hubkit" not in name} == (head if bare else set())
    assert any("hubkit" in name for name in trained)
    save_adapter(model, "mine", tmp_path / "saved")
    found = hubkit.Adapter.load(tmp_path / "saved").head
    if not bare:
        assert found is None
        # One that somebody trains goes with the adapter all the same.
        model.cls.requires_grad_(True)
        with torch.no_grad():
            model.cls.predictions.bias += 1
        save_adapter(model, "mine", tmp_path / "saved")
        found = hubkit.Adapter.load(tmp_path / "saved").head
    assert found is not None
    assert set(found.tensors) == head | {"cls.predictions.decoder.bias"}
    assert (found.labels, found.outputs) == ((), None)
    attached.detach()


def test_a_frozen_head_of_a_language_model_that_changed_is_refused(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", "bert", AutoModelForMaskedLM)
    model = AutoModelForMaskedLM.from_pretrained(base)
    insert_adapter(model, "mine", bottleneck_size=8)
    model.cls.predictions.bias.data += 1
    with pytest.raises(AdapterError, match=r"cls\.predictions\.bias.* of the base model changed"):
        save_adapter(model, "mine", tmp_path / "saved")


def test_what_was_trained_can_be_frozen_again() -> None:
    model = tiny_classifier()
    one, other = parts_of(model)[:2]
    with attach(model, Stack(one, other)):
        train_only(model, one)
        train_only(model, other)
        check_that_only_these_train(model.train(), other)


def test_a_folded_model_is_unfolded_and_trained() -> None:
    model = tiny_classifier()
    fusion = random_fusion(parts_of(model))
    with attach(model, fusion):
        run(model)
        nodes = [m for m in getattr(model, SUBMODULE).modules() if isinstance(m, Foldable)]
        assert nodes
        assert all(node._kept is not None for node in nodes)
        outputs, state = run(model), snapshot(model)
        train_only(model, fusion)
        check_that_only_these_train(model.train(), fusion)
        assert all(node._kept is None for node in nodes)
        # What is folded anew is what has been learned.
        trained = run(model.eval())
        assert (trained - outputs).abs().max().item() > 0.01
        assert not same(snapshot(model), state)
    unfolded = tiny_classifier()
    unfolded.load_state_dict(
        {n: t for n, t in snapshot(model).items() if not n.startswith(SUBMODULE)}
    )
    for node in fusion.layers.values():
        node.query.register_forward_hook(lambda *_: None)  # Whoever listens sees the plain form.
    with attach(unfolded, fusion):
        torch.testing.assert_close(run(unfolded), trained, rtol=0, atol=1e-5)


def test_in_eval_mode_a_folded_model_is_trained_too() -> None:
    model = tiny_classifier()
    fusion = random_fusion(parts_of(model))
    with attach(model, fusion):
        run(model)
        train_only(model, fusion)
        check_that_only_these_train(model, fusion)


@pytest.mark.parametrize("architecture", ["gpt2", "t5", "llama", "vit"])
def test_a_bare_backbone_trains_what_is_named_alone(architecture: str) -> None:
    model = tiny_model(architecture)
    parts = parts_of(model)
    fusion = random_fusion(parts)
    with attach(model, fusion):
        train_only(model, fusion, parts[1])
        trained = {id(p) for p in model.parameters() if p.requires_grad}
        assert trained == weights_of(fusion, parts[1])


@pytest.mark.parametrize("method", ["seq_bn", "lora"])
def test_nothing_below_the_lowest_trained_layer_is_kept_for_the_backward_pass(method: str) -> None:
    def trained(layers: int, leave_out: tuple[int, ...]) -> tuple[list[bool], int]:
        model = tiny_classifier(num_hidden_layers=layers).train()
        with attach(model, adapter_of_kind(model, method, leave_out=leave_out)) as attached:
            train_only(model, attached.composition)
            kept: list[Tensor] = []
            learns: list[bool] = []
            for module in (model.bert.embeddings, *model.bert.encoder.layer):
                module.register_forward_hook(lambda *given: learns.append(given[2].requires_grad))
            with saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):  # type: ignore[func-returns-value]
                model(**tiny_batch()).loss.backward()
            return learns, len(kept)

    learns, kept = trained(4, (0, 1))
    assert learns == [False, False, False, True, True]
    # Those of a model without the two layers below.
    assert kept == trained(2, ())[1]
