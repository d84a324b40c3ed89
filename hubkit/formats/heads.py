"""AdapterHub head folders, as the ``adapters`` library saves the heads of stock models.

``head_config.json`` names the class and the labels, ``model_head.safetensors`` holds every
parameter outside the backbone under its name in the model (``classifier.weight``). The library's
own "flex" heads, which no transformers class has, are kept but not read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import transformers
from torch import Tensor

from hubkit.formats.tensor_files import read_json, read_tensors, write_json, write_tensors
from registry.errors import AdapterError
from registry.manifest import BaseModelInfo, Manifest, ProblemType
from registry.storage.place import Place
from registry.task_types import of_class

VERSION = "adapters.1.3.0"
"""The version of the library whose format this is."""

_CONFIG = "head_config.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Head:
    """The weights and the labels of a head.

    Attributes:
        model_class: The class whose head it is, such as ``BertForSequenceClassification``; None
            where the files do not say.
        labels: Label names; the position is the label id. Empty for a head without labels.
        tensors: By parameter name inside the model, such as ``classifier.weight``.
        backbone: What the model calls its backbone, such as ``bert``.
        outputs: How many numbers it gives; None where nothing says.
        problem_type: What they mean, as transformers calls it; None where nothing says.
    """

    model_class: str | None
    labels: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    backbone: str
    outputs: int | None = None
    problem_type: ProblemType | None = None


def described(head: Head, manifest: Manifest) -> Head:
    """``head`` with what its manifest says and its own files do not."""
    regression = manifest.problem_type == "regression"
    return replace(
        head,
        # Older folders name the single output of a regression as if it were a class.
        labels=() if regression else head.labels or manifest.labels,
        outputs=manifest.outputs or head.outputs,
        problem_type=manifest.problem_type or head.problem_type,
    )


def is_flexible(folder: Place) -> bool:
    """Whether the head in ``folder`` is one that only the ``adapters`` library builds and runs.

    Raises:
        AdapterError: Its configuration is malformed.
    """
    path = folder / _CONFIG
    return path.exists() and read_json(path).get("config") is not None


def read_head(folder: Place) -> Head | None:
    """The head in ``folder``; None where it has none.

    A flexible head is left out, with a note.

    Raises:
        AdapterError: A file is missing or malformed.
    """
    if not (folder / _CONFIG).exists():
        return None
    config = read_json(folder / _CONFIG)
    if is_flexible(folder):
        kind = config["config"].get("head_type", "unknown")
        _log.warning(
            "%s describes a head of AdapterHub's own (%s), which no transformers class has: the "
            "adapter is read without it.",
            folder / _CONFIG,
            kind,
        )
        return None
    label_ids = config.get("label2id") or {}
    labels = tuple(sorted(label_ids, key=lambda label: label_ids[label]))
    if [label_ids[label] for label in labels] != list(range(len(labels))):
        raise AdapterError(
            f"{folder / _CONFIG}: label2id must number its labels from 0, found {label_ids}."
        )
    model_class = str(config.get("model_class"))
    names = of_class(model_class)
    if names is not None and not names.classes:
        labels = ()  # the names that transformers has in any configuration
    return Head(
        model_class=model_class,
        labels=labels,
        tensors=read_tensors(folder, "model_head.safetensors", "pytorch_model_head.bin"),
        backbone=getattr(getattr(transformers, model_class, None), "base_model_prefix", ""),
    )


def write_head(folder: Path, head: Head, *, model_type: str, base: BaseModelInfo) -> None:
    """Write a head beside its adapter, so that ``load_adapter`` takes both.

    Raises:
        StorageError: The folder cannot be written.
    """
    write_tensors(folder / "model_head.safetensors", head.tensors)
    write_json(
        folder / _CONFIG,
        {
            "config": None,
            "hidden_size": base.hidden_size,
            "label2id": {label: index for index, label in enumerate(head.labels)},
            "model_class": head.model_class,
            "model_name": base.id,
            "model_type": model_type,
            "name": None,
            "num_labels": head.outputs or len(head.labels),
            "version": VERSION,
        },
    )
