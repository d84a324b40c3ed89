"""AdapterHub folders: what the ``adapters`` library writes, and reads with ``load_adapter``.

An adapter is ``adapter_config.json`` and ``adapter.safetensors``; a fusion is
``adapter_fusion_config.json`` and ``model_adapter_fusion.safetensors``. Older folders hold a pickle
(``.bin``) instead, which is read weights-only and never written. Tensors are named by the path of
their site, then ``adapters.NAME.`` or ``adapter_fusion_layer.NAME,NAME.``; the base model's prefix
(``bert.``) before the path is optional in the library's adapters and needed in its fusions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hubkit.formats.families import family
from hubkit.formats.heads import VERSION
from hubkit.formats.tensor_files import read_json, read_tensors, write_json, write_tensors
from hubkit.nn.methods import METHODS, Method
from hubkit.nn.sites import Site
from registry.errors import AdapterError
from registry.manifest import BaseModelInfo

SiteTensors = dict[Site, dict[str, Tensor]]


_DELTA_NAMES = {
    "down.weight": "adapter_down.0.weight",
    "down.bias": "adapter_down.0.bias",
    "up.weight": "adapter_up.weight",
    "up.bias": "adapter_up.bias",
}
_FUSION_NAMES = {
    name: name for name in ("query.weight", "query.bias", "key.weight", "key.bias", "value.weight")
}

# The library's defaults for what a configuration leaves out.
_DEFAULTS: dict[str, Any] = {
    "original_ln_before": False,
    "original_ln_after": True,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "ln_before": False,
    "ln_after": False,
    "use_gating": False,
    "phm_layer": False,
    "inv_adapter": None,
    "cross_adapter": False,
    "leave_out": [],
    "is_parallel": False,
    "scaling": 1.0,
}
# Which values the methods that hubkit computes have in common.
_COMPUTED = {
    key: _DEFAULTS[key]
    for key in _DEFAULTS
    if key not in ("original_ln_before", "is_parallel", "scaling")
}
_FUSION_CONFIG: dict[str, Any] = {
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
# The rest concerns training only, or where the same sum is taken.
_FUSION_COMPUTED = {
    key: _FUSION_CONFIG[key]
    for key in ("key", "query", "query_before_ln", "residual_before", "temperature")
}


@dataclass(frozen=True)
class StoredAdapter:
    """What an adapter folder holds."""

    name: str
    method: Method
    model_type: str
    tensors: SiteTensors


@dataclass(frozen=True)
class StoredFusion:
    """What a fusion folder holds; ``adapter_names`` are in the order of the attention."""

    name: str
    adapter_names: tuple[str, ...]
    tensors: SiteTensors


def read_adapter(folder: Path) -> StoredAdapter:
    """Read an adapter folder.

    Raises:
        AdapterError: A file is missing or malformed, the method is none that hubkit computes, or
            a tensor is unexpected.
    """
    source = read_json(folder / "adapter_config.json")
    try:
        name, model_type, config = source["name"], source["model_type"], source["config"]
    except KeyError as error:
        raise AdapterError(f"{folder / 'adapter_config.json'} lacks the key {error}.") from None
    tensors = _by_site(
        folder,
        read_tensors(folder, "adapter.safetensors", "pytorch_adapter.bin"),
        f"adapters.{name}.",
        model_type,
        _DELTA_NAMES,
    )
    sizes = {site["down.bias"].numel() for site in tensors.values() if "down.bias" in site}
    if len(sizes) != 1:
        raise AdapterError(
            f"{folder} holds deltas of bottleneck sizes {sorted(sizes) or 'none'}; "
            "hubkit computes one size for all layers."
        )
    return StoredAdapter(name, _method(config, sizes.pop(), folder), model_type, tensors)


def write_adapter(
    folder: Path,
    *,
    name: str,
    method: Method,
    model_type: str,
    base: BaseModelInfo,
    tensors: Mapping[Site, Mapping[str, Tensor]],
) -> None:
    """Write an adapter folder that ``load_adapter(folder, use_safetensors=True)`` takes.

    Raises:
        StorageError: The folder cannot be written.
    """
    name = foreign_name(name)
    row = METHODS[method.type]
    width = next(iter(tensors.values()))["up.bias"].numel()
    config = {
        **_DEFAULTS,
        "dropout": 0.0,
        "init_weights": "bert",
        "is_parallel": row.reads == "residual",
        "mh_adapter": "attention" in row.places,
        "non_linearity": method.activation,
        "original_ln_before": row.reads == "norm",
        "output_adapter": "feed_forward" in row.places,
        "reduction_factor": reduction_factor(width, method.bottleneck_size),
        # The library refuses an integer here.
        "scaling": float(method.scaling),
    }
    write_tensors(
        folder / "adapter.safetensors",
        _flat(tensors, f"adapters.{name}.", model_type, _DELTA_NAMES),
    )
    write_json(folder / "adapter_config.json", {"config": config, **_outer(name, model_type, base)})


def read_fusion(folder: Path) -> StoredFusion:
    """Read a fusion folder.

    Raises:
        AdapterError: A file is missing or malformed, an option changes the numbers in a way that
            hubkit does not compute, or a tensor is unexpected.
    """
    source = read_json(folder / "adapter_fusion_config.json")
    if "name" not in source or "config" not in source:
        raise AdapterError(
            f"{folder / 'adapter_fusion_config.json'} lacks the key 'name' or 'config'."
        )
    name, config = source["name"], source["config"]
    if isinstance(config, dict):
        _refuse_others(config, _FUSION_COMPUTED, folder)
    tensors = _by_site(
        folder,
        read_tensors(
            folder, "model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin"
        ),
        f"adapter_fusion_layer.{name}.",
        source.get("model_type", ""),
        _FUSION_NAMES,
        # The library writes the fusion 'a,b,c' into the folder of 'a,b' too.
        others=r"adapter_fusion_layer\.[^.]+\.",
    )
    return StoredFusion(name, tuple(source.get("adapter_names") or name.split(",")), tensors)


def write_fusion(
    folder: Path,
    *,
    adapter_names: list[str],
    value: bool,
    model_type: str,
    base: BaseModelInfo,
    tensors: Mapping[Site, Mapping[str, Tensor]],
) -> None:
    """Write a fusion folder that ``load_adapter_fusion(folder, use_safetensors=True)`` takes.

    Raises:
        StorageError: The folder cannot be written.
    """
    adapter_names = [foreign_name(adapter) for adapter in adapter_names]
    name = ",".join(adapter_names)
    write_tensors(
        folder / "model_adapter_fusion.safetensors",
        _flat(tensors, f"adapter_fusion_layer.{name}.", model_type, _FUSION_NAMES),
    )
    write_json(
        folder / "adapter_fusion_config.json",
        {
            "adapter_names": adapter_names,
            "config": {**_FUSION_CONFIG, "value": value},
            **_outer(name, model_type, base),
        },
    )


def foreign_name(name: str) -> str:
    """``name`` without the characters that separate names in the library's files and modules."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def reduction_factor(hidden_size: int, bottleneck_size: int) -> float:
    """The ``x`` for which the library's ``int(hidden_size // x)`` is ``bottleneck_size``."""
    factor = hidden_size / bottleneck_size
    if int(hidden_size // factor) != bottleneck_size:
        factor = math.nextafter(factor, 0.0)
    return factor


def _outer(name: str, model_type: str, base: BaseModelInfo) -> dict[str, Any]:
    return {
        "hidden_size": base.hidden_size,
        "model_class": base.architecture,
        "model_name": base.id,
        "model_type": model_type,
        "name": name,
        "version": VERSION,
    }


def _method(config: Any, bottleneck_size: int, folder: Path) -> Method:
    if isinstance(config, str):
        return Method.default(config, 1, bottleneck_size)
    _refuse_others(config, _COMPUTED, folder)
    given = {**_DEFAULTS, **config}
    places = {
        place
        for place, key in (("attention", "mh_adapter"), ("feed_forward", "output_adapter"))
        if given.get(key)
    }
    if given["is_parallel"]:
        reads = "residual"
    else:
        reads = "norm" if given["original_ln_before"] else "output"
    for type, row in METHODS.items():
        if row.reads == reads and set(row.places) == places:
            scaling = given["scaling"]
            if not isinstance(scaling, float | int):
                raise AdapterError(
                    f"{folder}: scaling is {scaling!r}, but hubkit computes constant numbers only."
                )
            return Method(
                type=type,
                bottleneck_size=bottleneck_size,
                activation=str(given.get("non_linearity")).lower(),
                scaling=float(scaling),
            )
    raise AdapterError(
        f"{folder}: adapters at {sorted(places)} that read the {reads} are none of the methods "
        f"that hubkit computes: {', '.join(METHODS)}."
    )


def _refuse_others(config: Mapping[str, Any], computed: Mapping[str, Any], folder: Path) -> None:
    for key, value in computed.items():
        if (config.get(key, value) or None) != (value or None):
            raise AdapterError(
                f"{folder}: the option {key} is {config[key]!r}, which changes what is computed; "
                f"hubkit computes {key} = {value!r} only."
            )


def _by_site(
    folder: Path,
    tensors: Mapping[str, Tensor],
    owner: str,
    model_type: str,
    names: Mapping[str, str],
    others: str | None = None,
) -> SiteTensors:
    names_of_sites = family(model_type)
    ours = {foreign: name for name, foreign in names.items()}
    skipped = re.compile(rf".*\.{others}.+") if others else None
    found: SiteTensors = {}
    for key, tensor in tensors.items():
        site, rest = names_of_sites.site(key) or (None, "")
        name = ours.get(rest.removeprefix(owner)) if rest.startswith(owner) else None
        if site and name:
            found.setdefault(site, {})[name] = tensor
        elif rest.startswith(owner) or not (skipped and skipped.fullmatch(key)):
            example = f"{names_of_sites.first()}.{owner}{next(iter(names.values()))}"
            raise AdapterError(
                f"{folder}: the tensor {key!r} fits no site of a {model_type}; expected names such "
                f"as {example!r}."
            )
    if not found:
        raise AdapterError(f"{folder} holds no tensor of {owner.rstrip('.')!r}.")
    return dict(sorted(found.items(), key=lambda item: names_of_sites.order(item[0])))


def _flat(
    tensors: Mapping[Site, Mapping[str, Tensor]],
    owner: str,
    model_type: str,
    names: Mapping[str, str],
) -> dict[str, Tensor]:
    names_of_sites = family(model_type)
    return {
        f"{names_of_sites.name(site)}.{owner}{names[name]}": tensor
        for site, of_site in tensors.items()
        for name, tensor in of_site.items()
    }
