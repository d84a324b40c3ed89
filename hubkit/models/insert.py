"""For research code: insert an adapter into a model, train it with any loop, save it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.bases.describe import describe
from hubkit.bases.parts import without_parts
from hubkit.bases.tokenization import described_processor
from hubkit.methods.table import new_method
from hubkit.models.attach import Attached, attach, attached_to
from hubkit.models.changes import BaseState, trained_outlet
from hubkit.models.freeze import train_only
from hubkit.models.head import head_of, module_paths, task_names
from hubkit.nn.host import BaseModel
from registry.arguments import checked
from registry.errors import AdapterError
from registry.manifest import HeadInfo
from registry.refs import AdapterRef
from registry.task_types import with_outputs


@checked
def insert_adapter(
    model: nn.Module,
    name: str,
    *,
    method: str = "seq_bn",
    **parameters: Any,
) -> Attached:
    """Insert a new adapter into ``model``, and leave only it and the head trainable.

    The model then trains with the stock ``transformers.Trainer`` or any other loop, and is saved
    with :func:`save_adapter`. ``Attached.detach()`` takes the adapter out. The weights of the
    base model are hashed, so that saving can tell whether they are still the same.

    Args:
        model: A model of a supported architecture, with or without a head.
        name: The name of the adapter.
        method: ``seq_bn`` (Pfeiffer), ``double_seq_bn`` (Houlsby), ``par_bn`` (parallel),
            ``seq_bn_inv`` or ``double_seq_bn_inv`` (with an invertible adapter), or ``lora``.
        parameters: Parameters of the method, such as ``bottleneck_size`` (default: hidden size /
            16, ``par_bn``: / 2) or ``rank`` (default: 8): see
            ``hubkit.methods.bottleneck.Bottleneck`` and ``hubkit.methods.lora.LoRA``.

    Raises:
        UnsupportedModelError: hubkit knows no sites for this architecture.
        AdapterError: Unknown method or parameter, or one out of range.
        CompositionError: The model carries adapters already.
        InvalidNameError: ``name`` is not an adapter's name, or has an owner or a version, which
            it gets when it is published.
    """
    AdapterRef(None, name)
    model = unwrapped(model)
    settings = new_method(method, BaseModel(model), **parameters)
    adapter = Adapter.create(model, name, settings)
    attached = attach(model, adapter)
    train_only(model, adapter)  # first, as it tells whether the head is the base model's
    BaseState.of(model).keep(model)
    return attached


@checked
def save_adapter(
    model: nn.Module,
    name: str,
    folder: str | Path,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> None:
    """Write the adapter that :func:`insert_adapter` put into ``model``, with the model's head.

    The folder is a PEFT folder for LoRA and else an AdapterHub folder, with safetensors and
    ``hubkit.json``; it can be published as it is. What was trained between the backbone's
    layers and the head, such as a pooler, is saved with the head.

    Args:
        model: The model, also where it is wrapped by ``DataParallel``, ``DistributedDataParallel``
            or ``torch.compile``.
        name: The name of the adapter.
        folder: Where to; it is new, empty, or holds an adapter that is replaced.
        tokenizer: The one that the model was trained with, which is recorded and expected in use;
            default: the one that lies where the model was loaded from.

    Raises:
        AdapterError: ``model`` carries no adapter of that name, or weights of the base model were
            changed, which the adapter does not hold; the message names them.
        StorageError: The folder cannot be written.
    """
    model = unwrapped(model)
    adapter = attached_to(model)
    if not isinstance(adapter, Adapter) or adapter.name != name:
        found = "it carries none" if adapter is None else f"it carries {adapter}"
        raise AdapterError(
            f"This {type(model).__name__} carries no adapter {name!r}: {found}. "
            "hubkit.insert_adapter(model, name) inserts one."
        )
    before = BaseState.kept(model)
    head = head_of(model, trained_outlet(model, before, name))
    base = before.info if before is not None else describe(model)
    if tokenizer is not None:
        base = base.model_copy(update=described_processor(tokenizer))
    modules = () if head is None else module_paths(model, head.tensors)
    complete = replace(adapter, base=without_parts(base, modules), head=head)
    names, outputs = task_names(model), None if head is None else head.outputs
    manifest = manifest_of(
        complete,
        task_type=names and with_outputs(names.name, outputs),
        problem_type=None if head is None else head.problem_type,
        outputs=outputs,
        head=HeadInfo(modules=modules) if modules else None,
    )
    save_folder(complete, manifest, Path(folder))


def unwrapped(model: nn.Module) -> PreTrainedModel:
    """The transformers model inside of what runs it on several devices, or compiled.

    Raises:
        AdapterError: It is not a transformers model, or its weights are cut into pieces.
    """
    inner: Any = model
    while not isinstance(inner, PreTrainedModel):
        if type(inner).__name__ == "FullyShardedDataParallel":
            raise AdapterError(
                "FullyShardedDataParallel has cut the weights of this model into pieces; hubkit "
                "takes a model whose weights are whole."
            )
        # Not by `or`: some wrappers have no truth value.
        wrapped = getattr(inner, "_orig_mod", getattr(inner, "module", None))
        if not isinstance(wrapped, nn.Module):
            raise AdapterError(
                f"Expected a transformers model, found a {type(model).__name__}; pass the model "
                "inside of it."
            )
        inner = wrapped
    return inner
