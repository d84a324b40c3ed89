"""Fusions in AdapterHub folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hubkit.formats.adapterhub.adapter import by_site, flat_tensors, foreign_name, outer
from hubkit.formats.adapterhub.bottleneck import refuse_others, said_in
from hubkit.formats.adapterhub.names import family
from hubkit.formats.stored import SiteTensors
from hubkit.formats.tensor_files import read_json, read_tensors, write_json, write_tensors
from hubkit.methods.method import check_layer_numbers
from hubkit.methods.sites import Site
from registry.errors import AdapterError
from registry.folders.bounded import shown
from registry.folders.kinds import FUSION
from registry.manifest import BaseModelInfo
from registry.storage.place import Place

_NAMES = {
    name: name for name in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight")
}
_CONFIG: dict[str, Any] = {
    "dropout_prob": None,
    "key": True,
    "query": True,
    "query_before_ln": False,
    "regularization": True,
    "residual_before": False,
    "temperature": False,
    "value_before_softmax": True,
    "value_initialized": True,
}
# The others concern training only (`dropout_prob`, `regularization`, `value_initialized`), or the
# order in which one sum is computed (`value_before_softmax`).
_COMPUTED = {
    key: _CONFIG[key]
    for key in ("key", "query", "query_before_ln", "residual_before", "temperature")
}
_KEPT = "kept"
"""A field that hubkit adds beside the configuration of a pruned fusion; the library ignores it."""
_LEAVE_OUT = "leave_out"
"""The same for one that leaves out layers."""

_SHARED = "shared"
"""The same for a fusion whose layers are all one; the files repeat it, for the library."""


@dataclass(frozen=True)
class StoredFusion:
    """What a fusion folder holds.

    Attributes:
        name: Its name in the files.
        adapter_names: In the order of the attention.
        tensors: The parameters of the fusion layer at each site.
        regularized: Whether its value matrices are held to the identity in training.
        shared: Whether the layers are one.
        kept: By site, the numbers of the adapters that a pruned fusion still attends to.
        leave_out: The numbers of the layers without it.
        model_type: The architecture of its base model.
    """

    name: str
    adapter_names: tuple[str, ...]
    tensors: SiteTensors
    regularized: bool
    shared: bool
    kept: Mapping[str, tuple[int, ...]]
    leave_out: tuple[int, ...]
    model_type: str


def read_fusion(folder: Place) -> StoredFusion:
    """Read a fusion folder.

    Raises:
        AdapterError: A file is missing or malformed, an option changes the numbers in a way that
            hubkit does not compute, or a tensor is unexpected.
    """
    source = read_json(folder / FUSION.config)
    if "name" not in source or "config" not in source:
        raise AdapterError(f"{folder / FUSION.config} lacks the key 'name' or 'config'.")
    name, options = source["name"], _options(source["config"], folder)
    if options.get("temperature"):
        raise AdapterError(
            f"{folder}: the option temperature is {options['temperature']!r}. The library lowers "
            "that temperature from 50 to 1 with every pass, and does not save how far it came, so "
            "nothing here says what its scores were divided by. If it was trained for 980 passes "
            "or more, that is 1: set the option to false."
        )
    refuse_others(options, _COMPUTED, folder)
    adapter_names = tuple(source.get("adapter_names") or name.split(","))
    with said_in(folder / FUSION.config):
        family(source.get("model_type", ""))
    tensors = by_site(
        folder,
        read_tensors(folder, FUSION.weights, FUSION.pickle),
        f"adapter_fusion_layer.{name}.",
        source.get("model_type", ""),
        _NAMES,
        # The library writes the fusion 'a,b,c' into the folder of 'a,b' too.
        others=r"adapter_fusion_layer\.[^.]+\.",
    )
    has_value = any("value.weight" in own for own in tensors.values())
    if bool(options.get("value", has_value)) != has_value:
        raise AdapterError(
            f"{folder}: the option value is {options['value']!r}, but the weights have "
            f"{'a' if has_value else 'no'} value matrix. Copy both files from one fusion."
        )
    kept = _kept(source.get(_KEPT, {}), len(adapter_names), folder)
    left_out = source.get(_LEAVE_OUT, [])
    with said_in(folder / FUSION.config):
        check_layer_numbers(left_out)
    return StoredFusion(
        name=name,
        adapter_names=adapter_names,
        tensors=tensors,
        regularized=bool(options.get("regularization", True)),
        shared=source.get(_SHARED) is True,
        kept=kept,
        leave_out=tuple(left_out),
        model_type=source["model_type"],
    )


def write_fusion(
    folder: Path,
    *,
    adapter_names: list[str],
    value: bool,
    regularized: bool,
    shared: bool,
    model_type: str,
    base: BaseModelInfo,
    tensors: Mapping[Site, Mapping[str, Tensor]],
    kept: Mapping[str, tuple[int, ...]],
    leave_out: tuple[int, ...],
    backbone: str | None,
) -> None:
    """Write a fusion folder that ``load_adapter_fusion(folder, use_safetensors=True)`` takes.

    A fusion over LoRA adapters, a pruned one and one without some layers are for hubkit alone.

    Args:
        backbone: The backbone's name in the model with the head; None where there is no head. The
            library does not find a fusion without it.

    Raises:
        StorageError: The folder cannot be written.
    """
    adapter_names = [foreign_name(adapter) for adapter in adapter_names]
    name = ",".join(adapter_names)
    owner = f"adapter_fusion_layer.{name}."
    names = family(model_type)
    prefix = f"{backbone or names.prefix}."
    flat = flat_tensors(tensors, owner, names, _NAMES)
    write_tensors(
        folder / FUSION.weights, {f"{prefix}{path}": tensor for path, tensor in flat.items()}
    )
    content = {
        "adapter_names": adapter_names,
        "config": {
            **_CONFIG,
            "value": value,
            "regularization": value and regularized,
            "value_initialized": value,
        },
        **outer(name, model_type, base),
    }
    if shared:
        content[_SHARED] = True
    if kept:
        content[_KEPT] = {site: list(numbers) for site, numbers in kept.items()}
    if leave_out:
        content[_LEAVE_OUT] = list(leave_out)
    write_json(folder / FUSION.config, content)


def _options(given: Any, folder: Place) -> dict[str, Any]:
    """The options, of which the library also knows two sets by name."""
    if isinstance(given, dict) and given:
        return given
    # It takes the first where nothing is said.
    values = {"dynamic": True, "static": False, None: True}
    if not isinstance(given, str | None) or given not in values:
        raise AdapterError(
            f"{folder / FUSION.config}: config is {shown(given)}; expected the options of a "
            "fusion, or the name 'dynamic' or 'static'."
        )
    has_value = values[given]
    return {**_CONFIG, **dict.fromkeys(("value", "regularization", "value_initialized"), has_value)}


def _kept(given: Any, count: int, folder: Place) -> dict[str, tuple[int, ...]]:
    usable = isinstance(given, dict) and all(
        isinstance(numbers, list)
        and numbers
        and all(isinstance(number, int) and 0 <= number < count for number in numbers)
        for numbers in given.values()
    )
    if not usable:
        raise AdapterError(
            f"{folder / FUSION.config}: {_KEPT!r} must list, by site, numbers of adapters from 0 "
            f"to {count - 1}; found {given!r}."
        )
    return {site: tuple(numbers) for site, numbers in given.items()}
