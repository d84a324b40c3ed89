"""Run the methods that hubkit does not compose through PEFT itself, which is an optional extra."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from hubkit.methods.table import METHODS
from registry import Manifest
from registry.errors import AdapterError
from registry.folders.configs import read_config
from registry.folders.expressions import require_quick
from registry.folders.kinds import PEFT
from registry.folders.safetensors import read_header

# What PEFT raises, in the end, where a configuration asks for what it cannot do.
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
        name: What the adapter is called, for messages.
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
    config = folder / PEFT.config
    require_quick(read_config(config), [path for path, _ in model.named_modules()], config)
    try:
        with warnings.catch_warnings():
            # What it would warn of is checked below, or is about its own use of transformers.
            warnings.simplefilter("ignore")
            adapted = peft.PeftModel.from_pretrained(model, str(folder))
    except _REFUSALS as error:
        reason = " ".join(str(error).split())[:400]
        raise AdapterError(
            f"PEFT {peft.__version__} cannot run {name} on this {type(model).__name__}: {reason}. "
            "Load the base model that the adapter was trained on."
        ) from error
    expected = peft.get_peft_model_state_dict(adapted).keys()
    found = read_header(folder / PEFT.weights).keys()
    if expected != found:
        odd = ", ".join(sorted(expected ^ found)[:5])
        raise AdapterError(
            f"{name} has {len(found)} tensors, but on this {type(model).__name__} PEFT expects "
            f"{len(expected)}; only one of both has {odd}. Load the base model that the adapter "
            "was trained on."
        )
    # How the paths start depends on the method.
    if missing := [part for part in new if not any(key.endswith(f".{part}") for key in found)]:
        raise AdapterError(
            f"{name} has no weights for {', '.join(sorted(missing))} of {type(model).__name__}, "
            "and nor has the base model. Save the adapter with its whole head (modules_to_save)."
        )
    result: PreTrainedModel = adapted
    return result
