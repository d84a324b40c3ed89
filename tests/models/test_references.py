"""hubkit against the libraries that adapters come from; see tests/fixtures/README.md."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, GPT2LMHeadModel

from hubkit import Stack, attach, collapse, merge
from hubkit.models.head import set_head
from registry.errors import CompositionError
from tests.support.models import PEFT_REFERENCES, REFERENCED, REFERENCES, reference_outputs, run
from tests.support.references import (
    APART,
    CASES,
    base,
    case_names,
    cases,
    check_close,
    folders,
    in_folder,
    param,
    shares_positions,
)


def composition_of(folder: Path, case: str) -> Any:
    return CASES[case](partial(in_folder, folder))


@pytest.mark.parametrize(
    ("folder", "case"),
    [param(folder, case) for folder in folders() if folder not in APART for case in cases(folder)],
)
def test_outputs_are_those_of_the_library(folder: Path, case: str) -> None:
    inputs, expected = reference_outputs(folder)
    model = base(folder.parent.name)
    with attach(model, composition_of(folder, case)):
        if shares_positions(folder, case):
            with pytest.raises(CompositionError, match="computes it once for several rows"):
                run(model, inputs)
            return
        found = run(model, inputs)
    check_close(found, expected[case])
    plain = run(model, inputs)
    if "base" in expected:
        check_close(plain, expected["base"])
    assert (found - plain).abs().max().item() > 0.01


@pytest.mark.parametrize(
    "folder",
    [
        param(folder)
        for folder in folders()
        if {"mix", "cat_03_07"} & case_names(folder) or folder.name.startswith("par_bn")
    ],
)
def test_a_mix_that_is_made_one_adapter_is_still_the_mix_of_the_library(folder: Path) -> None:
    inputs, expected = reference_outputs(folder)
    case = next(name for name in ("mix", "cat_03_07", "average") if name in expected)
    model = base(folder.parent.name)
    with attach(model, collapse(composition_of(folder, case))):
        check_close(run(model, inputs), expected[case])


@pytest.mark.parametrize(
    ("folder", "case"),
    [
        param(folder, case)
        for folder in folders()
        for case in sorted({"a", "cat_03_07", "merged_a", "mix"} & case_names(folder))
        if case != "mix" or folder.name == "lora"
    ],
)
def test_lora_in_the_weights_of_the_base_gives_the_outputs_of_the_library(
    folder: Path, case: str
) -> None:
    inputs, expected = reference_outputs(folder)
    model = base(folder.parent.name)
    plain = run(model, inputs)
    with merge(model, composition_of(folder, case)):
        check_close(run(model, inputs), expected[case])
    assert torch.equal(run(model, inputs), plain)


@pytest.mark.parametrize("architecture", ["deberta-v2"])
@pytest.mark.parametrize("source", [REFERENCES, PEFT_REFERENCES])
def test_rows_that_share_positions_can_be_run_one_by_one(source: Path, architecture: str) -> None:
    folder = source / architecture / "lora"
    inputs, expected = reference_outputs(folder)
    case = "batchsplit" if source == REFERENCES else "mixed_batch_a_b_base"
    model = base(architecture)
    names = ("a", "b", "c" if source == REFERENCES else None)
    for row, name in enumerate(names):
        one = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        if name is None:
            found = run(model, one)
        else:
            with attach(model, in_folder(folder, name)):
                found = run(model, one)
        check_close(found, expected[case][row : row + 1])


@pytest.mark.parametrize("adapter_name", ["language", "stack"])
def test_the_words_of_a_language_adapter_are_those_of_the_library(adapter_name: str) -> None:
    folder = REFERENCES / "gpt2" / "madx"
    inputs, expected = reference_outputs(folder)
    composition: Any = in_folder(folder, "language")
    if adapter_name == "stack":
        composition = Stack(composition, in_folder(folder, "task"))
    model = GPT2LMHeadModel.from_pretrained(REFERENCES / "gpt2" / "base").eval()
    check_close(run(model, inputs), expected["base_logits"])
    with attach(model, composition):
        check_close(run(model, inputs), expected[f"{adapter_name}_logits"])
        check_close(run(model.base_model, inputs), expected[adapter_name])
    check_close(run(model, inputs), expected["base_logits"])
    with attach(base("gpt2"), composition):
        check_close(run(base("gpt2"), inputs), expected[adapter_name])


def test_a_classifier_that_was_saved_with_its_lora_gives_the_logits_of_the_library() -> None:
    folder = PEFT_REFERENCES / "bert" / "seq_cls"
    inputs, expected = reference_outputs(folder)
    source = in_folder(folder, "a")
    assert source.head is not None
    model = AutoModelForSequenceClassification.from_pretrained(
        REFERENCES / "bert" / "base", num_labels=3
    ).eval()
    set_head(model, source.head)
    without = run(model, inputs)
    with attach(model, source):
        check_close(run(model, inputs), expected["logits"])
    assert (without - expected["logits"]).abs().max().item() > 0.1


def test_every_architecture_and_every_folder_is_held_to() -> None:
    assert {one.name for one in REFERENCES.iterdir()} == set(REFERENCED)
    assert set(folders()) > APART
    assert all(set(cases(folder)) <= CASES.keys() for folder in set(folders()) - APART)
    assert all(cases(folder) for folder in folders())
