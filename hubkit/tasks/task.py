"""The contract of a task type: all that training, evaluating and predicting ask of it.

Each task type is one file that follows this order: its names, its columns, an example, the head
that its data needs, encoding, batches, running, predictions, metrics.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from hubkit.bases.load import load_config
from hubkit.tasks.columns import Column, NotExpectedError
from hubkit.tasks.rows import Rows
from registry.arguments import check_fields
from registry.errors import DataError, NoFlexibleHeadError, UnsupportedModelError, did_you_mean
from registry.folders.flexible_heads import FlexibleHead
from registry.manifest import Manifest, ProblemType, TextInfo
from registry.task_types import TaskNames

Outputs = tuple[np.ndarray, ...]
"""What a model gave for a number of features: arrays of the same length, float32."""


Learner = Literal["rows", "tokens", "choices"]
"""What a linear map can learn from: the states of a feature, each with a label of its own; of its
tokens; or of its choices, of which one fits."""

LENGTHS = (10, 1)
"""Words of the rows that a model is tried with."""

Processor = TypeVar("Processor")
"""What turns rows into numbers: a tokenizer, or an image processor."""


@dataclass(frozen=True)
class Options:
    """How `predict` is to answer. A task type with choices has a class of its own for them.

    Raises:
        ArgumentError: One of them has another type, or is none of its choices.
    """

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Prediction(ABC):
    """What a task type says of one row."""

    @abstractmethod
    def cells(self) -> tuple[str, ...]:
        """Its text for a table: one for each name in the task type's ``header``."""


@dataclass(frozen=True)
class HeadPlan:
    """What the outputs of a head mean.

    Attributes:
        outputs: How many numbers it makes of a row, or of a token; None where the base model says.
        labels: What each output stands for; empty for numbers, words and the ends of answers.
        problem_type: As transformers calls it; None for models that are not for sequences.
        no_answer: Whether they can say that a question has no answer; None if unknown, and for
            other heads.
    """

    outputs: int | None = None
    labels: tuple[str, ...] = ()
    problem_type: ProblemType | None = None
    no_answer: bool | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> HeadPlan:
        """The plan of a published head."""
        outputs = manifest.outputs or len(manifest.labels) or None
        return cls(outputs, manifest.labels, manifest.problem_type)

    def config(self) -> dict[str, Any]:
        """The arguments of ``from_pretrained`` that make a model with such a head."""
        settings: dict[str, Any] = {}
        if self.outputs is not None:
            settings["num_labels"] = self.outputs
        if self.labels:
            settings["id2label"] = dict(enumerate(self.labels))
            settings["label2id"] = {label: index for index, label in enumerate(self.labels)}
        if self.problem_type is not None:
            settings["problem_type"] = self.problem_type
        return settings


@dataclass(frozen=True)
class Encoded:
    """Rows as the model reads them. A row may have several features: one for each window.

    Attributes:
        features: What the model takes of each feature, by argument.
        row_of: The row of each feature.
        cut: How many rows lost tokens, because they are longer than the model or the limit.
        limit: How many tokens of a row are read, at most; None where none is cut.
        beside: More of each feature that predictions need, such as where its tokens are in the
            text.
        processor: What made the features, where predictions need it, such as to make words.
    """

    features: Mapping[str, list[Any]]
    row_of: Sequence[int]
    cut: int = 0
    limit: int | None = None
    beside: Mapping[str, list[Any]] = field(default_factory=dict)
    processor: Any = None

    def __len__(self) -> int:
        return len(self.row_of)

    def feature(self, index: int) -> dict[str, Any]:
        """One feature, as a collator takes it."""
        return {name: values[index] for name, values in self.features.items()}

    def by_length(self) -> list[int]:
        """The positions of the features, the longest first, so that little is padded."""
        lengths = [length_of(ids) for ids in self.features.get("input_ids", [()] * len(self))]
        return sorted(range(len(self)), key=lambda index: -lengths[index])


def length_of(ids: Sequence[Any]) -> int:
    """The tokens of a feature; of the longest text where it has several."""
    return max(map(len, ids)) if ids and isinstance(ids[0], list) else len(ids)


class TaskType(ABC, Generic[Processor]):
    """One way of working.

    Attributes:
        names: Its row of the table of names.
        columns: What it reads.
        example: A row or two of a file, for messages and documents.
        metrics_up: Its metrics, the one that sums them up first: whether higher is better, by name.
        together: Those of its metrics that hold each row against all others, so that a part of the
            rows says nothing of them.
        header: What the cells of a prediction are.
        options: The class of its options for `predict`.
        max_length: Tokens of a row at most, where training does not say.
        generates: Whether what it says of a row is generated, step by step. That is slow: epochs
            are compared by their loss alone, and the metrics are measured once, at the best epoch,
            as `predict` answers.
        groups: Whether rows of a table are taken together, wherever they are in it.
        draws_rows: Whether chance decides anew in each epoch what is read of a row.
        shares_passes: Whether each feature is one row of a single pass through the backbone in
            training, so that features of several adapters can share it.
        one_vector_a_row: Whether its first output has the shape ``(rows, outputs)``.
        filler: What fills outputs up that are narrower than those of other batches.
        linear: What a linear map of the last hidden states can learn ``labels`` from, so that its
            outputs can be measured as those of a head; None where no such map says much.
    """

    names: ClassVar[TaskNames]
    columns: ClassVar[tuple[Column, ...]]
    example: ClassVar[str]
    metrics_up: ClassVar[Mapping[str, bool]]
    together: ClassVar[frozenset[str]] = frozenset()
    header: ClassVar[tuple[str, ...]]
    options: ClassVar[type[Options]] = Options
    max_length: ClassVar[int] = 128
    generates: ClassVar[bool] = False
    groups: ClassVar[bool] = False
    one_vector_a_row: ClassVar[bool] = False
    shares_passes: ClassVar[bool] = True
    draws_rows: ClassVar[bool] = False
    filler: ClassVar[float] = -100.0
    linear: ClassVar[Learner | None] = None

    @property
    def name(self) -> str:
        """Its name in a manifest."""
        return self.names.name

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that `predict` reads."""
        return tuple(column for column in self.columns if not column.target)

    @property
    def targets(self) -> tuple[Column, ...]:
        """The columns that the model is to learn."""
        return tuple(column for column in self.columns if column.target)

    def rows_for_metrics(self, rows: Rows) -> Rows:
        """Return the rows that a model reads for its metrics.

        A model that generates reads no target, as in `predict`.
        """
        return rows.without([one.name for one in self.targets]) if self.generates else rows

    def load_class(self, base: str) -> Any:
        """The auto class that loads a base model with a head for it.

        Args:
            base: Where the base model is: a folder, or a hub id.

        Raises:
            BaseModelNotFoundError: There is none in ``base``, or it cannot be read.
            UnsupportedModelError: No model of its architecture has such a head.
        """
        auto_class: Any = getattr(transformers, self.names.auto_class)
        config = load_config(base)
        if type(config) not in auto_class._model_mapping:
            raise UnsupportedModelError(
                f"The base model {base!r} is a {config.model_type}, which transformers has no "
                f"class of for {self.name}.",
                base,
            )
        return auto_class

    @property
    def asked_and_answered(self) -> tuple[Sequence[str], Sequence[str]]:
        """The columns of the question, and those of its answer: equal questions should agree."""
        return [one.name for one in self.inputs], [one.name for one in self.targets]

    def aligned(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """The columns of a table in the one form that the task type works with.

        A task type that takes several forms, such as a label as a number or as a text, decides here
        which one a table has. Each row was checked. What is to be learned may not be there.

        Raises:
            NotAlignedError: A row has another form than those before it, or none.
        """
        return columns

    def given(self, items: Iterable[Any]) -> Rows:
        """Rows from what a caller of `predict` gives: texts, tuples of texts, or mappings.

        Raises:
            DataError: An item is something else, or lacks a column.
        """
        columns: dict[str, list[Any]] = {column.name: [] for column in self.inputs}
        count = 0
        for count, item in enumerate(items, start=1):
            for name, value in self._given(item, count).items():
                columns[name].append(value)
        for column in self.inputs:
            if len(columns[column.name]) != count:
                if columns[column.name] or not column.optional:
                    raise DataError(
                        f"Some of the {count} rows have a {column.name}, and some have none; "
                        "expected it in each, or in none."
                    )
                del columns[column.name]
        return Rows("what was given", columns)

    def _given(self, item: Any, number: int) -> dict[str, Any]:
        values: Mapping[str, Any]
        if isinstance(item, Mapping):
            values = item
        else:
            parts = item if isinstance(item, tuple | list) else (item,)
            if len(parts) > len(self.inputs):
                parts = (item,)  # which is then refused as a value
            values = dict(zip((column.name for column in self.inputs), parts, strict=False))
        found = {}
        for column in self.inputs:
            if values.get(column.name) is None and column.optional:
                continue
            value = values.get(column.name)
            try:
                found[column.name] = column.given(value)
            except NotExpectedError as error:
                shown = repr(value)
                raise DataError(
                    f"Row {number} has {shown[:80]} ({type(value).__name__}) as its {column.name}; "
                    f"expected {error}.",
                    item,
                ) from None
        return found

    def options_of(self, given: Mapping[str, Any]) -> Options:
        """The options of `predict`, from what a caller names.

        Raises:
            ArgumentError: An option has a value of another type.
            DataError: The task type has no such option, or not with that value.
        """
        known = [one.name for one in fields(self.options)]
        for name in given:
            if name not in known:
                raise DataError(
                    f"{self.name} has no option {name!r} for its predictions; it has "
                    f"{', '.join(known) or 'none'}.{did_you_mean(name, known)}",
                    name,
                    given=name,
                    expected=known,
                )
        return self.options(**given)

    def check_options(self, options: Options, plan: HeadPlan) -> None:
        """Make sure that a head of this plan can answer so.

        Raises:
            DataError: It cannot.
        """

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Make sure that the columns of a row fit each other; each was checked for itself.

        Raises:
            NotExpectedError: They do not.
        """

    def fit_plan(self, rows: Rows) -> HeadPlan:
        """The head that these rows can train.

        Raises:
            LabelError: There is nothing to tell apart.
        """
        return HeadPlan()

    def flexible_head(self, rows: Rows, plan: HeadPlan) -> FlexibleHead:
        """The head that AdapterHub's library would train on these rows: two layers, and a tanh.

        Args:
            rows: The rows to train on.
            plan: What these rows can train.

        Raises:
            NoFlexibleHeadError: That library has no such head to train.
        """
        several = plan.problem_type == "multi_label_classification"
        kinds = sorted(self.names.heads, key=lambda kind: kind.startswith("multilabel") != several)
        if self.names.pretrained_head or not kinds or plan.outputs is None:
            raise NoFlexibleHeadError(
                f"{self.name} has no flexible head to train: its head is the base model's, or a "
                "class of transformers alone has it.",
                self.name,
            )
        return FlexibleHead(
            kinds[0], layers=2, activation="tanh", outputs=plan.outputs, several=several
        )

    def plan_of(self, manifest: Manifest) -> HeadPlan:
        """The plan of a published head.

        Raises:
            AdapterError: This task type cannot read its outputs.
        """
        return HeadPlan.of(manifest)

    def check(self, rows: Rows, plan: HeadPlan) -> None:
        """Make sure that a head of this plan can be measured on these rows.

        Raises:
            LabelError: A row has a label that the head does not know.
        """

    def strata(self, rows: Rows) -> Sequence[str] | None:
        """A value for each row, which held-out rows have in proportion; None if none matters."""
        return None

    def class_counts(self, rows: Rows, plan: HeadPlan) -> Sequence[int] | None:
        """How often each class of the head occurs; None where there are no classes to weigh."""
        return None

    def amount(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The number of items that the loss of a batch is a mean over.

        These are its labels other than -100, or its rows if labels are not for tokens. If a step is
        computed in parts, each part is weighted by its number.
        """
        labels = inputs.get("labels")
        if labels is None:
            labels = next(iter(inputs.values()))
        elif labels.ndim > 1 and not labels.is_floating_point():
            return (labels != -100).sum().float()
        return torch.tensor(float(len(labels)))

    def divides(self, encoded: Encoded) -> bool:
        """Whether the loss of a batch is the mean of those of its parts.

        If not, because it compares rows with each other, each of several processes computes it
        whole.
        """
        return True

    @abstractmethod
    def load_processor(self, base: str, model: PreTrainedModel) -> Processor:
        """Load what turns rows into what ``model`` reads.

        Args:
            base: Where the base model is: a folder, or a hub id.
            model: The base model.

        Raises:
            BaseModelNotFoundError: There is none in ``base``, or it cannot be read.
        """

    @abstractmethod
    def prepare(
        self, processor: Processor, model: PreTrainedModel, plan: HeadPlan, info: TextInfo
    ) -> None:
        """Make sure that a row has the same outputs alone and beside others.

        Args:
            processor: The base model's; it may be changed.
            model: With its head; its configuration may be changed.
            plan: The plan of the head.
            info: As recorded in training; before training, as the user chose.

        Raises:
            UnsupportedModelError: The model cannot be run with that processor.
        """

    @abstractmethod
    def text_info(
        self, processor: Processor, model: PreTrainedModel, asked: TextInfo, rows: Rows
    ) -> TextInfo:
        """How rows are cut and joined, for the manifest.

        Args:
            processor: The base model's, prepared.
            model: The base model.
            asked: The user's choices, such as ``max_length``; None in it: as the base model does.
            rows: The rows to train on.

        Raises:
            DataError: Something was chosen that the task type does not have.
        """

    @abstractmethod
    def probe(self, lengths: Sequence[int] = LENGTHS) -> Rows:
        """Rows to try a model with, which may have what is to be learned.

        Args:
            lengths: Words of each row; default: a long one and a short one. All images are as long.
        """

    def require_form(self, rows: Rows, info: TextInfo) -> None:
        """Make sure that rows have the form that training had, such as pairs.

        Args:
            rows: The rows to encode.
            info: As recorded in training.

        Raises:
            DataError: They have another.
        """

    @abstractmethod
    def encode(self, processor: Processor, rows: Rows, plan: HeadPlan, text: TextInfo) -> Encoded:
        """The rows as the model reads them, with what it is to learn where the rows have it.

        Raises:
            TextLengthError: The limit leaves no room for text.
        """

    @abstractmethod
    def collator(self, processor: Processor, model: PreTrainedModel) -> Any:
        """What makes a batch of features."""

    def training_collator(self, processor: Processor, model: PreTrainedModel) -> Any:
        """The same for training, where chance may play a part."""
        return self.collator(processor, model)

    def run(
        self, model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The loss, where the inputs have what is to be learned, and the outputs of a batch.

        A task type whose model generates calls ``model.generate`` here.
        """
        found = model(**inputs)
        return found.get("loss"), (found.logits,)

    def as_read(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs of the model among the outputs of the processor; default: all."""
        return dict(inputs)

    def one_pass(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of one forward pass for programs without hubkit, by name.

        Args:
            model: With its head.
            inputs: What the processor makes of rows, and nothing that is to be learned.

        Raises:
            UnsupportedModelError: An answer takes several passes.
        """
        return {"logits": model(**self.as_read(inputs)).logits}

    def loss(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """The loss of a batch in training; None: the one that the model computes itself."""
        return None

    @abstractmethod
    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """What `predict` returns: one prediction for each row, in the order of the rows."""

    def pictures(self, plan: HeadPlan) -> Mapping[str, Callable[[Outputs, Encoded, Rows], bytes]]:
        """The pictures of how well it was learned: a function that draws each, by its PNG file's
        name.
        """
        return {}

    @abstractmethod
    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """The numbers that ``metrics_up`` names; the rows have what is to be learned."""

    def undefined(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> frozenset[str]:
        """Those of the metrics that have no value here, though ``metrics`` gives a number."""
        return frozenset()

    def row_values(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> Mapping[str, np.ndarray]:
        """Those of the metrics that are means over rows: of each row, *shape* ``(rows,)``.

        NaN stands where a row takes no part in a metric.
        """
        return {}

    def row_choices(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The scores of the choices of each row, and the position of the right one.

        Returns:
            Scores before the softmax, *shape* ``(rows, choices)``, with -inf for a choice that a
            row does not have; and positions, *shape* ``(rows,)``. None where an answer is no choice
            of one among several.
        """
        return None


def joined(batches: Sequence[tuple[Tensor, ...]], filler: float = TaskType.filler) -> Outputs:
    """The outputs of batches as one, filled up where their widths differ."""
    return tuple(_joined([batch[at] for batch in batches], filler) for at in range(len(batches[0])))


def in_order(outputs: Outputs, order: Sequence[int]) -> Outputs:
    """Outputs that were computed in the order of ``order``, back in the order of the features."""
    places = np.argsort(np.array(order, dtype=np.int64))
    return tuple(array[places] for array in outputs)


def _joined(parts: Sequence[Tensor], filler: float) -> np.ndarray:
    arrays = [part.detach().to("cpu", torch.float32).numpy() for part in parts]
    shape = [max(array.shape[axis] for array in arrays) for axis in range(1, arrays[0].ndim)]
    whole = np.full((sum(map(len, arrays)), *shape), filler, dtype=np.float32)
    start = 0
    for array in arrays:
        whole[(slice(start, start + len(array)), *(slice(0, size) for size in array.shape[1:]))] = (
            array
        )
        start += len(array)
    return whole
