"""LoRA that hubkit writes, read and run by the library ``peft`` itself."""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from hubkit import Adapter, Mix, attach, collapse
from hubkit.bases.describe import describe
from hubkit.methods.table import new_method
from hubkit.models.head import head_of
from hubkit.nn.host import BaseModel
from tests.support.models import (
    inputs_for,
    random_adapter,
    randomize,
    run,
    tiny_classifier,
    tiny_inputs,
    tiny_model,
)

peft: Any = pytest.importorskip("peft")

ARCHITECTURES = ("bert", "distilbert", "deberta-v2", "gpt2", "llama", "t5", "bart", "vit")
PARAMETERS: dict[str, dict[str, Any]] = {
    "plain": {"rank": 3, "alpha": 5},
    "rslora": {"rank": 4, "alpha": 3, "use_rslora": True},
    "patterns": {
        "rank": 2,
        "target_modules": ("query", "key", "output.dense"),
        "rank_pattern": {"key": 5, r"layer\.1\.output\.dense": 1},
        "alpha_pattern": {"query": 2.5},
    },
    "all": {"rank": 2, "target_modules": "all-linear", "bias": True},
    "left out": {"rank": 2, "leave_out": (0,)},
}


def lora(model: PreTrainedModel, **parameters: Any) -> Adapter:
    """A frozen adapter in which no tensor has its initial value."""
    adapter = Adapter.create(model, "mine", new_method("lora", BaseModel(model), **parameters))
    for index, module in enumerate(adapter.modules()):
        randomize(module, index)
        module.requires_grad_(False)
    return replace(adapter, base=describe(model))


def by_peft(model: PreTrainedModel, folder: Path, inputs: dict[str, Tensor]) -> Tensor:
    """What the library computes; it changes the model that it is given, so this is a copy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own use of transformers
        adapted = peft.PeftModel.from_pretrained(deepcopy(model), str(folder)).eval()
    with torch.no_grad():
        output: Tensor = adapted(**inputs)[0]
    return output


def assert_read_alike(adapter: Adapter, model: PreTrainedModel, folder: Path) -> None:
    inputs = inputs_for(model)
    with attach(model, adapter):
        expected = run(model, inputs)
    adapter.save(folder)
    found = by_peft(model, folder, inputs)
    tolerance = 1e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    assert (found - run(model, inputs)).abs().max().item() > 0.01


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_peft_computes_the_same_on_every_architecture(architecture: str, tmp_path: Path) -> None:
    model = tiny_model(architecture)
    assert_read_alike(lora(model, rank=3, alpha=5), model, tmp_path)


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_peft_computes_the_same_with_every_parameter(
    parameters: dict[str, Any], tmp_path: Path
) -> None:
    model = tiny_model()
    assert_read_alike(lora(model, **parameters), model, tmp_path)


def test_peft_computes_the_same_of_a_collapsed_mix(tmp_path: Path) -> None:
    model = tiny_model()
    parts = [random_adapter(model, name, "lora", seed=s) for s, name in enumerate("ab")]
    adapter = collapse(Mix(*parts, weights=[0.3, -1.5]))
    assert_read_alike(replace(adapter, base=describe(model)), model, tmp_path)


def test_peft_loads_the_head_too(tmp_path: Path) -> None:
    model = tiny_classifier()
    adapter = replace(lora(model, rank=2), head=head_of(model))
    with attach(model, adapter):
        expected = run(model)
    adapter.save(tmp_path)
    other_head = tiny_classifier()
    randomize(other_head.classifier, 8)  # type: ignore[arg-type]
    torch.testing.assert_close(by_peft(other_head, tmp_path, tiny_inputs()), expected)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bart", "t5"])
def test_peft_loads_the_lora_of_a_language_model_in_that_model(
    architecture: str, tmp_path: Path
) -> None:
    decoder = architecture in ("gpt2", "llama")
    auto_class = AutoModelForCausalLM if decoder else AutoModelForSeq2SeqLM
    model = tiny_model(architecture, auto_class)
    inputs = inputs_for(model)
    lora(model, rank=3, alpha=5).save(tmp_path / "a")
    read = replace(Adapter.load(tmp_path / "a"), base=describe(model))
    with attach(model, read):
        expected = run(model, inputs)
    read.save(tmp_path / "b")
    for folder in ("a", "b"):
        found = by_peft(model, tmp_path / folder, inputs)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
