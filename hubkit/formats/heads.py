"""AdapterHub head folders: the heads of stock models, and those that the library builds itself.

``head_config.json`` names the class and the labels, ``model_head.safetensors`` holds every
parameter outside the backbone under its name in the model (``classifier.weight``). A flexible head,
which the library ``adapters`` builds from a configuration, has its tensors as
``heads.NAME.1.weight``; inside hubkit they are called ``head.1.weight``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import transformers
from torch import Tensor

from hubkit.formats.tensor_files import read_json, read_tensors, write_json, write_tensors
from registry.errors import AdapterError, FolderError
from registry.folders.flexible_heads import OPTIONS, FlexibleHead, flexible_head
from registry.folders.heads import label_names
from registry.folders.kinds import HEAD
from registry.manifest import BaseModelInfo, Manifest, ProblemType
from registry.storage.place import Place
from registry.task_types import of_class

VERSION = "adapters.1.3.0"
"""The version of the library whose format this is."""
FLEXIBLE = "head"
"""The name of a flexible head in its model."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Head:
    """The weights and the labels of a head.

    Attributes:
        model_class: The class whose head it is, such as ``BertForSequenceClassification``; None
            where the files do not say.
        labels: Label names; the position is the label id. Empty for a head without labels.
        tensors: By parameter name inside the model, such as ``classifier.weight``.
        backbone: The name of the backbone in the model, such as ``bert``.
        outputs: How many numbers it gives; None where nothing says.
        problem_type: What they mean, as transformers calls it; None where nothing says.
        flexible: How a flexible head is built; None for the head of a class of transformers.
    """

    model_class: str | None
    labels: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    backbone: str
    outputs: int | None = None
    problem_type: ProblemType | None = None
    flexible: FlexibleHead | None = None


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


def is_kept_only(folder: Place) -> bool:
    """Whether the head in ``folder`` is of a type that only the ``adapters`` library runs.

    Raises:
        AdapterError: Its configuration is malformed.
    """
    path = folder / HEAD.config
    config = read_json(path).get("config") if path.exists() else None
    return isinstance(config, dict) and config.get("head_type") not in [*OPTIONS]


def read_head(folder: Place) -> Head | None:
    """The head in ``folder``; None where it has none.

    A flexible head of a type that hubkit does not run is left out, with a note.

    Raises:
        AdapterError: A file is missing or malformed.
    """
    if not (folder / HEAD.config).exists():
        return None
    config = read_json(folder / HEAD.config)
    if is_kept_only(folder):
        _log.warning(
            "%s describes a head of AdapterHub's own (%s) that hubkit does not run: the adapter is "
            "read without it.",
            folder / HEAD.config,
            config["config"].get("head_type", "unknown"),
        )
        return None
    built = None
    try:
        if isinstance(config.get("config"), dict):
            built = flexible_head(config["config"], folder / HEAD.config)
        labels = _labels(label_names(config, folder / HEAD.config), config, built)
    except FolderError as error:
        raise AdapterError(str(error), error.subject) from error
    model_class = str(config.get("model_class"))
    tensors = read_tensors(folder, HEAD.weights, HEAD.pickle)
    if built is None:
        return Head(
            model_class=model_class,
            labels=labels,
            tensors=tensors,
            backbone=getattr(getattr(transformers, model_class, None), "base_model_prefix", ""),
        )
    return Head(
        model_class=model_class,
        labels=labels,
        tensors=_own_tensors(folder, str(config.get("name")), tensors),
        backbone="",
        outputs=built.outputs if built.tells_classes else None,
        problem_type=built.problem_type,
        flexible=built,
    )


def _labels(
    labels: tuple[str, ...], config: Mapping[str, Any], built: FlexibleHead | None
) -> tuple[str, ...]:
    """Those of the labels of a configuration that are labels of its head."""
    names = of_class(str(config.get("model_class"))) if built is None else None
    if names is not None and not names.classes:
        return ()  # the names that transformers has in any configuration
    # The library also numbers outputs that are not labels: numbers, ends of an answer, choices.
    named = built is None or (built.tells_classes and built.problem_type != "regression")
    return labels if named else ()


def _own_tensors(folder: Place, name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a flexible head, as they are called in its model."""
    owner = f"heads.{name}."
    own = {
        f"{FLEXIBLE}.{key.removeprefix(owner)}": tensor
        for key, tensor in tensors.items()
        if key.startswith(owner)
    }
    # The library also writes the tensors of heads whose names start alike.
    odd = next((key for key in tensors if not key.startswith(f"heads.{name}")), None)
    if odd is not None or not own:
        raise AdapterError(
            f"{folder}: the names of the weights of the head {name!r} begin with {owner!r}; found "
            f"{odd or next(iter(tensors), 'nothing')!r}. Copy both files of the head from one "
            "adapter."
        )
    return own


def write_head(
    folder: Path, head: Head, *, name: str, model_type: str | None, base: BaseModelInfo
) -> None:
    """Write a head beside its adapter, so that ``load_adapter`` takes both.

    Args:
        folder: The folder to write.
        head: The head.
        name: The library's name for a flexible head: that of its adapter.
        model_type: The architecture of the base model; None where the adapter does not say.
        base: The base model.

    Raises:
        StorageError: The folder cannot be written.
    """
    tensors, flexible = head.tensors, head.flexible
    described: dict[str, Any] = {
        "config": None,
        "label2id": {label: index for index, label in enumerate(head.labels)},
        "name": None,
        "num_labels": head.outputs or len(head.labels),
    }
    if flexible is not None:
        described = {"config": flexible.config(head.labels), "name": name}
        tensors = {
            f"heads.{name}.{key.removeprefix(f'{FLEXIBLE}.')}": tensor
            for key, tensor in tensors.items()
        }
    write_tensors(folder / HEAD.weights, tensors)
    write_json(
        folder / HEAD.config,
        {
            **described,
            "hidden_size": base.hidden_size,
            "model_class": head.model_class,
            "model_name": base.id,
            "model_type": model_type,
            "version": VERSION,
        },
    )
