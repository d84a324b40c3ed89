"""Check the head of an AdapterHub folder against a base model."""

from __future__ import annotations

from pathlib import Path

import torch

from hubkit.formats.heads import FLEXIBLE, Head, is_kept_only, read_head
from hubkit.models.flexible_head import shapes_by_width, with_flexible_head
from hubkit.models.head import head_tensors, missing_beside
from hubkit.sharing.fit.skeleton import check_shapes, model_of_class, skeleton
from registry import Manifest
from registry.errors import AdapterError, BaseModelMismatchError, did_you_mean, listed
from registry.folders.bounded import shown
from registry.folders.configs import read_config
from registry.folders.flexible_heads import KEPT, OPTIONS, FlexibleHead
from registry.folders.kinds import HEAD
from registry.folders.safetensors import read_header
from registry.storage.place import Place


def check_head(folder: Place, manifest: Manifest, base: Path) -> None:
    """Check a head of a transformers class against that class on the base model."""
    config = read_config(folder / HEAD.config)
    if isinstance(config.get("config"), dict):
        _check_flexible_head(folder, base)
        return
    model = model_of_class(config.get("model_class"), manifest, base)
    if model is None:
        return
    found, own = read_header(folder / HEAD.weights), head_tensors(model)
    check_shapes(folder / HEAD.weights, found, [model])
    brought = {id(own[name]) for name in found if name in own}
    missing = [name for name, one in own.items() if name not in found and id(one) not in brought]
    if missing := missing or missing_beside(model, found):
        raise AdapterError(
            f"{folder / HEAD.weights} lacks {listed(missing)}, which the head of a "
            f"{type(model).__name__} has. Save the adapter again, with its whole head.",
            missing,
        )


def _check_flexible_head(folder: Place, base: Path) -> None:
    """Check the weights of a flexible head against what its configuration builds on the base."""
    config = read_config(folder / HEAD.config)
    if is_kept_only(folder):
        kind = config["config"].get("head_type")
        if kind in KEPT:
            return
        raise AdapterError(
            f"{folder / HEAD.config}: the head_type is {shown(kind)}; hubkit keeps heads of the "
            f"types {', '.join((*OPTIONS, *KEPT))}.{did_you_mean(str(kind), OPTIONS)}",
            folder,
            found=kind,
        )
    head = read_head(folder)
    assert head is not None
    assert head.flexible is not None
    with torch.device("meta"):
        model = with_flexible_head(skeleton(base), head.flexible)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if name.startswith(f"{FLEXIBLE}.")
    }
    found = {name: tuple(tensor.shape) for name, tensor in head.tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            own = f"heads.{config.get('name')}.{name.removeprefix(f'{FLEXIBLE}.')}"
            here, there = (
                "is missing" if shape is None else f"has the shape {list(shape)}"
                for shape in (found.get(name), expected.get(name))
            )
            raise BaseModelMismatchError(
                f"{folder / HEAD.weights}: {own} {here}, but in the {head.flexible.head_type} head "
                f"that {HEAD.config} describes, on this base model, it {there}. Name the base "
                "model that the adapter was trained on, and copy both files of the head.",
                own,
            )


def require_layers(folder: Place, head: Head, flexible: FlexibleHead) -> None:
    """Make sure that a flexible head has the layers that its configuration says."""
    width = next((one.shape[1] for one in head.tensors.values() if one.ndim == 2), 1)
    expected = shapes_by_width(flexible, width)
    found = {name: tuple(tensor.shape) for name, tensor in head.tensors.items()}
    if expected is not None and expected != found:
        odd = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise AdapterError(
            f"{folder / HEAD.weights}: the {flexible.head_type} head that {HEAD.config} describes "
            f"has the tensors {expected}, found {found}. Copy both files of the head.",
            odd,
        )
