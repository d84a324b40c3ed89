"""hubkit against the libraries that adapters come from; see tests/fixtures/README.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForSequenceClassification, GPT2LMHeadModel, PreTrainedModel

from hubkit import Adapter, Batch, Fusion, Mix, Stack, attach, collapse, merge
from hubkit.adapters.head import set_head
from registry.errors import CompositionError
from tests.support.models import (
    PEFT_REFERENCES,
    REFERENCED,
    REFERENCES,
    reference_base,
    reference_outputs,
    run,
)

# By the name of a case, what hubkit calls it. Nothing changes these adapters or models.
CASES: dict[str, Callable[[Path], Any]] = {
    "single": lambda folder: adapter(folder / "a"),
    "stack": lambda folder: Stack(*adapters(folder, "ab")),
    "mix": lambda folder: Mix(*adapters(folder, "ab"), weights=[0.3, 0.7]),
    "average": lambda folder: Mix(*adapters(folder, "ab"), weights=[0.15, 0.35]),
    "batchsplit": lambda folder: Batch(adapters(folder, "abc")),
    "fuse_dynamic": lambda folder: Fusion.load(folder / "fusion_abc", adapters(folder, "abc")),
    "fuse_static": lambda folder: Fusion.load(folder / "fusion_ab_static", adapters(folder, "ab")),
    "a": lambda folder: adapter(folder / "a"),
    "b": lambda folder: adapter(folder / "b"),
    "merged_a": lambda folder: adapter(folder / "a"),
    "sum_a_b": lambda folder: Stack(*adapters(folder, "ab")),
    "mixed_batch_a_b_base": lambda folder: Batch([*adapters(folder, "ab"), None]),
    "cat_03_07": lambda folder: Mix(*adapters(folder, "ab"), weights=[0.3, 0.7]),
}
# Held elsewhere in this module, or to nothing.
OTHERS = {"base", "logits", "ties_svdless"}
# By method, the cases that the library computes in a way of its own: its average of bottlenecks
# halves the residual too, a stack of parallel adapters drops the first, and a composition of
# invertible adapters goes through the first one's coupling alone.
THEIR_OWN = {
    "seq_bn": {"average"},
    "double_seq_bn": {"average"},
    "par_bn": {"stack"},
    "seq_bn_inv": {"average", "stack", "batchsplit"},
}
# DeBERTa's relative positions go through the query, and all rows share them.
SHARED_POSITIONS = {
    ("deberta-v2", "lora", "batchsplit"),
    ("deberta-v2", "lora", "mixed_batch_a_b_base"),
}


@cache
def adapter(folder: Path) -> Adapter:
    return Adapter.load(folder)


def adapters(folder: Path, names: str) -> list[Adapter]:
    return [adapter(folder / name) for name in names]


@cache
def base(architecture: str) -> PreTrainedModel:
    return reference_base(architecture)


def check_close(found: Tensor, expected: Tensor) -> None:
    tolerance = 1e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def folders() -> Iterator[Path]:
    for source in (REFERENCES, PEFT_REFERENCES):
        for architecture in sorted(source.iterdir()):
            yield from sorted(one for one in architecture.iterdir() if one.name != "base")


def case_names(folder: Path) -> set[str]:
    with safe_open(folder / "expected.safetensors", "pt") as file:
        return {key.removeprefix("out.") for key in [*file.keys()] if key.startswith("out.")}


def param(folder: Path, *others: str) -> Any:
    return pytest.param(folder, *others, id="-".join([*folder.parts[-3:], *others]))


def cases() -> Iterator[Any]:
    for folder in folders():
        if folder.name in ("heads", "madx"):
            continue
        for case in sorted(case_names(folder) - OTHERS):
            if case not in THEIR_OWN.get(folder.name, ()):
                yield param(folder, case)


@pytest.mark.parametrize(("folder", "case"), [*cases()])
def test_outputs_are_those_of_the_library(folder: Path, case: str) -> None:
    inputs, expected = reference_outputs(folder)
    model = base(folder.parent.name)
    with attach(model, CASES[case](folder)):
        if (folder.parent.name, folder.name, case) in SHARED_POSITIONS:
            with pytest.raises(CompositionError, match="relative positions"):
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
    with attach(model, collapse(CASES[case](folder))):
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
    with merge(model, CASES[case](folder)):
        check_close(run(model, inputs), expected[case])
    assert torch.equal(run(model, inputs), plain)


@pytest.mark.parametrize("architecture", ["deberta-v2"])
@pytest.mark.parametrize("source", [REFERENCES, PEFT_REFERENCES])
def test_rows_that_share_positions_can_be_run_one_by_one(source: Path, architecture: str) -> None:
    folder = source / architecture / "lora"
    inputs, expected = reference_outputs(folder)
    case = "batchsplit" if source == REFERENCES else "mixed_batch_a_b_base"
    model = base(architecture)
    parts: list[Adapter | None] = [*adapters(folder, "abc" if source == REFERENCES else "ab")]
    for row, part in zip(range(3), [*parts, None], strict=False):
        one = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        if part is None:
            found = run(model, one)
        else:
            with attach(model, part):
                found = run(model, one)
        check_close(found, expected[case][row : row + 1])


@pytest.mark.parametrize("adapter_name", ["language", "stack"])
def test_the_words_of_a_language_adapter_are_those_of_the_library(adapter_name: str) -> None:
    folder = REFERENCES / "gpt2" / "madx"
    inputs, expected = reference_outputs(folder)
    composition: Any = adapter(folder / "language")
    if adapter_name == "stack":
        composition = Stack(composition, adapter(folder / "task"))
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
    source = adapter(folder / "a")
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
    held = {case.values[0] for case in cases()}
    apart = {
        REFERENCES / "bert" / "heads",  # flexible heads are refused
        REFERENCES / "gpt2" / "madx",
        PEFT_REFERENCES / "bert" / "seq_cls",
    }
    assert set(folders()) == held | apart
