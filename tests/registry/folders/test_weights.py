"""NaN and infinity are found in every dtype, wherever they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from registry.errors import FolderError
from registry.folders import weights
from registry.folders.weights import examine_weights

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_found_by_its_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, value: float
) -> None:
    monkeypatch.setattr(weights, "_CHUNK", 16)
    path = tmp_path / "x.safetensors"
    for place in (0, 1, 13, 36):
        weight = torch.zeros(37).to(dtype)
        weight[place] = value
        save_file({"before": torch.ones(3), "weight": weight}, path)
        with pytest.raises(FolderError, match=r"x\.safetensors: the tensor 'weight' holds NaN"):
            examine_weights(path).require_finite(path)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float8_e4m3fn], ids=str)
def test_the_largest_and_the_smallest_numbers_are_finite(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    limits = torch.finfo(dtype)
    numbers = [limits.max, limits.min, limits.tiny, 0.0, -0.0, 1.0]
    weight = torch.tensor(numbers, dtype=torch.float64).to(dtype)
    save_file({"weight": weight, "none": torch.zeros(0)}, tmp_path / "x.safetensors")
    assert examine_weights(tmp_path / "x.safetensors").not_finite is None


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_adapter_that_multiplies_by_zero_alone_changes_nothing(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    path, zeros = tmp_path / "x.safetensors", torch.tensor([0.0, -0.0, 0.0])
    tensors = {
        "q.lora_A.weight": torch.ones(3).to(dtype),
        "q.lora_B.weight": zeros.to(dtype),
        "v.lora_B.weight": torch.zeros(5).to(dtype),
    }
    save_file(tensors, path)
    assert examine_weights(path).changes_nothing
    tensors["v.lora_B.weight"][3] = torch.finfo(dtype).smallest_normal
    save_file(tensors, path)
    assert not examine_weights(path).changes_nothing


def test_a_file_is_hashed_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"b": torch.arange(3.0), "a": torch.arange(700_000.0)}, path)
    info = examine_weights(path).info
    content = path.read_bytes()
    assert (info.sha256, info.size) == (hashlib.sha256(content).hexdigest(), len(content))


def test_bits_of_other_types_mean_nothing(tmp_path: Path) -> None:
    save_file({"ids": torch.full((9,), -1)}, tmp_path / "x.safetensors")
    assert examine_weights(tmp_path / "x.safetensors").not_finite is None
