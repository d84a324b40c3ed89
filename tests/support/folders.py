"""Adapters' folders to read, and ways to break them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support.models import REFERENCED

Tensors = dict[str, Tensor]
# What AdapterHub puts before the names of a model that has a head.
PREFIXES = dict.fromkeys(REFERENCED, "model") | {
    name: name for name in ("bert", "roberta", "distilbert", "electra", "mpnet", "vit")
}
PREFIXES |= {
    "xlm-roberta": "roberta",
    "deberta-v2": "deberta",
    **dict.fromkeys(("gpt2", "t5", "mt5"), "transformer"),
}


def without_prefix(name: str, architecture: str) -> str:
    """A tensor's name in a model without a head."""
    return name.removeprefix(f"{PREFIXES[architecture]}.")


def options_in(folder: Path, file: str = "adapter_config.json") -> dict[str, Any]:
    """What a JSON file holds."""
    options: dict[str, Any] = json.loads((folder / file).read_text())
    return options


def edit_json(folder: Path, file: str = "adapter_config.json", **content: Any) -> None:
    """Put other values into a JSON file."""
    (folder / file).write_text(json.dumps(options_in(folder, file) | content))


def edit_options(folder: Path, file: str = "adapter_config.json", **options: Any) -> None:
    """Put other values into the object under "config"."""
    edit_json(folder, file, config=options_in(folder, file)["config"] | options)


def edit_tensors(
    folder: Path, change: Callable[[Tensors], None], file: str = "adapter.safetensors"
) -> None:
    """Let `change` change what a file of tensors holds."""
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file)


def drop(name: str) -> Callable[[Tensors], None]:
    """Take a tensor out."""
    return lambda tensors: tensors.__delitem__(name)


def put(name: str, tensor: Tensor) -> Callable[[Tensors], None]:
    """Put a tensor in, or in the place of another."""
    return lambda tensors: tensors.update({name: tensor})


def nan_at(name: str, value: float) -> Callable[[Tensors], None]:
    """Put `value` into a tensor."""

    def change(tensors: Tensors) -> None:
        tensors[name].view(-1)[3] = value

    return change
