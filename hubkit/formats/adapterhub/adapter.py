"""Adapters in AdapterHub folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from hubkit.formats.adapterhub.bottleneck import (
    bottleneck,
    bottleneck_config,
    left_out,
    said_in,
)
from hubkit.formats.adapterhub.names import Family, family
from hubkit.formats.heads import VERSION
from hubkit.formats.stored import SiteTensors, StoredAdapter
from hubkit.formats.tensor_files import read_tensors, write_json, write_tensors
from hubkit.methods.bottleneck import Bottleneck
from hubkit.methods.lora import LoRA
from hubkit.methods.method import is_finite
from hubkit.methods.sites import BlockSite, Site
from registry.errors import AdapterError, FolderError, did_you_mean
from registry.folders.adapterhub_config import AdapterConfig, current_name, read_adapter_config
from registry.folders.adapterhub_interface import INTERFACE
from registry.folders.kinds import ADAPTER
from registry.manifest import BaseModelInfo
from registry.storage.place import Place
from registry.task_types import of_class

_DELTA_NAMES = {
    "down": "adapter_down.0.weight",
    "down_bias": "adapter_down.0.bias",
    "up": "adapter_up.weight",
    "up_bias": "adapter_up.bias",
    "scale": "scaling",
}
_LORA_NAMES = {"down": "lora_A", "up": "lora_B"}
_COUPLING_NAMES = {
    f"{network}.{ours}.{kind}": f"{network}.{theirs}.{kind}"
    for network in "FG"
    for ours, theirs in ((0, 0), (1, 2))
    for kind in ("weight", "bias")
}


_UNDONE = "undone"
"""A field that hubkit adds beside the configuration; the library ignores it."""


def read_adapter(folder: Place, source: Mapping[str, Any]) -> StoredAdapter:
    """Read an adapter folder.

    Args:
        folder: Where it is.
        source: The content of its configuration file.

    Raises:
        AdapterError: A file is missing or malformed, hubkit does not compute the method, or a
            tensor is unexpected.
    """
    for key in ("name", "model_type", "config"):
        if key not in source:
            raise AdapterError(f"{folder / ADAPTER.config} lacks the key '{key}'.")
    name, model_type = source["name"], source["model_type"]
    stored = read_tensors(folder, ADAPTER.weights, ADAPTER.pickle)
    tensors = {current_name(key): tensor for key, tensor in stored.items()}
    try:
        config = read_adapter_config(source, folder / ADAPTER.config, tensors)
    except FolderError as error:
        raise AdapterError(str(error), error.subject) from error
    if config.obstacle is not None:
        raise AdapterError(
            f"{folder}: {config.obstacle}. hubkit keeps such an adapter, and does not attach it: "
            "AdapterHub's own library runs it.",
            folder,
        )
    with said_in(folder / ADAPTER.config):
        names = family(model_type)
    coupling, tensors = _couplings(tensors, f"{names.couplings}.{name}.")
    if config.method == "lora":
        sites = _by_linear(folder, tensors, name, names)
        lora, sites = _lora(config, sites, names, source.get("version"), folder)
        return StoredAdapter(name, lora, model_type, sites, coupling)
    sites = by_site(folder, tensors, f"adapters.{name}.", model_type, _DELTA_NAMES)
    sizes: dict[str, int] = {}
    for site, found in sites.items():
        assert isinstance(site, BlockSite)
        size = found["down_bias"].numel() if "down_bias" in found else 1
        if sizes.setdefault(site.layer, size) != size:
            raise AdapterError(
                f"{folder} holds deltas of bottleneck sizes {sizes[site.layer]} and {size} in "
                f"{site.layer}; hubkit computes one size for a layer."
            )
    method = bottleneck(config, sizes, folder)
    if coupling:
        method = replace(method, undone=_is_undone(source, folder))
    return StoredAdapter(name, method, model_type, sites, coupling)


def _is_undone(source: Mapping[str, Any], folder: Place) -> bool:
    """Whether an invertible part is undone before the head of a language model.

    The library does so before the heads that it builds itself, and in models that it knows through
    an interface; adapter-transformers, before it, did so in all.
    """
    names = of_class(source.get("model_class") or None)
    is_stock = names is not None and names.pretrained_head
    is_old = not str(source.get("version")).startswith("adapters.")
    undone = is_old or not is_stock or (folder / INTERFACE).is_file()
    return bool(source.get(_UNDONE, undone))


def write_adapter(
    folder: Path,
    *,
    name: str,
    method: Bottleneck,
    model_type: str,
    base: BaseModelInfo,
    tensors: Mapping[Site, Mapping[str, Tensor]],
    coupling: Mapping[str, Tensor],
) -> None:
    """Write an adapter folder that ``load_adapter(folder, use_safetensors=True)`` takes.

    Raises:
        StorageError: The folder cannot be written.
    """
    name, names = foreign_name(name), family(model_type)
    layers = list(dict.fromkeys(site.layer for site in tensors if isinstance(site, BlockSite)))
    flat = flat_tensors(tensors, f"adapters.{name}.", names, _DELTA_NAMES)
    flat |= {
        f"{names.couplings}.{name}.{_COUPLING_NAMES[ours]}": tensor
        for ours, tensor in coupling.items()
    }
    write_tensors(folder / ADAPTER.weights, flat)
    width = next(iter(tensors.values()))["up"].shape[0]
    config = bottleneck_config(method, width, layers)
    own = {} if method.undone else {_UNDONE: False}
    content = {"config": config, **outer(name, model_type, base), **own}
    write_json(folder / ADAPTER.config, content)


def foreign_name(name: str) -> str:
    """``name`` without the characters that separate names in the library's files and modules."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def outer(name: str, model_type: str, base: BaseModelInfo) -> dict[str, Any]:
    """The fields that the library writes beside every configuration."""
    return {
        "hidden_size": base.hidden_size,
        "model_class": base.architecture,
        "model_name": base.id,
        "model_type": model_type,
        "name": name,
        "version": VERSION,
    }


def by_site(
    folder: Place,
    tensors: Mapping[str, Tensor],
    owner: str,
    model_type: str,
    names: Mapping[str, str],
    others: str | None = None,
) -> SiteTensors:
    """Tensors by the site that their names say.

    Args:
        folder: Where they were found, for messages.
        tensors: By their name in the file.
        owner: What follows the site's path in the names, such as ``adapters.NAME.``.
        model_type: The architecture.
        names: What follows ``owner``, by our name for it.
        others: A regular expression for other owners, whose tensors are skipped.

    Raises:
        AdapterError: A name fits no site, or there are no tensors.
    """
    sites = family(model_type)
    ours = {foreign: name for name, foreign in names.items()}
    skipped = re.compile(rf".*\.{others}.+") if others else None
    found: SiteTensors = {}
    for key, tensor in tensors.items():
        site, rest = _site(key, owner, sites)
        name = ours.get(rest.removeprefix(owner)) if rest.startswith(owner) else None
        if site and name:
            found.setdefault(site, {})[name] = tensor
        elif rest.startswith(owner) or not (skipped and skipped.fullmatch(key)):
            example = f"{sites.first()}.{owner}{next(iter(names.values()))}"
            meant = [f"{path}.{owner}{name}" for path in sites.near(key) for name in ours]
            raise AdapterError(
                f"{folder}: the tensor {key!r} fits no site of a {model_type}; expected names such "
                f"as {example!r}.{did_you_mean(key, meant)}"
            )
    if not found:
        raise AdapterError(f"{folder} holds no tensor of {owner.rstrip('.')!r}.")
    return dict(sorted(found.items(), key=lambda item: sites.order(item[0])))


def flat_tensors(
    tensors: Mapping[Site, Mapping[str, Tensor]],
    owner: str,
    family_names: Family,
    names: Mapping[str, str],
) -> dict[str, Tensor]:
    """The inverse of :func:`by_site`."""
    return {
        f"{family_names.name(site)}.{owner}{names[name]}": tensor
        for site, of_site in tensors.items()
        for name, tensor in of_site.items()
    }


def _site(key: str, owner: str, names: Family) -> tuple[Site | None, str]:
    block = names.block(key)
    if block is not None and block[1].startswith(owner):
        return block
    # A fusion of LoRA, which only hubkit writes.
    path, found, rest = key.partition(f".{owner}")
    if found and owner.startswith("adapter_fusion_layer."):
        return names.linear(path), f"{owner}{rest}"
    return None, ""


def _couplings(
    tensors: Mapping[str, Tensor], owner: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters of the invertible adapter, and all other tensors."""
    ours = {foreign: name for name, foreign in _COUPLING_NAMES.items()}
    coupling, others = {}, {}
    for key, tensor in tensors.items():
        _, found, rest = f".{key}".partition(f".{owner}")
        if found and rest in ours:
            coupling[ours[rest]] = tensor
        else:
            others[key] = tensor
    return coupling, others


def _by_linear(
    folder: Place, tensors: Mapping[str, Tensor], name: str, names: Family
) -> SiteTensors:
    ours = {foreign: own for own, foreign in _LORA_NAMES.items()}
    found: SiteTensors = {}
    for key, tensor in tensors.items():
        path, owner, rest = key.partition(f".loras.{name}.")
        if not owner or rest not in ours:
            raise AdapterError(
                f"{folder}: the tensor {key!r} does not belong to a LoRA {name!r}; expected names "
                f"that end in '.loras.{name}.lora_A' or '.lora_B'."
            )
        found.setdefault(names.linear(path), {})[ours[rest]] = tensor
    return dict(sorted(found.items(), key=lambda item: names.order(item[0])))


def _lora(
    given: AdapterConfig, sites: SiteTensors, names: Family, version: Any, folder: Place
) -> tuple[LoRA, SiteTensors]:
    """The method, and the tensors with one output for each of the linear layer's."""
    config = given.options
    rank: Any = config.get("r")
    alpha: Any = config.get("alpha")
    parts: Any = config.get("attn_matrices") or ()
    for key, value, meant, expected in (
        ("r", rank, type(rank) is int and rank >= 1, "a whole number from 1"),
        ("alpha", alpha, is_finite(alpha), "a number"),
        ("attn_matrices", parts, isinstance(parts, list | tuple), "some of q, k and v"),
    ):
        if not meant:
            where = folder / ADAPTER.config
            raise AdapterError(f"{where}: {key} is {value!r}; expected {expected}.")
    if _is_before(version, (1, 1)):
        # The library drops the scale of what its versions before 1.1 saved.
        alpha = rank
    matrices = [index for index, key in enumerate("qkv") if key in parts]
    ranks, alphas, widened = {}, {}, {}
    for site, found in sites.items():
        if names.merged and str(site).endswith(f".{names.merged}"):
            found = _unmerged(found, matrices, rank, f"{folder}: {site}")
            ranks[str(site)], alphas[str(site)] = rank * len(matrices), alpha * len(matrices)
        widened[site] = found
    ends = {str(site).removeprefix(f"{names.layer_of(site)}.") for site in sites}
    lists = {names.layer_of(site).rpartition(".")[0] for site in sites}
    with said_in(folder / ADAPTER.config):
        method = LoRA(
            rank=rank,
            alpha=alpha,
            # Whole paths: other layers end in output.dense, too.
            target_modules=rf"({_either(lists)})\.\d+\.({_either(ends)})",
            rank_pattern=ranks,
            alpha_pattern=alphas,
            dropout=config.get("dropout") or 0.0,
            leave_out=left_out(config),
            chained=True,
        )
    return method, widened


def _either(words: set[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words))


def _is_before(version: Any, release: tuple[int, ...]) -> bool:
    """Whether a version such as ``adapters.1.0.1`` is older than ``release``.

    Those of adapter-transformers, the library before it, begin with a number.
    """
    match = re.match(r"adapters\.(\d+)\.(\d+)", str(version))
    return match is not None and (int(match[1]), int(match[2])) < release


def _unmerged(
    found: Mapping[str, Tensor], matrices: list[int], rank: int, where: str
) -> dict[str, Tensor]:
    """The delta of a whole layer, from those of its queries, keys and values.

    Each part has its own rows of ``lora_A`` and ``lora_B``; the rest of ``U`` is zero.
    """
    count = len(matrices)
    down, up = found.get("down"), found.get("up")
    if down is None or up is None or len(down) != rank * count or len(up) % count:
        shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
        raise AdapterError(f"{where}: expected lora_A and lora_B of {count} parts, found {shapes}.")
    size = len(up) // count
    wide = up.new_zeros(3 * size, rank * count)
    for part, matrix in enumerate(matrices):
        columns = slice(part * rank, (part + 1) * rank)
        wide[matrix * size : (matrix + 1) * size, columns] = up[part * size : (part + 1) * size]
    return {"down": down, "up": wide}
