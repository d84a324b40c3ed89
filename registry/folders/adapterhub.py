"""Folders of the AdapterHub library ``adapters``: an adapter, a fusion, or a head.

An adapter's ``adapter_config.json`` and a fusion's ``adapter_fusion_config.json`` name the base
model and its hidden size; a head's files may lie beside either, or alone.
"""

import re
from collections.abc import Mapping
from typing import Any

from registry.errors import FolderError, PickledWeightsError, UnknownParentsError
from registry.folders.adapterhub_config import current_name, fits, read_adapter_config
from registry.folders.bounded import shown
from registry.folders.card import read_card
from registry.folders.configs import count_of, read_config, text_of
from registry.folders.folder import Folder, Given, choose_labels, find_base, make_folder
from registry.folders.heads import read_head
from registry.folders.kinds import ADAPTER, FUSION, HEAD, Part
from registry.folders.safetensors import TensorInfo, read_header, require_weights
from registry.folders.source import Source
from registry.manifest import Kind, Method, manifest_errors

# A LayerNorm before it has the number 0.
_DOWN = re.compile(r".+\.adapter_down\.[01]\.weight")


def read_adapterhub_folder(path: Source, parts: tuple[Part, ...], given: Given) -> Folder:
    """Read a folder that holds an adapter, a fusion or a head, or one of the first two with a head.

    Raises:
        FolderError: The weights contradict the configuration, the card or the labels; or the base
            model, or what a fusion is made of, is not named.
        ManifestError: The manifest does not allow a value.
        OSError: A file cannot be read.
    """
    tensors = {part: _header(path, part) for part in parts}
    configs = {part: read_config(path / part.config) for part in parts}
    main = parts[0]
    where, config, card = path / main.config, configs[main], read_card(path)
    base = find_base(
        config,
        "model_name",
        where,
        card,
        given,
        architecture=_backbone_class(config, where),
        hidden_size=count_of(config, "hidden_size", where),
    )
    if main is not HEAD and text_of(config, "model_type", where) is None:
        raise FolderError(
            f"{where} lacks model_type: expected the architecture of the base model, such as bert.",
            where,
        )
    kind: Kind = "adapter"
    notes: tuple[str, ...] = ()
    if main is ADAPTER:
        method, notes = _adapter_method(config, tensors[main], where)
    elif main is FUSION:
        kind, method = (
            "fusion",
            Method(type="fusion", parameters=_check_fusion(path, config, tensors[main], given)),
        )
    else:
        method = Method(type="head")
    if HEAD in parts:
        facts = read_head(path, configs[HEAD], tensors[HEAD], given)
    else:
        facts = {"labels": choose_labels(path, (), None, given)}
    return make_folder(
        path, method=method, base=base, card=card, given=given, kind=kind, notes=notes, **facts
    )


def fused_adapters(path: Source) -> tuple[str, ...]:
    """Return the names of a fusion's adapters in its folder, in its order.

    They are empty for a folder without an AdapterHub fusion.

    Raises:
        FolderError: Its configuration is malformed.
    """
    where = path / FUSION.config
    if not where.is_file():
        return ()
    config = read_config(where)
    names = config.get("adapter_names") or (text_of(config, "name", where) or "").split(",")
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise FolderError(
            f"{where}: adapter_names is {shown(names)}; expected the names of two "
            "adapters or more.",
            where,
        )
    return tuple(names)


def _backbone_class(config: dict[str, Any], where: Source) -> str | None:
    # Saved from a model with a head, the class does not show that of the backbone.
    name = text_of(config, "model_class", where)
    bare = name and name.endswith("Model") and not name.endswith("AdapterModel")
    return name if bare else None


def _header(path: Source, part: Part) -> dict[str, TensorInfo]:
    weights = path / part.weights
    if not weights.is_file():
        raise PickledWeightsError(
            f"{path} holds its weights as a pickle, {part.pickle}; expected {part.weights}.", path
        )
    tensors = read_header(weights)
    require_weights(tensors, weights)
    return {current_name(name): tensor for name, tensor in tensors.items()}


def _adapter_method(
    source: dict[str, Any], tensors: Mapping[str, TensorInfo], where: Source
) -> tuple[Method, tuple[str, ...]]:
    """Return the method of an adapter, compared with its tensors, and notes about it."""
    config = read_adapter_config(source, where, tensors)
    settings = config.options
    _check_name(source, tensors, where)
    parameters: dict[str, Any] = {}
    sizes = {
        tensor.shape[0]
        for name, tensor in tensors.items()
        if _DOWN.fullmatch(name) and len(tensor.shape) == 2
    }
    if len(sizes) == 1:
        parameters["bottleneck_size"] = sizes.pop()
    for theirs, ours in (
        ("r", "rank"),
        ("alpha", "alpha"),
        ("non_linearity", "activation"),
        ("scaling", "scaling"),
    ):
        if (value := settings.get(theirs)) is not None:
            parameters[ours] = value.lower() if isinstance(value, str) else value
    with manifest_errors(f"The method in {where}"):
        method = Method(type=config.method, parameters=parameters)
    notes = [
        f"{where.name} has the option {shown(option)}, which no known release of AdapterHub has: "
        "hubkit computes the adapter without it."
        for option in config.unknown
    ]
    if config.obstacle is not None:
        notes.append(f"Kept, not attached by hubkit: {config.obstacle}.")
    return method, tuple(notes)


def _check_name(config: dict[str, Any], tensors: Mapping[str, TensorInfo], where: Source) -> None:
    name = text_of(config, "name", where)
    if name is None:
        raise FolderError(f"{where} lacks the adapter's name.", where)
    found = {
        match[1] for key in tensors if (match := re.search(r"\.(?:adapters|loras)\.([^.]+)\.", key))
    }
    if found and name not in found:
        raise FolderError(
            f"{where} is of the adapter {name!r}, but the weights beside it are of "
            f"{', '.join(sorted(found))}. Copy both files from one adapter.",
            where,
        )


def _check_fusion(
    path: Source, config: dict[str, Any], tensors: Mapping[str, TensorInfo], given: Given
) -> dict[str, Any]:
    names = fused_adapters(path)
    if len(given.parents) != len(names):
        found = ", ".join(parent.ref for parent in given.parents) or "none"
        raise UnknownParentsError(
            f"{path} is a fusion of {len(names)} adapters ({', '.join(names)}), which are not in "
            f"its folder; found {found}. Publish them.",
            path,
            expected=names,
            found=given.parents,
        )
    # A fusion may have a name of its own, not one made of its adapters' names.
    called = text_of(config, "name", path / FUSION.config) or ",".join(names)
    own = {
        name: tensor
        for name, tensor in tensors.items()
        if f".adapter_fusion_layer.{called}." in name
    }
    if not own:
        raise FolderError(
            f"{path / FUSION.weights} holds no tensor of the fusion {called!r}; found "
            f"{next(iter(tensors))!r}. Copy both files from one fusion.",
            path,
        )
    hidden_size = count_of(config, "hidden_size", path / FUSION.config)
    for name, tensor in own.items():
        if name.endswith(".weight") and not fits(tensor.shape, (hidden_size, hidden_size)):
            raise FolderError(
                f"{path}: {name} has the shape {list(tensor.shape)}, but {FUSION.config} says "
                f"that the hidden size is {hidden_size}. Copy both files from one fusion.",
                name,
            )
    left_out = config.get("leave_out") or []
    if not isinstance(left_out, list) or not all(type(n) is int and n >= 0 for n in left_out):
        raise FolderError(
            f"{path / FUSION.config}: leave_out is {left_out!r}; expected numbers of layers.", path
        )
    return {
        "value": any(name.endswith(".value.weight") for name in own),
        **({"shared": True} if config.get("shared") is True else {}),
        **({"leave_out": left_out} if left_out else {}),
    }
