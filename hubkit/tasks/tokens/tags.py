"""The tags of words: those that rows have, and those that a model gives."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hubkit.tasks.rows import Rows
from hubkit.tasks.task import HeadPlan
from hubkit.tasks.tokens.pieces import Piece, first_pieces, word_ranges

logger = logging.getLogger(__name__)

OUTSIDE = "O"
"""The tag of what belongs to no entity."""

CHUNK = re.compile(r"([BIESLU])-(.+)")
"""A tag that says where in an entity it is, and the kind of the entity."""

_IGNORED = -100  # of torch's cross entropy


def kind_of(tag: str) -> str:
    """The kind of entity that a tag names, without where in the entity; O names no kind."""
    return tag[2:] or tag


def chunked(plan: HeadPlan) -> bool:
    """Whether tags say where an entity begins and continues: B-PER, I-PER, O, and their like."""
    return all(name == OUTSIDE or CHUNK.fullmatch(name) for name in plan.labels)


def count_unopened(tags: Sequence[str]) -> int:
    """How many entities begin with an I tag, which follows a B tag elsewhere."""
    pairs = zip([OUTSIDE, *tags], tags, strict=False)
    return sum(tag.startswith("I-") and before[1:] != tag[1:] for before, tag in pairs)


def tags_of_spans(spans: Sequence[Mapping[str, Any]]) -> list[str]:
    """The tags that spans may give to words: the B tag and the I tag of each."""
    return [f"{part}-{span['label']}" for span in spans for part in "BI"]


def as_bioes(rows: list[list[str]]) -> list[list[str]]:
    """Tags with the letters of seqeval: L (last) is its E (end), U (unit) its S (single)."""
    letters = {"L": "E", "U": "S"}
    return [[letters.get(tag[0], tag[0]) + tag[1:] for tag in tags] for tags in rows]


def word_tags(rows: Rows, row: int, pieces: Sequence[Piece]) -> list[str]:
    """The tag of each word of a row."""
    if "tags" in rows:
        return list(rows["tags"][row])
    words = word_ranges(pieces)
    found = [OUTSIDE] * len(words)
    for span in rows["spans"][row]:
        inside = words_inside(span, words)
        for word in inside:
            found[word] = f"{'B' if word == inside[0] else 'I'}-{span['label']}"
    return found


def words_inside(span: Mapping[str, Any], words: Sequence[tuple[int, int]]) -> list[int]:
    """The words that a span has a part of."""
    return [
        number
        for number, (start, end) in enumerate(words)
        if start < span["end"] and end > span["start"]
    ]


def note_moved(rows: Rows, pieces: Sequence[Sequence[Piece]]) -> None:
    """Warn, with a count, of spans that begin or end inside a word: the whole word is tagged."""
    moved = 0
    for row, spans in enumerate(rows.get("spans") or ()):
        words, text = word_ranges(pieces[row]), rows["text"][row]
        for span in spans:
            inside = words_inside(span, words)
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


def learned_ids(rows: Rows, row: int, pieces: Sequence[Piece], plan: HeadPlan) -> list[int]:
    """The id of the tag that each sub-token of a row learns; -100 for those that learn none."""
    found = [_IGNORED] * len(pieces)
    tags = word_tags(rows, row, pieces)
    for word, at in first_pieces(pieces).items():
        found[at] = plan.labels.index(tags[word])
    return found


def labels_of_window(special: Sequence[int], learned: Sequence[int]) -> list[int]:
    """What each token of a window learns: special tokens learn nothing."""
    rest = iter(learned)
    return [_IGNORED if is_special else next(rest) for is_special in special]


def predicted_tags(
    pieces: Sequence[Piece], logits: np.ndarray, words: int, plan: HeadPlan
) -> tuple[str, ...]:
    """The tag of each word; one that the tokenizer leaves out is outside of all entities."""
    firsts = first_pieces(pieces)
    best = logits.argmax(-1)
    return tuple(
        plan.labels[best[firsts[word]]] if word in firsts else OUTSIDE for word in range(words)
    )
