"""A tag for each token of a text: names and other entities, or parts of speech.

A row is tokens with a tag each, or a text with spans, whose words are tagged. The tag of a word is
learned and measured at its first sub-token, as in transformers' example ``run_ner``.
"""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import softmax
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from transformers import (
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hubkit.tasks.columns import (
    Column,
    NotExpectedError,
    any_text,
    is_unicode,
    label,
    labels_of,
    note_labels,
    place_of,
    same_label,
    text,
)
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import LENGTHS, Encoded, HeadPlan, Options, Outputs, Prediction
from hubkit.tasks.text import words
from hubkit.tasks.windows import Windows, WindowTask, spelled_together
from registry.errors import AdapterError, DataError, LabelError, SingleLabelError, did_you_mean
from registry.manifest import Manifest, TextInfo
from registry.task_types import TASK_TYPES

logger = logging.getLogger(__name__)

OUTSIDE = "O"
"""The tag of what belongs to no entity."""

AGGREGATIONS = ("none", "simple", "first", "average", "max")

_CHUNK = re.compile(r"([BIESLU])-(.+)")
_JOINERS = "\u200c\u200d"
_BEGINS_OR_GOES_ON = re.compile(r"O|[BI]-.+")
_IGNORED = -100  # of torch's cross entropy


def token_list(value: Any) -> list[str]:
    """Tokens: a list, or one text with spaces between."""
    tokens = value.split() if isinstance(value, str) else getattr(value, "tolist", lambda: value)()
    if not isinstance(tokens, Sequence) or not all(
        isinstance(one, str) and one and is_unicode(one) for one in tokens
    ):
        raise NotExpectedError("a list of tokens, or tokens separated by spaces")
    return list(tokens)


def some_tokens(value: Any) -> list[str]:
    """Tokens, at least one."""
    if not (tokens := token_list(value)):
        raise NotExpectedError("at least one token")
    if not all(map(str.strip, tokens)):
        raise NotExpectedError("tokens that are no spaces")
    return tokens


def tag_list(value: Any) -> list[str]:
    """Tags: a list, or one text with spaces between."""
    tags = value.split() if isinstance(value, str) else value
    if not isinstance(tags, Sequence):
        raise NotExpectedError("a list of tags, or tags separated by spaces")
    return labels_of(tags)


def span_list(value: Any) -> list[dict[str, Any]]:
    """Spans in the order of the text: a list of objects with a start, an end and a label.

    A span may have its text, which then has to stand there.
    """
    expected = "a list of spans, each an object with a start, an end and a label"
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise NotExpectedError(expected) from None
    if not isinstance(value, Sequence) or not all(isinstance(one, Mapping) for one in value):
        raise NotExpectedError(expected)
    spans = []
    for one in value:
        start, end = one.get("start"), one.get("end")
        if type(start) is not int or type(end) is not int or not 0 <= start < end:
            raise NotExpectedError("spans with a start from 0, and an end behind it")
        span = {"start": start, "end": end, "label": label(one.get("label"))}
        spans.append(span | ({"text": one["text"]} if one.get("text") is not None else {}))
    return sorted(spans, key=lambda span: span["start"])


@dataclass(frozen=True)
class Entity:
    """A part of a text with a label.

    Attributes:
        label: What it is; with the prefix of its tag where nothing is aggregated.
        score: Its probability, from 0 to 1.
        text: The part itself.
        start: Where it starts in the text, in characters.
        end: Where it ends.
    """

    label: str
    score: float
    text: str
    start: int
    end: int


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

    Raises:
        DataError: It is none of these.
    """

    aggregation: str = "first"

    def __post_init__(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise DataError(
                f"aggregation is one of {', '.join(AGGREGATIONS)}, not {self.aggregation!r}."
                f"{did_you_mean(str(self.aggregation), AGGREGATIONS)}",
                self.aggregation,
                expected=AGGREGATIONS,
            )


@dataclass(frozen=True)
class _Piece:
    """A sub-token: where it is in its text, without space around it, and in which word."""

    start: int
    end: int
    word: int | None


class TokenClassification(WindowTask):
    """Each output of the head stands for a tag."""

    names = TASK_TYPES["token-classification"]
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

    def fit_plan(self, rows: Rows) -> HeadPlan:
        """The tags that occur, sorted; of entities, the one that begins and the one that goes on.

        Both, because an entity of several words may be met later, where all here have one.
        """
        if "spans" in rows:
            counts = Counter(span["label"] for spans in rows["spans"] for span in spans)
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
        if "tags" in rows and _chunked(plan) and (odd := sum(map(_loose, rows["tags"]))):
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
        tags = (_spans_tags(spans) for spans in rows["spans"]) if "spans" in rows else rows["tags"]
        unknown = Counter(tag for row in tags for tag in row if tag not in plan.labels)
        if unknown:
            tag, count = unknown.most_common(1)[0]
            raise LabelError(
                f"{rows.name} has the tag {tag!r} ({count} times in {len(rows)} rows); expected "
                f"one of {', '.join(map(repr, plan.labels))}.{did_you_mean(tag, plan.labels)}",
                tag,
                expected=plan.labels,
                found=tag,
            )

    def class_counts(self, rows: Rows, plan: HeadPlan) -> Sequence[int] | None:
        """How many words have each tag; None for spans, whose words are not known yet."""
        if "tags" not in rows:
            return None
        counts = Counter(tag for tags in rows["tags"] for tag in tags)
        return [counts[name] for name in plan.labels]

    def encode(
        self, processor: PreTrainedTokenizerBase, rows: Rows, plan: HeadPlan, text: TextInfo
    ) -> Encoded:
        """A feature a window; ``labels`` is the id of a tag for each token that learns one."""
        texts, words = _texts(rows)
        windows = self.windows(processor, text, texts)
        firsts, pieces = _pieces(windows, texts, words)
        features = dict(windows.features)
        if "tags" in rows or "spans" in rows:
            self.check(rows, plan)
            learned = [_learned(rows, row, pieces[row], plan) for row in range(len(rows))]
            features["labels"] = [
                _labels(encoding.special_tokens_mask, learned[row][first:])
                for row, first, encoding in zip(
                    windows.row_of, firsts, windows.encodings, strict=True
                )
            ]
            _note_moved(rows, pieces)
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
        texts, words = _texts(rows)
        found: list[Prediction] = []
        for row, (pieces, logits) in enumerate(_whole(outputs, encoded, rows)):
            scores = softmax(logits.astype(np.float64), axis=-1)
            entities = _entities(texts[row], pieces, scores, plan, options.aggregation)
            if words is None:
                found.append(EntitiesPrediction(entities))
            else:
                tags = _tags(pieces, logits, len(words[row]), plan)
                found.append(TagsPrediction(entities, tags))
        return found

    def pictures(self, plan: HeadPlan) -> Mapping[str, Callable[[Outputs, Encoded, Rows], bytes]]:
        """Which words are taken for which kind of entity, or for which tag where there are none."""

        def draw(outputs: Outputs, encoded: Encoded, rows: Rows) -> bytes:
            from hubkit.plots import confusion_matrix  # slow to load, and only training draws

            kind = _kind if _chunked(plan) else str
            ids = {name: at for at, name in enumerate(dict.fromkeys(map(kind, plan.labels)))}
            expected, predicted = (
                [ids[kind(tag)] for tags in side for tag in tags]
                for side in _both(outputs, encoded, rows, plan)
            )
            return confusion_matrix([*ids], expected, predicted)

        return {"confusion.png": draw}

    def metrics(
        self, outputs: Outputs, encoded: Encoded, rows: Rows, plan: HeadPlan
    ) -> dict[str, float]:
        """F1, precision and recall of whole entities, and the accuracy of tags, by seqeval.

        Tags of another kind than B, I and O have no entities: of those, only the accuracy.
        """
        expected, predicted = _both(outputs, encoded, rows, plan)
        accuracy = {"accuracy": float(accuracy_score(expected, predicted))}
        if not _chunked(plan):
            return accuracy
        both = _as_bioes(expected), _as_bioes(predicted)
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
    for row, (pieces, logits) in enumerate(_whole(outputs, encoded, rows)):
        expected.append(_word_tags(rows, row, pieces))
        predicted.append(list(_tags(pieces, logits, len(expected[-1]), plan)))
    return expected, predicted


def _kind(tag: str) -> str:
    """What a tag of B, I and O says, wherever in an entity."""
    return tag[2:] or tag


def _chunked(plan: HeadPlan) -> bool:
    """Whether tags say where an entity begins and goes on: B-PER, I-PER, O, and their like."""
    return all(name == OUTSIDE or _CHUNK.fullmatch(name) for name in plan.labels)


def _loose(tags: Sequence[str]) -> int:
    """How many entities begin with a tag that goes on with one."""
    pairs = zip([OUTSIDE, *tags], tags, strict=False)
    return sum(tag.startswith("I-") and before[1:] != tag[1:] for before, tag in pairs)


def _spans_tags(spans: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{part}-{span['label']}" for span in spans for part in "BI"]


def _as_bioes(rows: list[list[str]]) -> list[list[str]]:
    """Tags with the letters of seqeval: L (last) is its E (end), U (unit) its S (single)."""
    letters = {"L": "E", "U": "S"}
    return [[letters.get(tag[0], tag[0]) + tag[1:] for tag in tags] for tags in rows]


def _texts(rows: Rows) -> tuple[list[str], list[list[tuple[int, int]]] | None]:
    """The text of each row, and where its tokens are in it; None for rows that are texts."""
    if "tokens" not in rows:
        return list(rows.get("text") or ()), None
    words = []
    for tokens in rows["tokens"]:
        places, start = [], 0
        for token in tokens:
            places.append((start, start + len(token)))
            start += len(token) + 1
        words.append(places)
    return [" ".join(tokens) for tokens in rows["tokens"]], words


def _pieces(
    windows: Windows, texts: Sequence[str], words: Sequence[Sequence[tuple[int, int]]] | None
) -> tuple[list[int], list[list[_Piece]]]:
    """Which sub-token of its row each window begins with, and all sub-tokens of each row."""
    firsts: list[int] = []
    pieces: list[list[_Piece]] = [[] for _ in texts]
    for row, shared, encoding in zip(
        windows.row_of, windows.shared, windows.encodings, strict=True
    ):
        starts = None if words is None else [start for start, _ in words[row]]
        first = len(pieces[row]) - shared
        pieces[row][first:] = [
            _piece(texts[row], *offsets, word, starts)
            for offsets, word, special in zip(
                encoding.offsets, encoding.word_ids, encoding.special_tokens_mask, strict=True
            )
            if not special
        ]
        firsts.append(first)
    if words is None:
        pieces = [_renumbered(text, own) for text, own in zip(texts, pieces, strict=True)]
    return firsts, pieces


def _piece(
    text: str, start: int, end: int, word: int | None, starts: Sequence[int] | None
) -> _Piece:
    """A sub-token without the space around it, in the given word that it begins in, if any."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return _Piece(start, end, word if starts is None else bisect_right(starts, start) - 1)


def _renumbered(text: str, pieces: Sequence[_Piece]) -> list[_Piece]:
    """The sub-tokens of a text by words that hold no punctuation.

    Some tokenizers take all between two spaces for a word: a name with its comma, a sentence in
    Chinese.
    """
    found: list[_Piece] = []
    for at, piece in enumerate(pieces):
        number = found[-1].word if found else -1
        assert number is not None
        same = at > 0 and piece.word == pieces[at - 1].word and _goes_on(text, found[-1], piece)
        found.append(replace(piece, word=number + (not same)))
    return found


def _goes_on(text: str, before: _Piece, piece: _Piece) -> bool:
    """Whether a sub-token goes on with the word of the one before it."""
    if piece.start < before.end:
        return True  # another byte of one character
    if before.end != piece.start or piece.start == piece.end:
        return False
    if before.start == before.end:
        return True  # the mark of a space, which belongs to what follows
    inside = all(map(_is_in_words, text[piece.start - 1 : piece.start + 1]))
    return inside and spelled_together(text, piece.start)


def _is_in_words(char: str) -> bool:
    """Whether it is a letter, a digit, or a mark upon one, as vowels are in Hindi and Arabic."""
    return char.isalnum() or unicodedata.category(char)[0] == "M" or char in _JOINERS


def _word_tags(rows: Rows, row: int, pieces: Sequence[_Piece]) -> list[str]:
    """The tag of each word of a row."""
    if "tags" in rows:
        return list(rows["tags"][row])
    words = _ranges(pieces)
    found = [OUTSIDE] * len(words)
    for span in rows["spans"][row]:
        inside = _inside(span, words)
        for word in inside:
            found[word] = f"{'B' if word == inside[0] else 'I'}-{span['label']}"
    return found


def _ranges(pieces: Sequence[_Piece]) -> list[tuple[int, int]]:
    """Where the words of a text start and end."""
    groups = [list(group) for _, group in groupby(pieces, lambda piece: piece.word)]
    return [(group[0].start, group[-1].end) for group in groups]


def _inside(span: Mapping[str, Any], words: Sequence[tuple[int, int]]) -> list[int]:
    """The words that a span has a part of."""
    return [
        number
        for number, (start, end) in enumerate(words)
        if start < span["end"] and end > span["start"]
    ]


def _note_moved(rows: Rows, pieces: Sequence[Sequence[_Piece]]) -> None:
    """Tell, counted, of spans that begin or end inside of a word: the whole word is tagged."""
    moved = 0
    for row, spans in enumerate(rows.get("spans") or ()):
        words, text = _ranges(pieces[row]), rows["text"][row]
        for span in spans:
            inside = _inside(span, words)
            part = text[span["start"] : span["end"]]
            start = span["start"] + len(part) - len(part.lstrip())
            end = span["end"] - len(part) + len(part.rstrip())
            if not inside or (words[inside[0]][0], words[inside[-1]][1]) != (start, end):
                moved += 1
    if moved:
        logger.warning(
            "%s: %d spans begin or end inside of a word, as the base model reads it; the whole "
            "word is tagged.",
            rows.name,
            moved,
        )


def _learned(rows: Rows, row: int, pieces: Sequence[_Piece], plan: HeadPlan) -> list[int]:
    """The id of the tag that each sub-token of a row is to learn."""
    found = [_IGNORED] * len(pieces)
    tags = _word_tags(rows, row, pieces)
    for word, at in _first_pieces(pieces).items():
        found[at] = plan.labels.index(tags[word])
    return found


def _first_pieces(pieces: Sequence[_Piece]) -> dict[int, int]:
    """The first sub-token of each word, by the number of the word."""
    found: dict[int, int] = {}
    for at, piece in enumerate(pieces):
        if piece.word is not None:
            found.setdefault(piece.word, at)
    return found


def _labels(special: Sequence[int], learned: Sequence[int]) -> list[int]:
    """What each token of a window is to learn: special tokens nothing."""
    rest = iter(learned)
    return [_IGNORED if is_special else next(rest) for is_special in special]


def _whole(
    outputs: Outputs, encoded: Encoded, rows: Rows
) -> Iterator[tuple[list[_Piece], np.ndarray]]:
    """The sub-tokens of each row, and their logits, *shape* ``(sub-tokens, tags)``.

    A sub-token in several windows counts where most of its text stands around it.
    """
    pieces: list[list[_Piece]] = [[] for _ in range(len(rows))]
    logits = [np.empty((0, outputs[0].shape[-1]), np.float32) for _ in pieces]
    around = [np.empty(0) for _ in pieces]
    for index, row in enumerate(encoded.row_of):
        all_pieces, first = encoded.beside["pieces"][index], encoded.beside["first"][index]
        special = np.array(encoded.beside["special"][index], dtype=bool)
        own = outputs[0][index, : len(special)][~special]
        count = len(all_pieces)
        if first == 0:
            pieces[row], around[row] = all_pieces, np.full(count, -1.0)
            logits[row] = np.zeros((count, own.shape[-1]), np.float32)
        places = np.arange(first, first + len(own))
        # Where the text itself begins or ends, nothing is missing.
        left = places - first if first else np.full(len(own), np.inf)
        right = places[::-1] - first if first + len(own) < count else np.full(len(own), np.inf)
        margin = np.minimum(left, right)
        better = margin > around[row][places]
        logits[row][places[better]], around[row][places[better]] = own[better], margin[better]
    return zip(pieces, logits, strict=True)


def _tags(
    pieces: Sequence[_Piece], logits: np.ndarray, words: int, plan: HeadPlan
) -> tuple[str, ...]:
    """The tag of each word; one that the tokenizer leaves out is outside of all entities."""
    firsts = _first_pieces(pieces)
    best = logits.argmax(-1)
    return tuple(
        plan.labels[best[firsts[word]]] if word in firsts else OUTSIDE for word in range(words)
    )


@dataclass(frozen=True)
class _Tagged:
    """A tag of a part of a text, with its probability."""

    tag: str
    score: float
    start: int
    end: int


def _entities(
    text: str, pieces: Sequence[_Piece], scores: np.ndarray, plan: HeadPlan, aggregation: str
) -> tuple[Entity, ...]:
    """The entities in a text, as the pipeline of transformers puts them together."""
    parts = [[at] for at in range(len(pieces))]
    if aggregation not in ("none", "simple"):
        parts = [
            list(group) for _, group in groupby(range(len(pieces)), lambda at: pieces[at].word)
        ]
    tagged = []
    for part in parts:
        row = _summed(scores[part], aggregation)
        best = int(row.argmax())
        start, end = pieces[part[0]].start, pieces[part[-1]].end
        tagged.append(_Tagged(plan.labels[best], float(row[best]), start, end))
    if aggregation != "none":
        tagged = _joined(tagged, _chunked(plan))
    return tuple(
        Entity(one.tag, one.score, text[one.start : one.end], one.start, one.end)
        for one in tagged
        if one.tag != OUTSIDE
    )


def _summed(scores: np.ndarray, aggregation: str) -> np.ndarray:
    """The probabilities of a word, *shape* ``(tags,)``, from those of its sub-tokens."""
    if aggregation == "average":
        return np.asarray(scores.mean(0))
    return np.asarray(scores[scores.max(-1).argmax() if aggregation == "max" else 0])


def _joined(tagged: Sequence[_Tagged], chunked: bool) -> list[_Tagged]:
    """Neighbours of one label as one, each with the mean of its scores, without their prefixes."""
    groups: list[list[_Tagged]] = []
    last = ""
    for one in tagged:
        match = _CHUNK.fullmatch(one.tag) if chunked else None
        letter, kind = match.groups() if match else ("I", one.tag)
        if not groups or kind != last or letter in "BSU":
            groups.append([])
        groups[-1].append(replace(one, tag=kind))
        last = kind
    return [
        _Tagged(
            group[0].tag,
            sum(one.score for one in group) / len(group),
            group[0].start,
            group[-1].end,
        )
        for group in groups
    ]


TOKEN_CLASSIFICATION = TokenClassification()
