"""A text, or a pair of texts, to one of some labels, or to all labels that hold."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from sklearn.preprocessing import MultiLabelBinarizer
from transformers import PreTrainedTokenizerBase

from hubkit import plots
from hubkit.tasks.columns import Column, check_known, label, label_list, note_labels, text
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import (
    Encoded,
    HeadPlan,
    Options,
    Outputs,
    Prediction,
    Processor,
    TaskType,
)
from hubkit.tasks.text import TextTask, encode_texts, tokens_read
from registry.errors import AdapterError, DataError, LabelError, SingleLabelError
from registry.labels import same_label
from registry.manifest import Manifest, TextInfo
from registry.task_types import TASK_NAMES

THRESHOLD = 0.5
"""The probability from which a label holds, where several may."""


@dataclass(frozen=True)
class LabelPrediction(Prediction):
    """What a classifier says of one text.

    Attributes:
        label: The most probable label.
        score: Its probability, from 0 to 1.
        scores: The probability of each label, in the order of their ids.
    """

    label: str
    score: float
    scores: dict[str, float]

    def cells(self) -> tuple[str, ...]:
        """The label and its score."""
        return self.label, f"{self.score:.4f}"


@dataclass(frozen=True)
class RankedPrediction(LabelPrediction):
    """As :class:`LabelPrediction`, with the most probable labels alone, the best first."""

    def cells(self) -> tuple[str, ...]:
        """All these labels and their scores."""
        return _listed(self.scores)


@dataclass(frozen=True)
class LabelsPrediction(Prediction):
    """What a classifier says of one text of which several labels may hold.

    Attributes:
        labels: Those with a probability of at least the threshold; there may be none.
        scores: The probability of each label, in the order of their ids; each is of its own.
    """

    labels: tuple[str, ...]
    scores: dict[str, float]

    def cells(self) -> tuple[str, ...]:
        """The labels and their scores; a dash where there are none."""
        return _listed({name: self.scores[name] for name in self.labels})


@dataclass(frozen=True)
class ClassificationOptions(Options):
    """Which labels an answer has.

    Attributes:
        top_k: Give the scores of so many labels, the most probable first; default: of all, in the
            order of their ids.
        threshold: The probability from which a label holds, where several may; default: a half.

    Raises:
        DataError: ``top_k`` is less than one, or ``threshold`` is no probability.
    """

    top_k: int | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        top_k, threshold = self.top_k, self.threshold
        if top_k is not None and top_k < 1:
            raise DataError(f"top_k must be at least 1, not {top_k}.", top_k)
        if threshold is not None and not 0 <= threshold <= 1:
            raise DataError(f"threshold must be from 0 to 1, not {threshold}.", threshold)


class Classification(TaskType[Processor]):
    """Each output of the head stands for a label; what a row is, a task type of its own says."""

    metrics_up = MappingProxyType(
        {"accuracy": True, "f1_micro": True, "f1_macro": True, "matthews": True}
    )
    header = ("label", "score")
    one_vector_a_row = True
    linear = "rows"
    options = ClassificationOptions

    def check_options(self, options: Options, plan: HeadPlan) -> None:
        """A threshold is for several labels."""
        assert isinstance(options, ClassificationOptions)
        if options.threshold is not None and not _several(plan):
            raise DataError(
                "threshold is for adapters of which several labels may hold; this one gives one "
                "label to each row.",
                options.threshold,
            )

    def plan_of(self, manifest: Manifest) -> HeadPlan:
        """A label for each output."""
        plan = HeadPlan.of(manifest)
        if plan.problem_type == "regression" or not plan.labels:
            found = f"{plan.outputs or 'no'} outputs and {len(plan.labels)} labels"
            raise AdapterError(
                f"A head for {self.name} has a label for each output; this one has {found} "
                f"({plan.problem_type or 'of no problem type'})."
            )
        return plan

    def fit_plan(self, rows: Rows) -> HeadPlan:
        """The labels that occur, sorted."""
        if "labels" in rows:
            names = sorted({name for row in rows["labels"] for name in row})
            problem = "multi_label_classification"
        else:
            names = sorted(set(rows["label"]))
            problem = "single_label_classification"
        if problem == "single_label_classification" and len(names) < 2:
            raise SingleLabelError(
                f"{rows.name} has only the label {names[0]!r}; a classifier needs at least two.",
                rows.name,
                found=names,
            )
        if not names:
            raise SingleLabelError(f"{rows.name} has no label in any row.", rows.name, found=[])
        if twins := same_label(names):
            raise LabelError(
                f"{rows.name} has the labels {twins}; expected one spelling for each class.",
                rows.name,
            )
        plan = HeadPlan(len(names), tuple(names), problem)  # type: ignore[arg-type]
        note_labels(rows.name, dict(zip(names, self.class_counts(rows, plan), strict=True)))
        return plan

    def check(self, rows: Rows, plan: HeadPlan) -> None:
        """Every label of the rows is one of the head's."""
        several = _several(plan)
        if several != ("labels" in rows):
            raise LabelError(
                f"{rows.name} has {'a list of labels' if 'labels' in rows else 'one label'} for "
                f"each row, but the adapter predicts {'several' if several else 'one'}; expected "
                f"the column {'labels' if several else 'label'}.",
                rows.name,
            )
        found = [name for row in rows["labels"] for name in row] if several else rows["label"]
        check_known(rows.name, "label", found, plan.labels, f"of {len(rows)} rows")

    def strata(self, rows: Rows) -> Sequence[str] | None:
        """The classes; several labels at once have no strata."""
        return None if "labels" in rows else rows["label"]

    def class_counts(self, rows: Rows, plan: HeadPlan) -> Sequence[int]:
        """In how many rows each label holds."""
        found = rows["labels"] if _several(plan) else [[name] for name in rows["label"]]
        counts = Counter(name for names in found for name in names)
        return [counts[name] for name in plan.labels]

    def target_ids(self, rows: Rows, plan: HeadPlan) -> list[Any]:
        """The id of each row's class, or a 0 or 1 for each class.

        Raises:
            LabelError: A row has a label that the head does not know.
        """
        self.check(rows, plan)
        return list(_targets(rows, plan).tolist())

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """Probabilities: together one, or each of its own where several labels may hold."""
        assert isinstance(options, ClassificationOptions)
        if _several(plan):
            return [_labels(row, plan.labels, options) for row in expit(outputs[0])]
        return [_label(row, plan.labels, options) for row in softmax(outputs[0], axis=-1)]

    def pictures(self, plan: HeadPlan) -> Mapping[str, Callable[[Outputs, Encoded, Rows], bytes]]:
        """Which labels are confused, if each row has one."""

        def draw(outputs: Outputs, encoded: Encoded, rows: Rows) -> bytes:
            predicted = outputs[0].argmax(-1).tolist()
            return plots.confusion_matrix(plan.labels, _targets(rows, plan).tolist(), predicted)

        return {} if _several(plan) else {"confusion.png": draw}

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """Accuracy, F1 and Matthews of one label; F1 micro and macro of several."""
        expected = _targets(rows, plan)
        # A class that is never predicted counts as 0; that is the answer, not a problem to warn of.
        if _several(plan):
            predicted = (expit(outputs[0]) >= THRESHOLD).astype(int)
            return {
                f"f1_{how}": float(f1_score(expected, predicted, average=how, zero_division=0.0))
                for how in ("micro", "macro")
            }
        predicted = outputs[0].argmax(-1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a single class has no correlation: 0
            matthews = float(matthews_corrcoef(expected, predicted))
        return {
            "accuracy": float(accuracy_score(expected, predicted)),
            "f1_macro": float(f1_score(expected, predicted, average="macro", zero_division=0.0)),
            "matthews": matthews,
        }

    def row_values(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> Mapping[str, np.ndarray]:
        """Which rows get their label, if each row has one."""
        if _several(plan):
            return {}
        return {"accuracy": (outputs[0].argmax(-1) == _targets(rows, plan)).astype(float)}

    def row_choices(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The labels, if each row has one."""
        return None if _several(plan) else (outputs[0], _targets(rows, plan))


class TextClassification(TextTask, Classification[PreTrainedTokenizerBase]):
    """A text, or a pair of texts, and its labels."""

    names = TASK_NAMES["text-classification"]
    columns = (
        Column("text", text),
        Column("text_pair", text, optional=True),
        Column("label", label, target=True, instead="labels"),
        Column("labels", label_list, target=True, instead="label"),
    )
    example = "text,label\nWhat a film!,positive\nTwo hours I will not get back.,negative\n"

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature for each row; ``labels`` is the id of its class, or 0 or 1 for each class."""
        encoded, cut = encode_texts(processor, rows["text"], rows.get("text_pair"), text)
        features = dict(encoded)
        if "label" in rows or "labels" in rows:
            features["labels"] = self.target_ids(rows, plan)
        return Encoded(features, range(len(rows)), cut, tokens_read(processor, text.max_length))


def _several(plan: HeadPlan) -> bool:
    return plan.problem_type == "multi_label_classification"


def _targets(rows: Rows, plan: HeadPlan) -> np.ndarray:
    """The id of each row's class, *shape* ``(rows,)``; or 0 or 1, *shape* ``(rows, labels)``."""
    if _several(plan):
        matrix = MultiLabelBinarizer(classes=plan.labels).fit_transform(rows["labels"])
        return np.asarray(matrix, dtype=np.float32)
    ids = {name: index for index, name in enumerate(plan.labels)}
    return np.array([ids[name] for name in rows["label"]], dtype=np.int64)


def _label(
    row: np.ndarray, names: Sequence[str], options: ClassificationOptions
) -> LabelPrediction:
    best = int(row.argmax())
    kind = LabelPrediction if options.top_k is None else RankedPrediction
    return kind(names[best], float(row[best]), _scores(row, names, options.top_k))


def _labels(
    row: np.ndarray, names: Sequence[str], options: ClassificationOptions
) -> LabelsPrediction:
    scores = _scores(row, names, options.top_k)
    least = THRESHOLD if options.threshold is None else options.threshold
    return LabelsPrediction(tuple(name for name, score in scores.items() if score >= least), scores)


def _scores(row: np.ndarray, names: Sequence[str], top_k: int | None) -> dict[str, float]:
    order = range(len(row)) if top_k is None else (-row).argsort(kind="stable")[:top_k].tolist()
    return {names[index]: float(row[index]) for index in order}


def _listed(scores: Mapping[str, float]) -> tuple[str, str]:
    """Labels and their scores; a dash where there are none."""
    numbers = ", ".join(f"{score:.4f}" for score in scores.values())
    return ", ".join(scores) or "-", numbers or "-"


TEXT_CLASSIFICATION = TextClassification()
