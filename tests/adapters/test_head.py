from __future__ import annotations

import pytest
import torch

from hubkit import attach
from hubkit.adapters.head import head_of, head_parameters, set_head
from hubkit.formats.heads import Head
from registry.errors import AdapterError
from tests.support.models import (
    random_adapter,
    same,
    snapshot,
    tiny_classifier,
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
        assert set(head_parameters(model)) == names
        with attach(model, random_adapter(model)):
            assert set(head_parameters(model)) == names
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
    "tensors",
    [
        {"classifier.weight": torch.ones(2, 16)},
        {"classifier.weight": torch.ones(3, 16), "classifier.bias": torch.ones(3)},
        {"classifier.weight": torch.ones(2, 16), "classifier.bais": torch.ones(2)},
    ],
)
def test_a_head_of_another_form_is_refused_and_nothing_written(
    tensors: dict[str, torch.Tensor],
) -> None:
    model = tiny_classifier()
    before = snapshot(model)
    with pytest.raises(AdapterError, match="The head of BertForSequenceClassification has") as info:
        set_head(model, Head("OtherForSequenceClassification", ("x", "y"), tensors, "bert"))
    assert "OtherForSequenceClassification" in str(info.value)
    assert same(snapshot(model), before)
