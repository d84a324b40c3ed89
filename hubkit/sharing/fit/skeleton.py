"""Base models without weights, which have the shapes that tensors must fit."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
import transformers
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from registry import Manifest
from registry.errors import BaseModelMismatchError
from registry.folders.safetensors import TensorInfo
from registry.storage.place import Place

_Found = TypeVar("_Found")


def skeleton(base: Path) -> PreTrainedModel:
    """The base model without weights."""
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.from_pretrained(base))
    assert isinstance(model, PreTrainedModel)
    return model


def model_of_class(name: str | None, manifest: Manifest, base: Path) -> PreTrainedModel | None:
    """A model of a class on the base model, without weights; None if it has no such class."""
    model_class = getattr(transformers, str(name), None)
    base_config = AutoConfig.from_pretrained(base)
    of_class = getattr(model_class, "config_class", None) or PreTrainedConfig
    if model_class is None or not isinstance(base_config, of_class):
        return None  # another architecture, which its modules will tell
    outputs = 1 if manifest.task_type == "text-regression" else len(manifest.labels)
    if outputs:
        base_config.num_labels = outputs
    try:
        with torch.device("meta"):
            model = getattr(model_class, "from_config", model_class)(base_config)
    except ValueError:  # this architecture has no such head
        return None
    return model if isinstance(model, PreTrainedModel) else None


def check_shapes(
    weights: Place, whole: Mapping[str, TensorInfo], models: Sequence[PreTrainedModel]
) -> None:
    """Check the shape of each tensor that replaces a whole parameter of the model.

    Tensors that replace no parameter belong to the method, whose library knows them.
    """
    for name, tensor in whole.items():
        for model in models:
            expected = find_in(name, model.state_dict())
            if expected is None or tuple(expected.shape) == tensor.shape:
                continue
            raise BaseModelMismatchError(
                f"{weights}: the tensor {name!r} has the shape {list(tensor.shape)}, but that of "
                f"the {type(model).__name__} has {list(expected.shape)}. Name the base model that "
                "the adapter was trained on; where its embeddings were resized, save it resized.",
                name,
            )


def find_in(path: str, places: Mapping[str, _Found]) -> _Found | None:
    """What is at the place that a path means: see :func:`place_in`."""
    place = place_in(path, places)
    return None if place is None else places[place]


def place_in(path: str, places: Container[str]) -> str | None:
    """The place that a path inside a model with any head means: in that head, or the backbone."""
    while path not in places:
        _, dot, path = path.partition(".")
        if not dot:
            return None
    return path
