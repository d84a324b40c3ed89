"""A fresh registry, and folders to publish in it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import registry
from registry import Catalog, Folder, Manifest, open_catalog, read_folder, write_manifest

BASE = {
    "id": "sentence-transformers/all-MiniLM-L6-v2",
    "architecture": "BertModel",
    "hidden_size": 384,
    "num_layers": 6,
    "fingerprint": "ab" * 32,
}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "registry")


@pytest.fixture
def other_catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "other-registry")


@pytest.fixture
def make_manifest() -> Callable[..., Manifest]:
    """Build a small manifest; any field can be given."""

    def make(**fields: Any) -> Manifest:
        defaults = {"kind": "adapter", "method": {"type": "seq_bn"}, "base_model": BASE}
        return Manifest.model_validate(defaults | fields)

    return make


@pytest.fixture
def make_folder(tmp_path: Path, make_manifest: Callable[..., Manifest]) -> Callable[..., Folder]:
    """Write an adapter's folder; every one holds other bytes unless `content` is given."""
    numbers = count(1)

    def make(*, content: bytes | None = None, **fields: Any) -> Folder:
        number = next(numbers)
        path = tmp_path / f"folder-{number}"
        (path / "head").mkdir(parents=True)
        (path / "adapter_config.json").write_text(json.dumps({"r": 8}))
        (path / "head" / "weights.bin").write_bytes(
            b"weights %d" % number if content is None else content
        )
        write_manifest(path, make_manifest(**fields))
        return read_folder(path)

    return make


@pytest.fixture
def start_python() -> Callable[..., "subprocess.Popen[str]"]:
    """Start a Python process that can import this registry."""

    def start(script: str, *arguments: object) -> "subprocess.Popen[str]":
        root = str(Path(registry.__file__).parents[1])
        return subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
