"""The "flexible" heads, which AdapterHub's library builds from a configuration.

Such a head is a sequence of linear layers. An option that ``head_config.json`` leaves out has its
default in the library ``adapters`` 1.3 (https://github.com/adapter-hub/adapters).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.errors import FolderError, did_you_mean
from registry.folders.bounded import shown
from registry.folders.source import Source
from registry.manifest import ProblemType

_MOST_LAYERS = 64

_CLASSIFIER: Mapping[str, Any] = {
    **{"num_labels": 2, "layers": 2, "activation_function": "tanh"},
    **{"use_pooler": False, "bias": True, "dropout_prob": None},
}
_OF_TOKENS: Mapping[str, Any] = {
    **{"num_labels": 2, "layers": 1, "activation_function": "tanh", "dropout_prob": None},
}
_WRITER: Mapping[str, Any] = {
    **{"vocab_size": None, "layers": 1, "activation_function": None},
    **{"layer_norm": False, "bias": False, "shift_labels": False},
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "classification": _CLASSIFIER,
    "multilabel_classification": _CLASSIFIER,
    "image_classification": {**_CLASSIFIER, "multilabel": False},
    "multiple_choice": {
        **{"num_choices": 2, "layers": 2, "activation_function": "tanh"},
        **{"use_pooler": False, "dropout_prob": None},
    },
    "tagging": _OF_TOKENS,
    "question_answering": _OF_TOKENS,
    "masked_lm": {
        **_WRITER,
        **{"embedding_size": None, "layers": 2, "activation_function": "gelu"},
        **{"layer_norm": True, "bias": True},
    },
    "causal_lm": {**_WRITER, "embedding_size": None, "shift_labels": True, "dropout_prob": None},
    "seq2seq_lm": _WRITER,
}
"""The heads that hubkit runs: the options of each type, with their defaults."""

KEPT = ("dependency_parsing",)
"""The types of the library that hubkit keeps but does not run."""

_NAMES = ("head_type", "label2id", "id2label")


@dataclass(frozen=True, slots=True)
class FlexibleHead:
    """The structure of a flexible head.

    Attributes:
        head_type: A key of ``OPTIONS``.
        layers: The number of linear layers.
        activation: The name of the function between two of them; None if there is none.
        outputs: The outputs of the last layer; None for a head that makes words: as many
            as the base model knows, or `words`.
        use_pooler: Whether it reads the output of the base model's pooler.
        bias: Whether the last layer has a bias.
        dropout: Its dropout in training; None for that of the base model.
        layer_norm: Whether a LayerNorm follows each activation of a head that makes words.
        words: The number of words that it makes.
        embedding_size: The width of the last layer of a head that makes words; None as the base
            model's embeddings.
        shift_labels: Whether a token is compared with the word after it.
        choices: The number of choices in training.
        several: Whether a row may have several labels.
    """

    head_type: str
    layers: int
    activation: str | None = None
    outputs: int | None = None
    use_pooler: bool = False
    bias: bool = True
    dropout: float | None = None
    layer_norm: bool = False
    words: int | None = None
    embedding_size: int | None = None
    shift_labels: bool = False
    choices: int | None = None
    several: bool = False

    @property
    def makes_words(self) -> bool:
        """Whether its last layer has an output for each word."""
        return "vocab_size" in OPTIONS[self.head_type]

    @property
    def tells_classes(self) -> bool:
        """Whether its outputs are classes, or a number; not ends of an answer, choices or words."""
        return "num_labels" in OPTIONS[self.head_type] and self.head_type != "question_answering"

    @property
    def problem_type(self) -> ProblemType | None:
        """The meaning of a sequence model's outputs, as transformers calls it; None for others."""
        if self.several:
            return "multi_label_classification"
        if self.head_type != "classification":
            return None
        return "regression" if self.outputs == 1 else "single_label_classification"

    def config(self, labels: tuple[str, ...]) -> dict[str, Any]:
        """The value of ``config`` in ``head_config.json``, as the library writes it."""
        values: dict[str, Any] = {
            "num_labels": self.outputs,
            "num_choices": self.choices,
            "layers": self.layers,
            "activation_function": self.activation,
            "use_pooler": self.use_pooler,
            "bias": self.bias,
            "dropout_prob": self.dropout,
            "layer_norm": self.layer_norm,
            "vocab_size": self.words,
            "embedding_size": self.embedding_size,
            "shift_labels": self.shift_labels,
            "multilabel": self.several,
        }
        label_ids = {label: index for index, label in enumerate(labels)} or None
        return {
            "head_type": self.head_type,
            "label2id": label_ids,
            **{name: values[name] for name in OPTIONS[self.head_type]},
        }


def flexible_head(config: Mapping[str, Any], where: Source) -> FlexibleHead | None:
    """Read the structure of a flexible head.

    Args:
        config: ``config`` in a ``head_config.json``.
        where: That file, for messages.

    Returns:
        None for a head of a type that hubkit does not run.

    Raises:
        FolderError: An option is on that heads of its type do not have, or has no meaning.
    """
    head_type = config.get("head_type")
    if not isinstance(head_type, str) or head_type not in OPTIONS:
        return None
    known = OPTIONS[head_type]
    for name, value in config.items():
        if name not in known and name not in _NAMES and value:
            raise FolderError(
                f"{where}: the option {shown(name)} is {shown(value)}, which a {head_type} head of "
                f"AdapterHub does not have; it has {', '.join(known)}.{did_you_mean(name, known)}",
                where,
            )
    values = {**known, **{name: value for name, value in config.items() if name in known}}
    read = _Reader(values, known, where)
    several = head_type == "multilabel_classification" or read.flag("multilabel")
    found = FlexibleHead(
        head_type=head_type,
        layers=read.count("layers", most=_MOST_LAYERS) or 1,
        activation=read.text("activation_function"),
        outputs=1 if head_type == "multiple_choice" else read.count("num_labels"),
        use_pooler=read.flag("use_pooler"),
        bias=read.flag("bias", default=True),
        dropout=read.share("dropout_prob"),
        layer_norm=read.flag("layer_norm"),
        words=read.count("vocab_size"),
        embedding_size=read.count("embedding_size"),
        shift_labels=read.flag("shift_labels"),
        choices=read.count("num_choices"),
        several=several,
    )
    if head_type == "question_answering" and found.outputs != 2:
        raise FolderError(
            f"{where}: num_labels is {found.outputs}; a question_answering head has 2 outputs, for "
            "where the answer starts and where it ends.",
            where,
        )
    return found


class _Reader:
    """Options, each checked when it is read."""

    def __init__(self, values: Mapping[str, Any], known: Mapping[str, Any], where: Source) -> None:
        self._values = values
        self._known = known
        self._where = where

    def count(self, name: str, most: int = 2**31 - 1) -> int | None:
        value = self._values.get(name)
        if value is None and self._known.get(name) is None:
            return None
        if type(value) is not int or not 1 <= value <= most:
            raise self._error(name, f"a whole number from 1 to {most}")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self._values.get(name, default)
        if not isinstance(value, bool | None):
            raise self._error(name, "true or false")
        return bool(value)

    def text(self, name: str) -> str | None:
        value = self._values.get(name)
        if not isinstance(value, str | None):
            raise self._error(name, "the name of a function, or null")
        return value or None

    def share(self, name: str) -> float | None:
        value = self._values.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not (math.isfinite(value) and 0 <= value < 1):
            raise self._error(name, "a number from 0 to below 1, or null")
        return float(value)

    def _error(self, name: str, expected: str) -> FolderError:
        found = shown(self._values.get(name))
        return FolderError(f"{self._where}: {name} is {found}; expected {expected}.", self._where)
