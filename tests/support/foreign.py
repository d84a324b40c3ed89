"""Folders of other libraries, to be changed: copies of the reference files, and parts of them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[1] / "fixtures"
PEFT = FIXTURES / "peft" / "bert"
ADAPTERHUB = FIXTURES / "adapterhub" / "roberta"
BERT = FIXTURES / "adapterhub" / "bert"
BASE = BERT / "base"
HEAD = BERT / "heads" / "topic"


def copy(source: Path, target: Path) -> Path:
    """A copy whose files may be changed."""
    return Path(shutil.copytree(source, target))


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file; `change` returns the new content, or changes what it gets."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def write_tensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A sound safetensors file of zeros."""
    header, start = {}, 0
    for name, shape in shapes.items():
        end = start + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + bytes(start))


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file, read without the code that is tested."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {name: tuple(one["shape"]) for name, one in header.items() if name != "__metadata__"}


def reshape(path: Path, change: Callable[[dict[str, tuple[int, ...]]], Any]) -> None:
    """Change names and shapes in a safetensors file; its values become zeros."""
    shapes = read_shapes(path)
    write_tensors(path, change(shapes) or shapes)
