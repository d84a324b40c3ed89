"""For research code: insert an adapter into a model, train it with any loop, save it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.bases.load import describe
from hubkit.methods.table import new_method
from hubkit.models.attach import Attached, attach, attached_to
from hubkit.models.freeze import train_only
from hubkit.models.head import head_of
from hubkit.nn.host import BaseModel
from hubkit.tasks.table import task_type_of
from registry.errors import AdapterError, InvalidNameError
from registry.refs import AdapterRef


def insert_adapter(
    model: PreTrainedModel,
    name: str,
    *,
    method: str = "seq_bn",
    **parameters: Any,
) -> Attached:
    """Insert a new adapter into ``model``, and leave only it and the head trainable.

    The model then trains with the stock ``transformers.Trainer`` or any other loop, and is saved
    with :func:`save_adapter`. ``Attached.detach()`` takes the adapter out.

    Args:
        model: A model of a supported architecture, with or without a head.
        name: What to call the adapter.
        method: ``seq_bn`` (Pfeiffer), ``double_seq_bn`` (Houlsby), ``par_bn`` (parallel),
            ``seq_bn_inv`` or ``double_seq_bn_inv`` (with an invertible adapter), or ``lora``.
        parameters: What the method takes, such as ``bottleneck_size`` (default: hidden size / 16,
            ``par_bn``: / 2) or ``rank`` (default: 8): see ``hubkit.methods.bottleneck.Bottleneck``
            and ``hubkit.methods.lora.LoRA``.

    Raises:
        UnsupportedModelError: hubkit knows no sites for this architecture.
        AdapterError: Unknown method or parameter, or one out of range.
        CompositionError: The model carries adapters already.
        InvalidNameError: ``name`` is not an adapter's name, or has an owner or a version, which
            it gets when it is published.
    """
    if not isinstance(name, str):
        raise InvalidNameError(f"An adapter's name is text, not {name!r}.", name)
    AdapterRef(None, name)
    settings = new_method(method, BaseModel(model), **parameters)
    adapter = Adapter.create(model, name, settings)
    attached = attach(model, adapter)
    train_only(model, adapter)
    return attached


def save_adapter(model: PreTrainedModel, name: str, folder: str | Path) -> None:
    """Write the adapter that :func:`insert_adapter` put into ``model``, with the model's head.

    The folder is a PEFT folder for LoRA and else an AdapterHub folder, with safetensors and
    ``hubkit.json``; ``hubkit publish`` takes it as it is.

    Raises:
        AdapterError: ``model`` carries no adapter of that name.
        StorageError: The folder cannot be written.
    """
    adapter = attached_to(model)
    if not isinstance(adapter, Adapter) or adapter.name != name:
        found = "it carries none" if adapter is None else f"it carries {adapter}"
        raise AdapterError(
            f"This {type(model).__name__} carries no adapter {name!r}: {found}. "
            "hubkit.insert_adapter(model, name) inserts one."
        )
    complete = replace(adapter, base=describe(model), head=head_of(model))
    save_folder(complete, manifest_of(complete, task_type=task_type_of(model)), Path(folder))
