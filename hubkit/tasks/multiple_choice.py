"""A prompt and some choices, to the choice that fits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.metrics import accuracy_score
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from hubkit.tasks.columns import Column, NotAlignedError, NotExpectedError, listed, text
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import LENGTHS, Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import TextTask, encode_each, tokens_read, words
from registry.folders.flexible_heads import FlexibleHead
from registry.labels import as_seen
from registry.manifest import Manifest, TextInfo
from registry.task_types import TASK_NAMES

_INDEX = re.compile(r"\d+")


@dataclass(frozen=True)
class ChoicePrediction(Prediction):
    """Which choice fits.

    Attributes:
        choice: Its text.
        index: Its position among the choices, from 0.
        score: Its probability, from 0 to 1.
        scores: The probability of each choice, in the order of the choices.
    """

    choice: str
    index: int
    score: float
    scores: dict[str, float]

    def cells(self) -> tuple[str, ...]:
        """The choice and its score."""
        return self.choice, f"{self.score:.4f}"


def choices(value: Any) -> list[str]:
    """Two different texts or more: a list, a JSON list as text, or one text with | between them."""
    found = listed(value)
    if isinstance(found, str):
        found = [part.strip() for part in found.split("|")]
    if not isinstance(found, list | tuple):
        raise NotExpectedError("a list of texts, or texts with | between them")
    found = [text(one) for one in found]
    if len(found) < 2 or len(set(map(as_seen, found))) < len(found):
        raise NotExpectedError("two choices or more, which look different,")
    return found


def label(value: Any) -> int | str:
    """The index of the choice that fits, as a number or as text; or the choice's text."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise NotExpectedError("the index of a choice, counted from 0, or the choice's text")
    return value if isinstance(value, int) else text(value)


class MultipleChoice(TextTask):
    """The head gives each choice one number; together they make probabilities.

    The prompt and a choice are read as a pair, as with transformers' ``ForMultipleChoice`` classes.
    Rows may have different numbers of choices.

    A label is the index of a choice, counted from 0, or the choice's text; it is the same in all
    rows. A number is always an index. Where digits in a CSV file are the text of one choice and the
    index of another, the row is refused.
    """

    names = TASK_NAMES["multiple-choice"]
    columns = (
        Column("prompt", text),
        Column("choices", choices, given=choices),
        Column("label", label, target=True),
    )
    example = "prompt,choices,label\nWhere do fish live?,sea|tree|house,sea\n"
    metrics_up = MappingProxyType({"accuracy": True})
    shares_passes = False
    always_pairs = True
    filler = -np.inf
    linear = "choices"
    header = ("choice", "score")
    one_vector_a_row = True

    def aligned(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """Each label as the index of a choice of its row."""
        if "label" not in columns:
            return columns
        indices: list[int] = []
        kinds: set[str] = set()
        for row, (value, among) in enumerate(
            zip(columns["label"], columns["choices"], strict=True)
        ):
            kind, index = _index(row, value, among)
            if kind != "text and index":  # which is the same choice, whichever is meant
                kinds.add(kind)
            if len(kinds) > 1:
                raise NotAlignedError(
                    row,
                    f"the label {value!r} is the {kind} of a choice, and those before it are not: "
                    "expected indices in each row, or texts in each row",
                )
            indices.append(index)
        return {**columns, "label": indices}

    def flexible_head(self, rows: Rows, plan: HeadPlan) -> FlexibleHead:
        """One number for each choice; AdapterHub's library wants to know how many there are."""
        most = max(map(len, rows["choices"]))
        return FlexibleHead("multiple_choice", layers=2, activation="tanh", outputs=1, choices=most)

    def plan_of(self, manifest: Manifest) -> HeadPlan:
        """One number for each choice, however many there are."""
        return HeadPlan()

    def probe(self, lengths: Sequence[int] = LENGTHS) -> Rows:
        """Prompts of so many words, with as many choices each."""
        texts = words(lengths)
        among = [[*texts[at:], *texts[:at]] for at in range(len(texts))]
        return Rows("probe", {"prompt": texts, "choices": among})

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature for each row: lists with a value for each choice. ``labels`` is the index."""
        row_of = [row for row, among in enumerate(rows["choices"]) for _ in among]
        prompts = [rows["prompt"][row] for row in row_of]
        flat = [choice for among in rows["choices"] for choice in among]
        encoded, cut = encode_each(processor, prompts, flat, text)
        features: dict[str, list[Any]] = {name: [[] for _ in range(len(rows))] for name in encoded}
        for name, values in encoded.items():
            for row, value in zip(row_of, values, strict=True):
                features[name][row].append(value)
        if "label" in rows:
            features["labels"] = list(rows["label"])
        limit = tokens_read(processor, text.max_length)
        return Encoded(features, range(len(rows)), len({row_of[at] for at in cut}), limit)

    def collator(self, processor: PreTrainedTokenizerBase, model: PreTrainedModel) -> Any:
        """Batches of all choices of their rows, one after the other."""
        return _Collator(DataCollatorWithPadding(processor))

    def run(
        self, model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The scores of the choices, *shape* ``(rows, most choices)``: -inf where a row has fewer.

        The loss is the cross-entropy of the softmax over a row's own choices.
        """
        given = dict(inputs)
        labels, sizes = given.pop("labels", None), given.pop("sizes")
        flat = self.one_pass(model, given)["logits"][:, 0]
        there = torch.arange(int(sizes.max()), device=sizes.device) < sizes.unsqueeze(1)
        scores = flat.new_full(there.shape, -torch.inf).masked_scatter(there, flat)
        return None if labels is None else cross_entropy(scores.float(), labels), (scores,)

    def as_read(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rows with a single choice each, *shape* ``(pairs, 1, length)``, so that nothing is
        computed for choices that a shorter row lacks.
        """
        return {name: values.unsqueeze(1) for name, values in inputs.items()}

    def loss(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """The cross-entropy over a row's own choices."""
        return self.run(model, inputs, self.options())[0]

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """The most probable choice, with the probabilities of all."""
        return [
            _prediction(scores, among)
            for scores, among in zip(_own(outputs, rows), rows["choices"], strict=True)
        ]

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """How many of the rows get their choice."""
        found = [int(scores.argmax()) for scores in _own(outputs, rows)]
        return {"accuracy": float(accuracy_score(rows["label"], found))}

    def row_values(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> Mapping[str, np.ndarray]:
        """Which rows get their choice."""
        found = [int(scores.argmax()) for scores in _own(outputs, rows)]
        return {"accuracy": np.equal(found, rows["label"]).astype(float)}

    def row_choices(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> tuple[np.ndarray, np.ndarray]:
        """The choices of each row."""
        return outputs[0], np.array(rows["label"], dtype=np.int64)


@dataclass(frozen=True)
class _Collator:
    """Batches of rows with different numbers of choices.

    Attributes:
        pad: Makes a batch of single texts.
    """

    pad: DataCollatorWithPadding

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """All choices of all rows, and ``sizes``: how many each row has."""
        rows = [{k: v for k, v in one.items() if k != "labels"} for one in features]
        flat = [
            dict(zip(row, values, strict=True))
            for row in rows
            for values in zip(*row.values(), strict=True)
        ]
        batch = dict(self.pad(flat))
        batch["sizes"] = torch.tensor([len(row["input_ids"]) for row in rows])
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([one["labels"] for one in features])
        return batch


def _index(row: int, value: int | str, among: Sequence[str]) -> tuple[str, int]:
    """What kind of label it is, and the choice that it means.

    Raises:
        NotAlignedError: It means none of them, or two.
    """
    last = len(among) - 1
    if isinstance(value, int):
        if 0 <= value <= last:
            return "index", value
        raise NotAlignedError(
            row, f"expected the index of one of {last + 1} choices, from 0 to {last}, found {value}"
        )
    texts = list(map(as_seen, among))
    meant = {}
    if as_seen(value) in texts:
        meant["text"] = texts.index(as_seen(value))
    if _INDEX.fullmatch(value.strip()) and int(value) <= last:
        meant["index"] = int(value)
    if len(set(meant.values())) == 2:
        raise NotAlignedError(
            row,
            f"the label {value!r} is the text of choice {meant['text']} and the index of another, "
            "counted from 0: expected a number in a JSON or Parquet file where an index is meant",
        )
    if not meant:
        raise NotAlignedError(
            row, f"expected one of the choices {among} or its index, found {value!r}"
        )
    return " and ".join(meant), next(iter(meant.values()))


def _own(outputs: Outputs, rows: Rows) -> list[np.ndarray]:
    """The scores of each row's own choices."""
    return [scores[: len(among)] for scores, among in zip(outputs[0], rows["choices"], strict=True)]


def _prediction(scores: np.ndarray, among: Sequence[str]) -> ChoicePrediction:
    found = softmax(scores.astype(np.float64))
    best = int(found.argmax())
    by_choice = dict(zip(among, map(float, found), strict=True))
    return ChoicePrediction(among[best], best, float(found[best]), by_choice)


MULTIPLE_CHOICE = MultipleChoice()
