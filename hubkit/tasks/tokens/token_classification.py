"""A tag for each token of a text: names and other entities, or parts of speech.

A row is tokens with a tag each, or a text with spans, whose words are tagged. The tag of a word is
learned and measured at its first sub-token, as in transformers' example ``run_ner``.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import softmax
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from torch import Tensor
from transformers import (
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hubkit import plots
from hubkit.tasks.columns import (
    Column,
    NotExpectedError,
    any_text,
    check_known,
    note_labels,
    place_of,
    text,
)
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import LENGTHS, Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import words
from hubkit.tasks.tokens.columns import some_tokens, span_list, tag_list, token_list
from hubkit.tasks.tokens.entities import Aggregation, Entity, entities_of
from hubkit.tasks.tokens.pieces import pieces_of, texts_of, whole_rows
from hubkit.tasks.tokens.tags import (
    CHUNK,
    OUTSIDE,
    as_bioes,
    chunked,
    count_unopened,
    kind_of,
    labels_of_window,
    learned_ids,
    note_moved,
    predicted_tags,
    tags_of_spans,
    word_tags,
)
from hubkit.tasks.windows import WindowTask, of_tokens
from registry.errors import AdapterError, DataError, LabelError, SingleLabelError
from registry.labels import same_label
from registry.manifest import Manifest, TextInfo
from registry.task_types import TASK_NAMES

logger = logging.getLogger(__name__)

_BEGINS_OR_GOES_ON = re.compile(r"O|[BI]-.+")


@dataclass(frozen=True)
class EntitiesPrediction(Prediction):
    """What stands in one text.

    Attributes:
        entities: In the order of the text; there may be none.
    """

    entities: tuple[Entity, ...]

    def cells(self) -> tuple[str, ...]:
        """The entities, each with its label and its score; a dash where there are none."""
        shown = (f"{one.text} [{one.label} {one.score:.4f}]" for one in self.entities)
        return (", ".join(shown) or "-",)


@dataclass(frozen=True)
class TagsPrediction(EntitiesPrediction):
    """What stands in one row of tokens; places are those in the tokens joined by single spaces.

    Attributes:
        tags: The tag of each token, as its first sub-token has it.
    """

    tags: tuple[str, ...]


@dataclass(frozen=True)
class TokenOptions(Options):
    """How sub-tokens become entities.

    Attributes:
        aggregation: ``none`` gives each sub-token by itself. ``simple`` joins neighbours of one
            label. The others first give all sub-tokens of a word one tag: that of the ``first``,
            which is the one that learned it and that `metrics` measures, that of their
            ``average``, or that of the surest (``max``). These are the aggregation strategies of
            the pipeline of transformers, whose default is ``none``.
    """

    aggregation: Aggregation = "first"


class TokenClassification(WindowTask):
    """Each output of the head stands for a tag."""

    names = TASK_NAMES["token-classification"]
    columns = (
        Column("tokens", some_tokens, instead="text", given=token_list),
        Column("text", text, instead="tokens"),
        Column("tags", tag_list, target=True, instead="spans"),
        Column("spans", span_list, target=True, instead="tags"),
    )
    example = '{"tokens": ["Ada", "Lovelace", "wrote", "."], "tags": ["B-PER", "I-PER", "O", "O"]}'
    metrics_up = MappingProxyType({"f1": True, "precision": True, "recall": True, "accuracy": True})
    header = ("entities",)
    options = TokenOptions
    linear = "tokens"

    @staticmethod
    def stride(limit: int) -> int:
        """A quarter: an entity is short."""
        return limit // 4

    def given(self, items: Any) -> Rows:
        """Rows from texts, from lists of tokens, or from mappings that have one of both.

        Raises:
            DataError: An item is something else, or some are texts and others are tokens.
        """
        checks = {"text": any_text, "tokens": token_list}
        found: list[Any] = []
        names: set[str] = set()
        for number, item in enumerate(items, start=1):
            name, value = "tokens", item
            if isinstance(item, Mapping):
                name = "text" if item.get("text") is not None else "tokens"
                value = item.get(name)
            elif isinstance(item, str):
                name = "text"
            try:
                found.append(checks[name](value))
            except NotExpectedError:
                raise DataError(
                    f"Row {number} is {repr(item)[:80]} ({type(item).__name__}); expected a "
                    "Unicode text, or a list of tokens.",
                    item,
                ) from None
            if len(names := names | {name}) > 1:
                raise DataError(
                    "Some rows are texts, and some are lists of tokens; expected one of both.", item
                )
        return Rows("what was given", dict.fromkeys(names, found))

    def probe(self, lengths: Sequence[int] = LENGTHS) -> Rows:
        """Texts of so many words."""
        return self.given(words(lengths))

    def check_row(self, row: Mapping[str, Any]) -> None:
        """A tag for each token, or spans inside of the text that do not overlap."""
        if row.keys() not in ({"tokens", "tags"}, {"text", "spans"}):
            raise NotExpectedError(
                f"tokens with tags, or a text with spans, found {' with '.join(row)}"
            )
        if "tags" in row:
            tokens, tags = len(row["tokens"]), len(row["tags"])
            if tokens != tags:
                raise NotExpectedError(f"a tag for each token, found {tags} tags, {tokens} tokens")
            return
        before = 0
        for span in row["spans"]:
            shown = f"{span['label']} from {span['start']} to {span['end']}"
            if span["label"] == OUTSIDE:
                raise NotExpectedError(f"spans of entities alone, found {shown}")
            there = row["text"][span["start"] : span["end"]]
            if (part := span.get("text", there)) != there:
                place = place_of(str(part), row["text"], span["start"])
                raise NotExpectedError(
                    f"{str(part)[:80]!r} as the text of {shown}, found {there[:80]!r}; {place}"
                )
            if span["end"] > len(row["text"]):
                raise NotExpectedError(
                    f"spans inside of the text of {len(row['text'])} characters, found {shown}"
                )
            if span["start"] < before:
                raise NotExpectedError(f"spans that do not overlap, found {shown} inside another")
            if not row["text"][span["start"] : span["end"]].strip():
                raise NotExpectedError(f"spans of text, found {shown}, which is empty")
            before = span["end"]

    def aligned(self, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """Spans without their text, which stands in the row's."""
        if "spans" not in columns:
            return columns
        spans = [
            [{k: one[k] for k in ("start", "end", "label")} for one in row]
            for row in columns["spans"]
        ]
        return {**columns, "spans": spans}

    def run(
        self, model: PreTrainedModel, inputs: Mapping[str, Tensor], options: Options
    ) -> tuple[Tensor | None, tuple[Tensor, ...]]:
        """The loss, and the outputs of each token, *shape* ``(batch, tokens, tags)``."""
        loss, (logits,) = super().run(model, inputs, options)
        return loss, (of_tokens(logits, inputs),)

    def fit_plan(self, rows: Rows) -> HeadPlan:
        """The tags that occur, sorted; of each kind of entity, the B tag and the I tag.

        Both, because entities of several words may come later, even if all here have one.
        """
        if "spans" in rows:
            counts = Counter(span["label"] for spans in rows["spans"] for span in spans)
            if prefixed := sorted(kind for kind in counts if CHUNK.fullmatch(kind)):
                logger.warning(
                    "%s: spans have the label %s, which looks like a tag; the label of a span is "
                    "the kind of entity alone, and its words are tagged B-%s and I-%s.",
                    rows.name,
                    ", ".join(prefixed[:3]),
                    prefixed[0],
                    prefixed[0],
                )
            names = [OUTSIDE] if counts else []
            names += sorted(f"{part}-{kind}" for kind in counts for part in "BI")
        else:
            counts = Counter(tag for tags in rows["tags"] for tag in tags)
            names = sorted(counts)
            if (counts.keys() - {OUTSIDE}) and all(map(_BEGINS_OR_GOES_ON.fullmatch, names)):
                kinds = {name[2:] for name in names if name != OUTSIDE}
                names = sorted({*names, *(f"{part}-{kind}" for kind in kinds for part in "BI")})
        if len(names) < 2:
            raise SingleLabelError(
                f"{rows.name} has no tag but {names[0]!r}; expected at least two."
                if names
                else f"{rows.name} has no span in any row.",
                rows.name,
                found=names,
            )
        if twins := same_label(names):
            raise LabelError(
                f"{rows.name} has the tags {twins}; expected one spelling for each.", rows.name
            )
        note_labels(rows.name, counts)
        plan = HeadPlan(len(names), tuple(names))
        if "tags" in rows and chunked(plan) and (odd := sum(map(count_unopened, rows["tags"]))):
            logger.warning(
                "%s: %d entities begin with an I tag where a B tag is usual; each counts as an "
                "entity of its own, as seqeval has it.",
                rows.name,
                odd,
            )
        return plan

    def plan_of(self, manifest: Manifest) -> HeadPlan:
        """A tag for each output."""
        plan = HeadPlan.of(manifest)
        if not plan.labels:
            raise AdapterError(
                f"A head for token-classification has a label for each output; this one has "
                f"{plan.outputs or 'no'} outputs and no labels."
            )
        return plan

    def check(self, rows: Rows, plan: HeadPlan) -> None:
        """Every tag of the rows is one of the head's."""
        tags = map(tags_of_spans, rows["spans"]) if "spans" in rows else rows["tags"]
        found = [tag for row in tags for tag in row]
        check_known(rows.name, "tag", found, plan.labels, f"times in {len(rows)} rows")

    def class_counts(self, rows: Rows, plan: HeadPlan) -> Sequence[int] | None:
        """How many words have each tag; None for spans, whose words are not known yet."""
        if "tags" not in rows:
            return None
        counts = Counter(tag for tags in rows["tags"] for tag in tags)
        return [counts[name] for name in plan.labels]

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature for each window; ``labels`` is the tag's id for each token that learns one."""
        texts, words = texts_of(rows)
        windows = self.windows(processor, text, texts)
        firsts, pieces = pieces_of(windows, texts, words)
        features = dict(windows.features)
        if "tags" in rows or "spans" in rows:
            self.check(rows, plan)
            learned = [learned_ids(rows, row, pieces[row], plan) for row in range(len(rows))]
            features["labels"] = [
                labels_of_window(encoding.special_tokens_mask, learned[row][first:])
                for row, first, encoding in zip(
                    windows.row_of, firsts, windows.encodings, strict=True
                )
            ]
            note_moved(rows, pieces)
        return Encoded(
            features,
            windows.row_of,
            beside={
                "first": firsts,
                "special": [one.special_tokens_mask for one in windows.encodings],
                "pieces": [pieces[row] for row in windows.row_of],
            },
        )

    def collator(self, processor: PreTrainedTokenizerBase, model: PreTrainedModel) -> Any:
        """Batches that are filled up to their longest window, the labels, too."""
        return DataCollatorForTokenClassification(processor)

    def predictions(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan, options: Options
    ) -> Sequence[Prediction]:
        """The entities of each row; of rows of tokens, their tags, too."""
        assert isinstance(options, TokenOptions)
        texts, words = texts_of(rows)
        found: list[Prediction] = []
        for row, (pieces, logits) in enumerate(whole_rows(outputs, encoded, rows)):
            scores = softmax(logits.astype(np.float64), axis=-1)
            entities = entities_of(texts[row], pieces, scores, plan, options.aggregation)
            if words is None:
                found.append(EntitiesPrediction(entities))
            else:
                tags = predicted_tags(pieces, logits, len(words[row]), plan)
                found.append(TagsPrediction(entities, tags))
        return found

    def pictures(self, plan: HeadPlan) -> Mapping[str, Callable[[Outputs, Encoded, Rows], bytes]]:
        """Which kinds of entities are confused, or which tags if there are no entities."""

        def draw(outputs: Outputs, encoded: Encoded, rows: Rows) -> bytes:
            kind = kind_of if chunked(plan) else str
            ids = {name: at for at, name in enumerate(dict.fromkeys(map(kind, plan.labels)))}
            expected, predicted = (
                [ids[kind(tag)] for tags in side for tag in tags]
                for side in _both(outputs, encoded, rows, plan)
            )
            return plots.confusion_matrix([*ids], expected, predicted)

        return {"confusion.png": draw}

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """F1, precision and recall of whole entities, and the accuracy of tags, by seqeval.

        Tags of another kind than B, I and O have no entities: of those, only the accuracy.
        """
        expected, predicted = _both(outputs, encoded, rows, plan)
        accuracy = {"accuracy": float(accuracy_score(expected, predicted))}
        if not chunked(plan):
            return accuracy
        both = as_bioes(expected), as_bioes(predicted)
        return {
            "f1": float(f1_score(*both, zero_division=0)),
            "precision": float(precision_score(*both, zero_division=0)),
            "recall": float(recall_score(*both, zero_division=0)),
            **accuracy,
        }


def _both(
    outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
) -> tuple[list[list[str]], list[list[str]]]:
    """The tags of the words of each row, and those that were predicted."""
    expected: list[list[str]] = []
    predicted: list[list[str]] = []
    for row, (pieces, logits) in enumerate(whole_rows(outputs, encoded, rows)):
        expected.append(word_tags(rows, row, pieces))
        predicted.append(list(predicted_tags(pieces, logits, len(expected[-1]), plan)))
    return expected, predicted


TOKEN_CLASSIFICATION = TokenClassification()
