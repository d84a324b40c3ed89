"""Pickles that take much more than weights of their size do. tests/sharing/test_pickles.py has the
rest: what becomes of a folder with pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hubkit.formats import pickles
from hubkit.formats.pickles import convert
from registry.errors import AdapterError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the child, as for users; other tests fork it."""
    monkeypatch.setattr(pickles, "subprocess", subprocess)


def write_compressed(path: Path, mebibytes: int) -> None:
    """Write weights in an archive whose tensor is packed, and `mebibytes` large when unpacked."""
    plain = path.with_suffix(".plain")
    torch.save({"a": torch.zeros(4)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            large = entry.filename.endswith("/data/0")
            new.writestr(
                entry.filename, bytes(mebibytes << 20) if large else old.read(entry.filename)
            )


def write_strides(path: Path) -> None:
    """Write a tensor that repeats one number 10 ** 11 times."""
    torch.save({"a": torch.zeros(1).as_strided((400_000, 250_000), (0, 0))}, path)


def write_doubling(path: Path) -> None:
    """Write a key whose hash takes 2 ** 60 steps: each tuple holds the one before it twice."""
    key: tuple[object, ...] = ()
    for _ in range(60):
        key = (key, key)
    # As a dictionary with that key cannot be made, its pickle is put together by hand.
    tuples = b"\x80\x02}(" + pickle.dumps(key, protocol=2)[2:-1] + b"K\x00u."
    path.write_bytes(tuples)


def test_an_archive_that_is_compressed_is_refused(tmp_path: Path) -> None:
    write_compressed(tmp_path / "w.bin", 64)
    with pytest.raises(AdapterError, match=r"w\.bin is refused: it has \d+ bytes, but its tensors"):
        convert(tmp_path / "w.bin", tmp_path / "w.safetensors", {})
    assert not (tmp_path / "w.safetensors").exists()


def test_a_tensor_that_claims_more_than_its_file_is_refused(tmp_path: Path) -> None:
    write_strides(tmp_path / "w.bin")
    with pytest.raises(AdapterError, match="its tensors would take 400000000000"):
        convert(tmp_path / "w.bin", tmp_path / "w.safetensors", {})


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are those of Linux")
def test_a_pickle_that_never_ends_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickles, "SECONDS", 1)
    write_doubling(tmp_path / "w.bin")
    with pytest.raises(AdapterError, match="more memory or time than weights"):
        convert(tmp_path / "w.bin", tmp_path / "w.safetensors", {})


@pytest.mark.usefixtures("started")
def test_what_says_nothing_of_the_weights_is_not_said_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.zeros(4)}, tmp_path / "w.bin")
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "w.bin", tmp_path / "missing" / "w.safetensors", {})
    stopped = tmp_path / "stopped.py"
    stopped.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    monkeypatch.setattr(pickles, "_CHILD", stopped)
    with pytest.raises(InterruptedError):
        convert(tmp_path / "w.bin", tmp_path / "w.safetensors", {})


@pytest.mark.usefixtures("started")
def test_tensors_that_share_a_part_of_their_memory_are_taken(tmp_path: Path) -> None:
    whole = torch.arange(4096.0).reshape(64, 64)
    torch.save(OrderedDict(all=whole, again=whole, row=whole[3]), tmp_path / "w.bin")
    convert(tmp_path / "w.bin", tmp_path / "w.safetensors", {"note": "é"})
    found = load_file(tmp_path / "w.safetensors")
    assert torch.equal(found["again"], whole)
    assert torch.equal(found["row"], whole[3])


def test_weights_of_an_old_release_of_torch_are_taken(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "w.bin", _use_new_zipfile_serialization=False)
    convert(tmp_path / "w.bin", tmp_path / "w.safetensors", {})
    assert load_file(tmp_path / "w.safetensors")["a"].tolist() == [1, 1, 1]
