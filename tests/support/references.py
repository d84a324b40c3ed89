"""The reference files: which there are, and what their cases are called in hubkit's words.

tests/fixtures/README.md says what they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from hubkit import Adapter, Batch, Fusion, Mix, Stack
from tests.support.models import PEFT_REFERENCES, REFERENCES, reference_base

Part = Callable[[str], Any]
"""From the name of a folder, such as ``a`` or ``fusion_abc``, to the adapter or fusion in it."""

CASES: dict[str, Callable[[Part], Any]] = {
    "single": lambda part: part("a"),
    "stack": lambda part: Stack(part("a"), part("b")),
    "mix": lambda part: Mix(part("a"), part("b"), weights=[0.3, 0.7]),
    "average": lambda part: Mix(part("a"), part("b"), weights=[0.15, 0.35]),
    "batchsplit": lambda part: Batch([part("a"), part("b"), part("c")]),
    "fuse_dynamic": lambda part: part("fusion_abc"),
    "fuse_static": lambda part: part("fusion_ab_static"),
    "a": lambda part: part("a"),
    "b": lambda part: part("b"),
    "merged_a": lambda part: part("a"),
    "sum_a_b": lambda part: Stack(part("a"), part("b")),
    "mixed_batch_a_b_base": lambda part: Batch([part("a"), part("b"), None]),
    "cat_03_07": lambda part: Mix(part("a"), part("b"), weights=[0.3, 0.7]),
}
APART = {
    REFERENCES / "bert" / "heads",
    REFERENCES / "gpt2" / "madx",
    PEFT_REFERENCES / "bert" / "seq_cls",
    *REFERENCES.glob("*/flexible"),
}
"""Folders whose outputs are logits; tests name them."""

# Held to nothing: another merge, and the base model by itself.
_OTHERS = {"base", "ties_svdless"}
# By method, the cases that the library computes in a way of its own: its average of bottlenecks
# halves the residual too, a stack of parallel adapters drops the first, and a composition of
# invertible adapters goes through the first one's coupling alone.
_THEIR_OWN = {
    "seq_bn": {"average"},
    "double_seq_bn": {"average"},
    "par_bn": {"stack"},
    "seq_bn_inv": {"average", "stack", "batchsplit"},
}
_SHARED_POSITIONS = {"batchsplit", "mixed_batch_a_b_base"}


def folders() -> Iterator[Path]:
    """The folder of each method of each architecture, and of each variant of PEFT."""
    for source in (REFERENCES, PEFT_REFERENCES):
        for architecture in sorted(source.iterdir()):
            yield from sorted(one for one in architecture.iterdir() if one.name != "base")


def case_names(folder: Path) -> set[str]:
    """What the library's outputs in a folder are called."""
    with safe_open(folder / "expected.safetensors", "pt") as file:
        return {key.removeprefix("out.") for key in [*file.keys()] if key.startswith("out.")}


def cases(folder: Path) -> list[str]:
    """The cases of a folder that hubkit is held to."""
    return sorted(case_names(folder) - _OTHERS - _THEIR_OWN.get(folder.name, set()))


def shares_positions(folder: Path, case: str) -> bool:
    """Whether rows cannot choose: DeBERTa's relative positions go through the query for all."""
    return folder.parts[-2:] == ("deberta-v2", "lora") and case in _SHARED_POSITIONS


def param(folder: Path, *others: str, marks: Any = ()) -> Any:
    """A parameter of a test that is called after its folder."""
    return pytest.param(folder, *others, id="-".join([*folder.parts[-3:], *others]), marks=marks)


@cache
def in_folder(folder: Path, name: str) -> Any:
    """The adapter or the fusion of that name, read from its folder. It is not to be changed."""
    names = {"fusion_abc": "abc", "fusion_ab_static": "ab"}.get(name)
    if names is None:
        return Adapter.load(folder / name)
    return Fusion.load(folder / name, [in_folder(folder, part) for part in names])


@cache
def base(architecture: str) -> PreTrainedModel:
    """The base model of an architecture. It is not to be changed."""
    return reference_base(architecture)


def check_close(found: Tensor, expected: Tensor) -> None:
    """At most 1e-5 apart, times the largest output if that is over 1."""
    tolerance = 1e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
