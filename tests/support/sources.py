"""What the files of a foreign adapter's folder say, read without the code that is tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

# Where a bottleneck is: after attention, after feed-forward, or beside it.
_BOTTLENECKS = {
    (False, True, False): "seq_bn",
    (True, True, False): "double_seq_bn",
    (False, True, True): "par_bn",
}


def config_of(folder: Path) -> dict[str, Any]:
    """The configuration of the adapter or the fusion in a folder."""
    (path,) = folder.glob("adapter*_config.json")
    config: dict[str, Any] = json.loads(path.read_text())
    return config


def method_of(folder: Path) -> tuple[str, dict[str, Any]]:
    """What hubkit calls the method, and what the configuration says of its sizes."""
    config = config_of(folder)
    if "peft_type" in config:
        assert config["peft_type"] == "LORA"
        return "lora", {"rank": config["r"], "alpha": config["lora_alpha"]}
    if "adapter_names" in config:
        return "fusion", {"value": config["config"]["value"]}
    settings = config["config"]
    if settings.get("architecture") == "lora":
        return "lora", {"rank": settings["r"], "alpha": settings["alpha"]}
    where = tuple(settings[key] for key in ("mh_adapter", "output_adapter", "is_parallel"))
    sizes = {"activation": settings["non_linearity"], "scaling": settings["scaling"]}
    if isinstance(settings["reduction_factor"], int | float):
        sizes["bottleneck_size"] = int(config["hidden_size"] / settings["reduction_factor"])
    return _BOTTLENECKS[where] + "_inv" * bool(settings["inv_adapter"]), sizes


def labels_of(folder: Path) -> list[str]:
    """The labels of a head that names them, in the order of their ids."""
    path = folder / "head_config.json"
    if not path.is_file():
        return []
    numbers = json.loads(path.read_text())["config"]["label2id"]
    return sorted(numbers, key=lambda label: int(numbers[label]))


def base_of(folder: Path) -> str:
    """What the folder calls its base model."""
    config = config_of(folder)
    return str(config.get("base_model_name_or_path") or config["model_name"])


def tensors_in(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of either format."""
    if path.suffix == ".safetensors":
        return load_file(path)
    tensors: dict[str, Tensor] = torch.load(path, weights_only=True)
    return tensors
