"""LoRA adapters in PEFT folders: what ``peft`` writes, and ``PeftModel.from_pretrained`` reads.

``adapter_config.json`` has a ``peft_type``; ``adapter_model.safetensors`` names its tensors by the
path of the linear layer in the model that was trained,
``base_model.model.PATH.lora_A.weight`` (r, d_in) and ``.lora_B.weight`` (d_out, r), and those of a
head by their own path. The adapter's name is not in the files. In a model with a head, the paths
start with the backbone's name there (``bert.``), which is left out inside hubkit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import transformers
from torch import Tensor

from hubkit.formats.adapterhub.names import family
from hubkit.formats.heads import Head
from hubkit.formats.stored import SiteTensors, StoredAdapter
from hubkit.formats.tensor_files import read_tensors, write_json, write_tensors
from hubkit.methods.lora import LoRA
from hubkit.methods.sites import LinearSite, Site
from registry.errors import AdapterError
from registry.folders.kinds import PEFT
from registry.folders.lora import LoraConfig, read_lora
from registry.folders.peft_names import PREFIX, backbone_prefix, head_module, in_head, plain_name
from registry.manifest import BaseModelInfo
from registry.storage.place import Place
from registry.task_types import of_class

_NAMES = {"down": "lora_A.weight", "up": "lora_B.weight", "up_bias": "lora_B.bias"}
_CHAINED = "chained"
"""A field that hubkit adds to the configuration of a LoRA from AdapterHub; peft ignores it."""


def read_adapter(folder: Place, source: Mapping[str, Any]) -> StoredAdapter:
    """Read a LoRA adapter and the head that was trained with it.

    Args:
        folder: Where it is; its name is the adapter's.
        source: The content of its ``adapter_config.json``.

    Raises:
        AdapterError: A file is missing or malformed, hubkit does not compose the method, or a
            tensor is unexpected or has another rank than the configuration says.
        FolderError: An option of the configuration has a value without meaning.
    """
    if source.get("peft_type") != "LORA":
        raise AdapterError(
            f"{folder}: hubkit does not compose the method {source.get('peft_type')!r}; of those "
            "of peft, it composes LORA."
        )
    config = read_lora(source, folder / PEFT.config)
    if config.variant is not None:
        raise AdapterError(
            f"{folder}: {config.variant.reason}; hubkit does not compose such an adapter. "
            "Published, it runs through PEFT."
        )
    found, others = _split(read_tensors(folder, PEFT.weights, PEFT.pickle), folder)
    prefix = backbone_prefix(found)
    _require_composable(found, others, prefix, folder)
    sites: SiteTensors = {}
    rank_at: dict[str, int] = {}
    alpha_at: dict[str, float] = {}
    # Vision transformers had other module names in transformers 4.
    old = any(".attention.attention." in path for path in found)
    site_at = family("vit").linear if old else LinearSite
    for path, tensors in found.items():
        site = site_at(path.removeprefix(prefix or ""))
        sites[site] = tensors
        if not config.is_target(path):
            raise AdapterError(
                f"{folder}: the configuration puts no adapter at {path}, for which the weights "
                "hold one: PEFT would leave it out. Copy both files from one adapter."
            )
        # Patterns are written for the paths that the trained model had.
        rank = config.rank_at(path)
        own = tensors["down"].shape[0] if "down" in tensors and tensors["down"].ndim else None
        if own is not None and own != rank:
            raise AdapterError(
                f"{folder}: the configuration says rank {rank} for {path}, but its lora_A has "
                f"{own} rows. The configuration belongs to other weights."
            )
        if rank != config.rank:
            rank_at[site.path] = rank
        if (alpha := config.alpha_at(path)) != config.alpha:
            alpha_at[site.path] = alpha
    method = LoRA(
        rank=config.rank,
        alpha=config.alpha,
        use_rslora=config.use_rslora,
        target_modules=_targets(source, config, sites),
        rank_pattern=rank_at,
        alpha_pattern=alpha_at,
        bias=config.bias,
        chained=bool(source.get(_CHAINED)),
        dropout=config.dropout,
    )
    head = None
    if others:
        head = Head(
            model_class=None, labels=(), tensors=others, backbone=(prefix or "").rstrip(".")
        )
    backbone = (prefix or "").rstrip(".")
    return StoredAdapter(
        folder.name, method, _model_type(source), sites, head=head, backbone=backbone
    )


def write_adapter(
    folder: Path,
    *,
    method: LoRA,
    base: BaseModelInfo,
    tensors: Mapping[Site, Mapping[str, Tensor]],
    head: Head | None,
    backbone: str = "",
) -> None:
    """Write a folder that ``PeftModel.from_pretrained(model, folder)`` takes.

    Args:
        folder: The folder to write.
        method: The method.
        base: The base model.
        tensors: The deltas.
        head: The head; ``model`` is then of its class.
        backbone: Without one, the name of the backbone in ``model``; empty if that is the backbone.

    Raises:
        StorageError: The folder cannot be written.
    """
    model_class = head.model_class if head is not None else base.architecture
    names = of_class(model_class)
    inside = backbone if head is None else head.backbone
    prefix = f"{inside}." if inside else ""
    weights = {
        f"{PREFIX}{prefix}{site}.{_NAMES[name]}": tensor
        for site, of_site in tensors.items()
        for name, tensor in of_site.items()
    }
    if head is not None:
        weights |= {f"{PREFIX}{name}": tensor for name, tensor in head.tensors.items()}
    write_tensors(folder / PEFT.weights, weights)
    paths = [f"{prefix}{site}" for site in tensors]
    modules = [] if head is None else sorted({_module(name, prefix) for name in head.tensors})
    # Otherwise, a stack of them would compute something else.
    chained = {_CHAINED: True} if method.chained else {}
    write_json(
        folder / PEFT.config,
        {
            **chained,
            "alpha_pattern": {
                path: alpha
                for path, site in zip(paths, tensors, strict=True)
                if (alpha := method.alpha_at(str(site))) != method.alpha
            },
            "auto_mapping": {"base_model_class": model_class, "parent_library": "transformers"},
            "base_model_name_or_path": base.id,
            "bias": "none",
            "fan_in_fan_out": (base.architecture or "").startswith("GPT2"),
            "inference_mode": True,
            "lora_alpha": method.alpha,
            "lora_bias": method.bias,
            "lora_dropout": method.dropout,
            "modules_to_save": modules or None,
            "peft_type": "LORA",
            "r": method.rank,
            "rank_pattern": {
                path: rank
                for path, of_site in zip(paths, tensors.values(), strict=True)
                if (rank := of_site["down"].shape[0]) != method.rank
            },
            "revision": base.revision,
            "target_modules": paths,
            "task_type": None if names is None else names.peft,
            "use_dora": False,
            "use_rslora": method.use_rslora,
        },
    )


def _module(tensor: str, prefix: str) -> str:
    """The module of a head that a tensor belongs to: ``classifier``, or ``bert.pooler``."""
    inside = prefix if prefix and tensor.startswith(prefix) else ""
    return inside + tensor.removeprefix(inside).partition(".")[0]


def _split(
    tensors: Mapping[str, Tensor], folder: Place
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """The tensors of the deltas by the path of their layer, and those of the head by name."""
    ours = {foreign: name for name, foreign in _NAMES.items()}
    found: dict[str, dict[str, Tensor]] = {}
    others: dict[str, Tensor] = {}
    for stored, tensor in tensors.items():
        key = plain_name(stored)
        path, name = key.removeprefix(PREFIX), None
        for foreign, own in ours.items():
            if path.endswith(f".{foreign}"):
                path, name = path.removesuffix(f".{foreign}"), own
        if not key.startswith(PREFIX) or (name is None and "lora_" in path):
            raise AdapterError(
                f"{folder}: the tensor {stored!r} does not belong to a LoRA; expected names like "
                f"'{PREFIX}encoder.layer.0.attention.self.query.lora_A.weight'."
            )
        if name is None:
            others[path] = tensor
        else:
            found.setdefault(path, {})[name] = tensor
    if not found:
        raise AdapterError(f"{folder} holds no tensor of a LoRA.")
    return found, others


def _require_composable(
    deltas: Iterable[str], others: Iterable[str], prefix: str | None, folder: Place
) -> None:
    """Refuse what is more than updates of the backbone's layers, with a head beside them."""
    reason = None
    if on_head := [path for path in deltas if in_head(path, prefix or "")]:
        reason = f"it updates {on_head[0]}, which is a part of the head"
    elif prefix is not None:  # else nothing says where the backbone is
        inside = [
            name for name in others if name.startswith(prefix) and not head_module(name, prefix)
        ]
        if inside:
            reason = f"it holds {inside[0]} as a whole, which is a part of the base model"
    if reason is not None:
        raise AdapterError(
            f"{folder}: {reason}; hubkit does not compose such an adapter. Published, it runs "
            "through PEFT."
        )


def _targets(source: Mapping[str, Any], config: LoraConfig, sites: SiteTensors) -> tuple[str, ...]:
    """Which layers are adapted, as ends of paths inside the backbone."""
    paths = tuple(sorted(str(site) for site in sites))
    if source.get("layers_to_transform") is not None or not isinstance(config.targets, tuple):
        return paths
    ends = tuple(sorted(config.targets))
    # Ends of the trained model's paths may be longer than ours.
    reached = all(any(path == end or path.endswith(f".{end}") for end in ends) for path in paths)
    return ends if reached and not source.get("exclude_modules") else paths


def _model_type(source: Mapping[str, Any]) -> str | None:
    mapping = source.get("auto_mapping")
    name = mapping.get("base_model_class") if isinstance(mapping, dict) else None
    found = getattr(transformers, name, None) if isinstance(name, str) else None
    return getattr(getattr(found, "config_class", None), "model_type", None)
