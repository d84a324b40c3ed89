"""The entities in a text, put together from the tags of its sub-tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np

from hubkit.tasks.task import HeadPlan
from hubkit.tasks.tokens.pieces import Piece
from hubkit.tasks.tokens.tags import CHUNK, OUTSIDE, chunked

Aggregation = Literal["none", "simple", "first", "average", "max"]
"""How sub-tokens are put together, by the names of transformers' pipeline."""


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
class _Tagged:
    """A tag of a part of a text, with its probability."""

    tag: str
    score: float
    start: int
    end: int


def entities_of(
    text: str, pieces: Sequence[Piece], scores: np.ndarray, plan: HeadPlan, aggregation: str
) -> tuple[Entity, ...]:
    """The entities in a text, as the pipeline of transformers puts them together.

    Args:
        text: The text.
        pieces: Its sub-tokens.
        scores: Their probabilities, *shape* ``(sub-tokens, tags)``.
        plan: The plan of the head.
        aggregation: One of ``Aggregation``.
    """
    parts = [[at] for at in range(len(pieces))]
    if aggregation not in ("none", "simple"):
        parts = [
            list(group) for _, group in groupby(range(len(pieces)), lambda at: pieces[at].word)
        ]
    tagged = []
    for part in parts:
        row = _aggregated(scores[part], aggregation)
        best = int(row.argmax())
        start, end = pieces[part[0]].start, pieces[part[-1]].end
        tagged.append(_Tagged(plan.labels[best], float(row[best]), start, end))
    if aggregation != "none":
        tagged = _joined(tagged, chunked(plan))
    return tuple(
        Entity(one.tag, one.score, text[one.start : one.end], one.start, one.end)
        for one in tagged
        if one.tag != OUTSIDE
    )


def _aggregated(scores: np.ndarray, aggregation: str) -> np.ndarray:
    """The probabilities of a word, *shape* ``(tags,)``, from those of its sub-tokens."""
    if aggregation == "average":
        return np.asarray(scores.mean(0))
    return np.asarray(scores[scores.max(-1).argmax() if aggregation == "max" else 0])


def _joined(tagged: Sequence[_Tagged], by_chunk: bool) -> list[_Tagged]:
    """Neighbours of one label as one, each with the mean of its scores, without their prefixes."""
    groups: list[list[_Tagged]] = []
    last = ""
    for one in tagged:
        match = CHUNK.fullmatch(one.tag) if by_chunk else None
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
