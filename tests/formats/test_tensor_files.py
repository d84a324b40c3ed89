from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hubkit.formats.tensor_files import read_json, read_tensors, write_json, write_tensors
from registry.errors import AdapterError, StorageError


class RunsCode:
    """A pickle that would make a folder when it is loaded."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.proof),)


def test_tensors_come_back_with_the_same_bits(tmp_path: Path) -> None:
    tensors = {
        "b": torch.randn(3, 4).T,  # not contiguous
        "a": torch.tensor([0.1, -0.0, 1e-45], dtype=torch.float32),
        "c": torch.randn(2).to(torch.bfloat16),
    }
    path = tmp_path / "new" / "w.safetensors"
    write_tensors(path, tensors)
    found = read_tensors(tmp_path / "new", "w.safetensors", "w.bin")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert torch.signbit(found["a"]).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_eight_bits_are_widened(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a": torch.tensor([0.5, -3.0, 0.0]).to(dtype)}
    save_file(tensors, tmp_path / "w.safetensors")
    torch.save(tensors, tmp_path / "v.bin")
    with torch.device("meta"):
        assert read_tensors(tmp_path, "w.safetensors", "w.bin")["a"].dtype == torch.float32
    for name in ("w", "v"):
        found = read_tensors(tmp_path, f"{name}.safetensors", f"{name}.bin")["a"]
        assert found.dtype == torch.float32
        assert found.tolist() == [0.5, -3.0, 0.0]


def test_the_order_of_the_names_does_not_change_the_bytes(tmp_path: Path) -> None:
    one, other = torch.ones(2), torch.zeros(3)
    write_tensors(tmp_path / "1", {"a": one, "b": other})
    write_tensors(tmp_path / "2", {"b": other, "a": one})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_safetensors_are_preferred_to_a_pickle(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.bin")
    assert read_tensors(tmp_path, "w.safetensors", "w.bin")["a"].item() == 1.0
    (tmp_path / "w.safetensors").unlink()
    assert read_tensors(tmp_path, "w.safetensors", "w.bin")["a"].item() == 0.0


def test_missing_weights_name_both_files(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"holds neither w\.safetensors nor w\.bin"):
        read_tensors(tmp_path, "w.safetensors", "w.bin")


@pytest.mark.parametrize("keep", [0, 7, 40, -1])
def test_a_truncated_safetensors_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(4)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(AdapterError, match=r"w\.safetensors is not a safetensors file"):
        read_tensors(tmp_path, "w.safetensors", "w.bin")


def test_a_pickle_that_runs_code_is_refused_without_running_it(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    torch.save({"a": RunsCode(proof)}, tmp_path / "w.bin")
    with pytest.raises(AdapterError, match=r"could run code: .*, found \w+\.mkdir\. ") as caught:
        read_tensors(tmp_path, "w.safetensors", "w.bin")
    assert not proof.exists()
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"<!DOCTYPE html>",
        b"PK\x03\x04half a zip",
        pickle.dumps({"a": 1}, protocol=2)[:-3],
        pickle.dumps({"a": 1}, protocol=4),
    ],
)
def test_a_damaged_pickle_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.bin").write_bytes(content)
    with pytest.raises(AdapterError, match=r"w\.bin (is damaged|does not hold)") as caught:
        read_tensors(tmp_path, "w.safetensors", "w.bin")
    assert "run code" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, torch.ones(2)])
def test_a_pickle_of_something_else_is_named(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.bin")
    with pytest.raises(AdapterError, match=r"w\.bin does not hold named tensors"):
        read_tensors(tmp_path, "w.safetensors", "w.bin")


def test_json_is_indented_and_sorted(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "c.json", {"b": 1, "a": {"d": None, "c": "é"}})
    text = (tmp_path / "deep" / "c.json").read_text()
    assert text == '{\n  "a": {\n    "c": "\\u00e9",\n    "d": null\n  },\n  "b": 1\n}\n'
    assert read_json(tmp_path / "deep" / "c.json") == {"b": 1, "a": {"d": None, "c": "é"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no c.json"),
        (b"{", "c.json is not JSON"),
        (b"\xff\xfe", "c.json is not JSON"),
        (b"[1]", "c.json holds a list; expected a JSON object"),
    ],
)
def test_json_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(AdapterError) as caught:
        read_json(tmp_path / "c.json")
    assert message in str(caught.value)


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"c\.json cannot be written"):
        write_json(tmp_path / "file" / "c.json", {})
    with pytest.raises(StorageError, match=r"w\.safetensors cannot be written"):
        write_tensors(tmp_path / "file" / "w.safetensors", {"a": torch.ones(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
