"""Run the methods that hubkit does not compose through PEFT itself, which is an optional extra."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hubkit.methods.table import METHODS
from registry import Manifest
from registry.errors import AdapterError, FolderError, listed, reason_of
from registry.folders.bounded import shown
from registry.folders.configs import read_config
from registry.folders.expressions import require_quick
from registry.folders.kinds import PEFT
from registry.folders.lora import read_lora
from registry.folders.peft_names import KEPT
from registry.folders.safetensors import read_header
from registry.storage.place import Place

# The exceptions that PEFT raises for a configuration that it cannot run.
_REFUSALS = (
    *(AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError),
    ValueError,
)


def runs_through_peft(manifest: Manifest) -> bool:
    """Whether a version is a PEFT folder of a method that hubkit does not compute itself."""
    return PEFT.weights in manifest.files and manifest.method.type not in METHODS


def attach_peft(
    model: PreTrainedModel, folder: Path, name: str, new: Collection[str] = ()
) -> PreTrainedModel:
    """Return `model` with the adapter of a PEFT folder, its head included.

    Args:
        model: The base model, with the head class that the adapter was trained with.
        folder: Holds the configuration and the weights as safetensors.
        name: The name of the adapter, for messages.
        new: The parameters of the model's head that the base model has no weights for, by name:
            the folder has to have these.

    Raises:
        FolderError: An expression in its configuration takes too long to match.
        AdapterError: PEFT is not installed, refuses the folder, or finds tensors missing or left
            over; or a part of the head has weights nowhere.
    """
    try:
        peft: Any = import_module("peft")
    except ImportError as error:
        raise AdapterError(
            f"{name} is of a method that hubkit does not compute itself, but runs through PEFT, "
            "which is not installed. Install it with: pip install 'hubkit[peft]'"
        ) from error
    where = folder / PEFT.config
    config = read_config(where)
    if reason := KEPT.get(str(config.get("peft_type"))):
        raise AdapterError(
            f"{name} is of the method {config['peft_type']}, which hubkit keeps and does not run: "
            f"{reason}. PEFT itself loads its folder."
        )
    if config.get("peft_type") == "LORA":
        read_lora(config, where)
    require_quick(config, [path for path, _ in model.named_modules()], where)
    try:
        with warnings.catch_warnings():
            # What it would warn of is checked below, or is about its own use of transformers.
            warnings.simplefilter("ignore")
            adapted = peft.PeftModel.from_pretrained(model, str(folder))
    except _REFUSALS as error:
        raise AdapterError(
            f"PEFT {peft.__version__} cannot run {name} on this {type(model).__name__}: "
            f"{_reason(error)}. Load the base model that the adapter was trained on."
        ) from error
    expected = _state(adapted, peft)
    found = read_header(folder / PEFT.weights).keys()
    _require_names(name, found, expected.keys(), adapted)
    # How the paths start depends on the method.
    if missing := [part for part in new if not any(key.endswith(f".{part}") for key in found)]:
        raise AdapterError(
            f"{name} has no weights for {', '.join(sorted(missing))} of {type(model).__name__}, "
            "and nor has the base model. Save the adapter with its whole head (modules_to_save)."
        )
    result: PreTrainedModel = adapted
    return result


def try_peft(folder: Place, model: PreTrainedModel | None) -> list[str]:
    """Make sure that PEFT takes a folder, without reading a number of its weights.

    Does nothing where PEFT is not installed.

    Args:
        folder: Holds the configuration and the weights as safetensors.
        model: What it was trained in, on torch's device ``meta``; it is changed. None where that
            is not at hand: then PEFT is only asked about the configuration.

    Returns:
        Notes for the user, as sentences.

    Raises:
        FolderError: PEFT refuses the configuration.
        AdapterError: It refuses it for `model`, or finds tensors missing or left over.
    """
    try:
        peft: Any = import_module("peft")
    except ImportError:
        return []
    where = folder / PEFT.config
    config = read_config(where)
    known = peft.PEFT_TYPE_TO_CONFIG_MAPPING.get(config["peft_type"])
    if known is None:
        return [
            f"PEFT {peft.__version__}, which is installed, does not have the method "
            f"{config['peft_type']}: another release runs it."
        ]
    names = {field.name for field in fields(known)}
    taken = {key: value for key, value in config.items() if key in names}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = known(**taken)
    except _REFUSALS as error:
        raise FolderError(
            f"{where}: PEFT {peft.__version__} refuses it: {_reason(error)}. Mend the file.", folder
        ) from error
    notes = []
    if config["peft_type"] != "LORA":  # whose reader has noted them
        notes = [
            f"{where.name} has the option {shown(key)}, which PEFT {peft.__version__} does not "
            "have: it runs the adapter without it."
            for key, value in config.items()
            if key not in names and value
        ]
    # Of those, one names other folders, which are not this one's to open.
    if model is not None and config["peft_type"] not in KEPT:
        require_quick(config, [path for path, _ in model.named_modules()], where)
        _try_on(folder, model, options, peft)
    return notes


def _try_on(folder: Place, model: PreTrainedModel, options: Any, peft: Any) -> None:
    options.inference_mode = True
    kind = type(model).__name__
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            adapted = peft.get_peft_model(model, options)
            expected = _state(adapted, peft)
    except RuntimeError:
        return  # some methods start from the base model's numbers, and it has none here
    except _REFUSALS as error:
        raise AdapterError(
            f"PEFT {peft.__version__} cannot run {folder} on a {kind}: {_reason(error)}. Name the "
            "base model that the adapter was trained on.",
            folder,
        ) from error
    found = read_header(folder / PEFT.weights)
    _require_names(str(folder), found.keys(), expected.keys(), adapted)
    for name, tensor in expected.items():
        if tuple(tensor.shape) != found[name].shape:
            raise AdapterError(
                f"{folder / PEFT.weights}: the tensor {name!r} has the shape "
                f"{list(found[name].shape)}, but on a {kind} PEFT expects {list(tensor.shape)}. "
                "Name the base model that the adapter was trained on.",
                name,
            )


def _state(adapted: Any, peft: Any) -> dict[str, Tensor]:
    """The tensors of an adapter, as PEFT saves them, without the embeddings that it may add.

    To tell whether these were resized, it would look for the base model on the Hub.
    """
    found: dict[str, Tensor] = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return found


def _require_names(
    name: str, found: Collection[str], expected: Collection[str], adapted: Any
) -> None:
    """Make sure that PEFT takes each tensor: those it expects, and weights of the model itself."""
    beside = {*found} - {*expected}
    beside -= adapted.state_dict().keys() if beside else set()
    if odd := ({*expected} - {*found}) | beside:
        kind = type(adapted.get_base_model()).__name__
        raise AdapterError(
            f"{name} has {len(found)} tensors, but on this {kind} PEFT expects "
            f"{len(expected)}; only one of both has {listed(sorted(odd))}. Load the base "
            "model that the adapter was trained on."
        )


def _reason(error: BaseException) -> str:
    return reason_of(error)[:400].rstrip(".")
