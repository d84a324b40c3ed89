"""Base models that say where their layers are and hold no numbers."""

from __future__ import annotations

from functools import cache

import torch
from transformers import AutoModel

from hubkit.nn.host import BaseModel
from tests.support.models import tiny_config


@cache
def host(architecture: str = "bert", layers: int = 2, hidden_size: int = 16) -> BaseModel:
    """What methods ask of a base model."""
    changes = {}
    if architecture == "bert":
        changes = {"num_hidden_layers": layers, "hidden_size": hidden_size}
    with torch.device("meta"):
        return BaseModel(AutoModel.from_config(tiny_config(architecture, **changes)))
