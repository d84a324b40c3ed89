"""The head that lies beside an AdapterHub adapter or fusion, or alone."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.errors import FolderError
from registry.folders.folder import Given, choose_labels
from registry.folders.kinds import HEAD
from registry.folders.safetensors import TensorInfo

# How the names of flexible heads and of transformers classes end.
_TASK_TYPES = {
    "classification": "text-classification",
    "multilabel_classification": "text-classification",
    "tagging": "token-classification",
    "question_answering": "question-answering",
    "causal_lm": "text-generation",
    "seq2seq_lm": "text2text-generation",
    "masked_lm": "fill-mask",
    "image_classification": "image-classification",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForCausalLM": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "ForImageClassification": "image-classification",
}
_CLASSIFIES = ("text-classification", "token-classification", "image-classification")
_HEAD_LAYER = re.compile(r"heads\.[^.]+\.(\d+)\.weight")
_OUTPUTS = ("classifier.out_proj.weight", "classifier.weight", "score.weight", "out_proj.weight")


def read_head(
    path: Path, config: dict[str, Any], tensors: Mapping[str, TensorInfo], given: Given
) -> dict[str, Any]:
    """Return the labels and the task type of a head, held to its weights.

    Args:
        path: The folder.
        config: Its ``head_config.json``: of a flexible head, which the library builds itself, or
            of that of a transformers class.
        tensors: The header of the head's weights.
        given: Its `labels` name those of a head whose configuration does not.

    Raises:
        FolderError: The labels are not numbered from 0, or not as many as the head has classes.
    """
    where = path / HEAD.config
    flexible = config.get("config") if isinstance(config.get("config"), dict) else None
    labels = (flexible or {}).get("label2id") or config.get("label2id") or {}
    if not isinstance(labels, dict) or sorted(labels.values(), key=str) != sorted(
        range(len(labels)), key=str
    ):
        raise FolderError(
            f"{where}: label2id must number its labels from 0, found {labels}. Mend the file.",
            where,
        )
    names = tuple(sorted(labels, key=labels.__getitem__))
    kind = str((flexible or {}).get("head_type") or config.get("model_class") or "")
    types = [type for end, type in _TASK_TYPES.items() if kind.endswith(end)]
    facts: dict[str, Any] = {"task_type": types[0]} if types else {}
    if types and types[0] not in _CLASSIFIES:  # its rows are words, or the ends of an answer
        return {**facts, "labels": choose_labels(path, (), None, given)}
    rows = _classes(tensors)
    if rows is None:  # a head whose weights do not show what it tells apart
        return {**facts, "labels": given.labels or names}
    return {**facts, "labels": choose_labels(path, names, rows, given)}


def _classes(tensors: Mapping[str, TensorInfo]) -> int | None:
    """Return the rows of a head's last layer, None if it is not known which that is."""
    layers = {int(match[1]): name for name in tensors if (match := _HEAD_LAYER.fullmatch(name))}
    last = (
        layers[max(layers)] if layers else next((one for one in _OUTPUTS if one in tensors), None)
    )
    return tensors[last].shape[0] if last and tensors[last].shape else None
