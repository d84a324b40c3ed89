"""The head of an AdapterHub adapter or fusion, or a head alone."""

import re
from collections.abc import Mapping
from typing import Any

from registry.errors import FolderError
from registry.folders.bounded import shown
from registry.folders.flexible_heads import flexible_head
from registry.folders.folder import Given, choose_labels
from registry.folders.kinds import HEAD
from registry.folders.safetensors import TensorInfo
from registry.folders.source import Source
from registry.task_types import of_class, of_head, with_outputs

_HEAD_LAYER = re.compile(r"heads\.[^.]+\.(\d+)\.weight")
_OUTPUTS = ("classifier.out_proj.weight", "classifier.weight", "score.weight", "out_proj.weight")


def read_head(
    path: Source, config: dict[str, Any], tensors: Mapping[str, TensorInfo], given: Given
) -> dict[str, Any]:
    """Return the labels and the task type of a head, compared with its weights.

    Args:
        path: The folder.
        config: Its ``head_config.json``: of a flexible head, which the library builds itself, or
            of that of a transformers class.
        tensors: The header of the head's weights.
        given: Its `labels` name those of a head whose configuration does not.

    Raises:
        FolderError: The labels are not numbered from 0, or not as many as the head has classes; or
            an option of a flexible head has no meaning.
    """
    where = path / HEAD.config
    if not isinstance(config.get("config"), dict | None) or config.get("config") == {}:
        raise FolderError(
            f"{where}: config is {shown(config['config'])}; expected the options of a head that "
            "AdapterHub built, or null for that of a class of transformers. Mend the file.",
            where,
        )
    flexible = config.get("config") if isinstance(config.get("config"), dict) else None
    names = label_names(config, where)
    head_type = flexible.get("head_type") if flexible else None
    kind = of_head(head_type) if flexible else of_class(config.get("model_class"))
    rows = _classes(tensors)
    built = flexible_head(flexible, where) if flexible else None
    if kind is None:  # the weights may not show the classes
        chosen = given.labels or names if rows is None else choose_labels(path, names, rows, given)
        return {"labels": chosen}
    several = head_type == "multilabel_classification"  # also with one label
    task_type = kind.name if several else with_outputs(kind.name, rows)
    facts: dict[str, Any] = {"task_type": task_type}
    if built is not None:
        facts["problem_type"] = built.problem_type
    if (
        not kind.classes or task_type != kind.name
    ):  # its rows are words, numbers or ends of an answer
        return {**facts, "labels": choose_labels(path, (), None, given)}
    if rows is None:  # the weights do not show the classes
        return {**facts, "labels": given.labels or names}
    return {**facts, "labels": choose_labels(path, names, rows, given)}


def label_names(config: Mapping[str, Any], where: Source) -> tuple[str, ...]:
    """Return the labels that a ``head_config.json`` names, in the order of their numbers.

    Raises:
        FolderError: They are not numbered from 0.
    """
    flexible = config.get("config")
    own = flexible.get("label2id") if isinstance(flexible, dict) else None
    labels = own or config.get("label2id") or {}
    # bool is a subclass of int, and 0.0 is equal to 0.
    numbers = labels.values() if isinstance(labels, dict) else [None]
    if not all(type(one) is int for one in numbers) or {*numbers} != {*range(len(labels))}:
        raise FolderError(
            f"{where}: label2id must number its labels from 0, found {shown(labels)}. Mend the "
            "file.",
            where,
        )
    return tuple(sorted(labels, key=labels.__getitem__))


def _classes(tensors: Mapping[str, TensorInfo]) -> int | None:
    """Return the rows of a head's last layer; None if that layer is not known."""
    layers = {int(match[1]): name for name in tensors if (match := _HEAD_LAYER.fullmatch(name))}
    last = (
        layers[max(layers)] if layers else next((one for one in _OUTPUTS if one in tensors), None)
    )
    return tensors[last].shape[0] if last and tensors[last].shape else None
