from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from hubkit import Stack, attach
from hubkit.formats.heads import Head
from hubkit.models.head import head_of, head_tensors, set_head
from registry.errors import AdapterError
from tests.support.models import (
    random_adapter,
    same,
    snapshot,
    tiny_classifier,
    tiny_inputs,
    tiny_model,
)


def test_a_head_is_what_lies_outside_the_backbone() -> None:
    expected = {
        "bert": {"classifier.weight", "classifier.bias"},
        "roberta": {
            f"classifier.{layer}.{name}"
            for layer in ("dense", "out_proj")
            for name in ("weight", "bias")
        },
        "distilbert": {
            f"{layer}.{name}"
            for layer in ("pre_classifier", "classifier")
            for name in ("weight", "bias")
        },
    }
    for architecture, names in expected.items():
        model = tiny_classifier(architecture)
        assert set(head_tensors(model)) == names
        with attach(model, random_adapter(model)):
            assert set(head_tensors(model)) == names
    assert head_of(tiny_model()) is None


def test_a_head_is_a_copy() -> None:
    model = tiny_classifier()
    head = head_of(model)
    assert head is not None
    before = {name: tensor.clone() for name, tensor in head.tensors.items()}
    with torch.no_grad():
        model.classifier.weight.zero_()
    assert same(dict(head.tensors), before)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"classifier.weight": (2, 16)}, "no weights for classifier.bias of BertFor"),
        (
            {"classifier.weight": (3, 16), "classifier.bias": (3,)},
            r"classifier.weight of shape \(3, 16\), which has the shape \(2, 16\) in the head of",
        ),
        (
            {"classifier.weight": (2, 16), "classifier.bias": (2,), "classifier.bais": (2,)},
            r"classifier.bais of shape \(2,\), which is no part in the head of BertFor",
        ),
    ],
    ids=["missing", "other shape", "unknown"],
)
def test_a_head_of_another_form_is_refused_and_nothing_written(
    tensors: dict[str, tuple[int, ...]], message: str
) -> None:
    model = tiny_classifier()
    before = snapshot(model)
    weights = {name: torch.ones(shape) for name, shape in tensors.items()}
    with pytest.raises(AdapterError, match=message) as info:
        set_head(model, Head("OtherForSequenceClassification", ("x", "y"), weights, "bert"))
    assert "OtherForSequenceClassification" in str(info.value)
    assert same(snapshot(model), before)


def test_what_the_base_model_has_of_a_head_need_not_be_in_the_adapter() -> None:
    model = tiny_classifier("modernbert")
    weights = {"classifier.weight": torch.ones(2, 16), "classifier.bias": torch.ones(2)}
    inherited = {name: p.clone() for name, p in head_tensors(model).items()}
    head = Head(None, ("x", "y"), weights, "model")
    with pytest.raises(AdapterError, match=r"no weights for head\.dense\.weight, head\.norm"):
        set_head(model, head)
    set_head(model, head, new=weights.keys())
    assert same(dict(head_tensors(model)), {**inherited, **weights})


@pytest.mark.parametrize("architecture", ["modernbert", "deberta-v2"])
def test_what_was_read_from_the_base_model_of_a_head_stays(
    architecture: str, tmp_path: Path
) -> None:
    tiny_classifier(architecture).save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    weights = {"classifier.weight": torch.ones(2, 16), "classifier.bias": torch.ones(2)}
    inherited = {name: p.clone() for name, p in head_tensors(model).items()}
    assert inherited.keys() > weights.keys()
    set_head(model, Head(None, ("x", "y"), weights, model.base_model_prefix))
    assert same(dict(head_tensors(model)), {**inherited, **weights})


def test_what_was_not_read_from_the_base_model_of_a_head_has_to_be_in_the_adapter(
    tmp_path: Path,
) -> None:
    tiny_model("modernbert").save_pretrained(tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    weights = {"classifier.weight": torch.ones(2, 16), "classifier.bias": torch.ones(2)}
    with pytest.raises(AdapterError, match=r"no weights for head\.dense\.weight, head\.norm"):
        set_head(model, Head(None, ("x", "y"), weights, "model"))


@pytest.mark.parametrize(
    ("tensors", "lacks"),
    [
        ({"classifier.weight": (2, 16)}, "classifier.bias"),
        (
            {
                "classifier.weight": (2, 16),
                "classifier.bias": (2,),
                "bert.pooler.dense.bias": (16,),
            },
            "bert.pooler.dense.weight",
        ),
    ],
)
def test_a_part_of_a_module_is_not_completed_by_the_base_models(
    tensors: dict[str, tuple[int, ...]], lacks: str
) -> None:
    model = tiny_classifier()
    before = snapshot(model)
    weights = {name: torch.ones(shape) for name, shape in tensors.items()}
    with pytest.raises(AdapterError, match=rf"no weights for {lacks} of BertFor"):
        set_head(model, Head(None, ("x", "y"), weights, "bert"), new=())
    assert same(snapshot(model), before)


def test_t5_holds_its_head_for_answers_beside_the_backbone() -> None:
    model = tiny_model("t5", AutoModelForQuestionAnswering)
    assert set(head_tensors(model)) == {"qa_outputs.weight", "qa_outputs.bias"}
    assert head_of(tiny_model("t5", AutoModelForSeq2SeqLM)) is None


def test_a_model_that_keeps_a_head_of_its_own_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    trained, other = tiny_classifier(), tiny_classifier(seed=1)
    head = head_of(trained)
    assert head is not None
    adapter = replace(random_adapter(other), head=head)
    inputs = tiny_inputs()
    with attach(trained, adapter, allow_base_mismatch=True):
        assert caplog.messages == []
    with attach(tiny_model(), adapter):  # has no place for it
        assert caplog.messages == []
    for composition in (adapter, Stack(random_adapter(other), adapter)):
        caplog.clear()
        with attach(other, composition):
            assert "hubkit.set_head(model, adapter.head)" in caplog.text
    with attach(other, adapter):
        random = other(**inputs).logits
        set_head(other, adapter.head)
        logits = other(**inputs).logits
    assert not torch.equal(logits, random)
    caplog.clear()
    with attach(other, adapter):
        assert torch.equal(other(**inputs).logits, logits)
    assert caplog.messages == []


def test_a_model_calls_its_outputs_as_the_head_does() -> None:
    trained = tiny_classifier(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    trained.config.problem_type = "multi_label_classification"
    other = tiny_classifier(seed=1)
    head = head_of(trained)
    assert head is not None
    set_head(other, head)
    assert other.config.id2label == {0: "no", 1: "yes"}
    assert other.config.label2id == {"no": 0, "yes": 1}
    assert other.config.problem_type == "multi_label_classification"
    assert other.config.num_labels == 2


def test_one_output_is_a_number_and_has_no_label() -> None:
    model = tiny_model("bert", AutoModelForSequenceClassification, num_labels=1)
    head = head_of(model)
    assert head is not None
    assert (head.labels, head.outputs, head.problem_type) == ((), 1, "regression")
    other = tiny_model("bert", AutoModelForSequenceClassification, seed=1, num_labels=1)
    set_head(other, head)
    assert (other.config.problem_type, other.config.num_labels) == ("regression", 1)


def test_the_words_of_a_t5_that_a_head_repeats_are_its_embeddings() -> None:
    model = tiny_model("t5", AutoModelForSeq2SeqLM)
    words = {"lm_head.weight": model.get_input_embeddings().weight.detach().clone()}
    head = Head(model_class="T5ForConditionalGeneration", labels=(), tensors=words, backbone="")
    set_head(model, head)
    changed = replace(head, tensors={"lm_head.weight": words["lm_head.weight"] + 1})
    with pytest.raises(AdapterError, match=r"makes words by lm_head\.weight, which in a T5"):
        set_head(model, changed)
