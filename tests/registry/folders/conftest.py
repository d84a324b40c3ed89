"""Folders of PEFT and of AdapterHub whose weights are zeros."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from registry.folders import Folder, Given
from registry.manifest import BaseModelInfo
from tests.support.foreign import write_tensors

Shapes = dict[str, tuple[int, ...]]

BASE = Given(base=BaseModelInfo(id="bert-base-uncased"))
QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"
LORA: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "FEATURE_EXTRACTION",
    "base_model_name_or_path": "bert-base-uncased",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["query"],
}
DELTA: Shapes = {f"{QUERY}.lora_A.weight": (4, 8), f"{QUERY}.lora_B.weight": (8, 4)}


def peft(folder: Path, shapes: Shapes, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**LORA, **options}))
    write_tensors(folder / "adapter_model.safetensors", shapes)
    return folder


SEQ: dict[str, Any] = {
    "mh_adapter": False,
    "output_adapter": True,
    "original_ln_before": True,
    "non_linearity": "relu",
    "reduction_factor": 4,
}


def adapterhub(
    folder: Path, config: Any, shapes: Shapes | None = None, *, name: str = "x", **fields: Any
) -> Path:
    folder.mkdir(exist_ok=True)
    content = {"config": config, "hidden_size": 8, "model_type": "bert", "name": name, **fields}
    (folder / "adapter_config.json").write_text(json.dumps(content))
    write_tensors(folder / "adapter.safetensors", shapes or bottleneck(name))
    return folder


def bottleneck(name: str = "x", owner: str = "adapters") -> Shapes:
    place = f"bert.encoder.layer.0.output.{owner}.{name}"
    return {
        f"{place}.adapter_down.0.weight": (2, 8),
        f"{place}.adapter_down.0.bias": (2,),
        f"{place}.adapter_up.weight": (8, 2),
        f"{place}.adapter_up.bias": (8,),
    }


def lines(folder: Folder) -> str:
    return "\n".join(folder.notes)
