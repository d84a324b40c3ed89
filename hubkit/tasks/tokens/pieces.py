"""The sub-tokens of rows: where they are in the text, in which word, and their logits."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, Outputs
from hubkit.tasks.windows import Windows, spelled_together

_JOINERS = "\u200c\u200d"


@dataclass(frozen=True)
class Piece:
    """A sub-token.

    Attributes:
        start: Where it starts in its text, in characters, without the space before it.
        end: Where it ends, without the space after it.
        word: The number of its word; None where the tokenizer gives it none.
    """

    start: int
    end: int
    word: int | None


def texts_of(rows: Rows) -> tuple[list[str], list[list[tuple[int, int]]] | None]:
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


def pieces_of(
    windows: Windows, texts: Sequence[str], words: Sequence[Sequence[tuple[int, int]]] | None
) -> tuple[list[int], list[list[Piece]]]:
    """Which sub-token of its row each window begins with, and all sub-tokens of each row."""
    firsts: list[int] = []
    pieces: list[list[Piece]] = [[] for _ in texts]
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
) -> Piece:
    """A sub-token without the space around it, in the given word that it begins in, if any."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return Piece(start, end, word if starts is None else bisect_right(starts, start) - 1)


def _renumbered(text: str, pieces: Sequence[Piece]) -> list[Piece]:
    """The sub-tokens of a text by words that hold no punctuation.

    Some tokenizers take all between two spaces for a word: a name with its comma, a sentence in
    Chinese.
    """
    found: list[Piece] = []
    for at, piece in enumerate(pieces):
        number = found[-1].word if found else -1
        assert number is not None
        same = at > 0 and piece.word == pieces[at - 1].word and _goes_on(text, found[-1], piece)
        found.append(replace(piece, word=number + (not same)))
    return found


def _goes_on(text: str, before: Piece, piece: Piece) -> bool:
    """Whether a sub-token continues the word of the one before it."""
    if piece.start < before.end:
        return True  # another byte of one character
    if before.end != piece.start or piece.start == piece.end:
        return False
    if before.start == before.end:
        return True  # the mark of a space, which belongs to what follows
    inside = all(map(is_in_words, text[piece.start - 1 : piece.start + 1]))
    return inside and spelled_together(text, piece.start)


def is_in_words(char: str) -> bool:
    """Whether it is a letter, a digit, or a mark upon one, as vowels are in Hindi and Arabic."""
    return char.isalnum() or unicodedata.category(char)[0] == "M" or char in _JOINERS


def word_ranges(pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    """Where each word of a text starts and ends."""
    groups = [list(group) for _, group in groupby(pieces, lambda piece: piece.word)]
    return [(group[0].start, group[-1].end) for group in groups]


def first_pieces(pieces: Sequence[Piece]) -> dict[int, int]:
    """The first sub-token of each word, by the number of the word."""
    found: dict[int, int] = {}
    for at, piece in enumerate(pieces):
        if piece.word is not None:
            found.setdefault(piece.word, at)
    return found


def whole_rows(
    outputs: Outputs, encoded: Encoded, rows: Rows
) -> Iterator[tuple[list[Piece], np.ndarray]]:
    """The sub-tokens of each row, and their logits, *shape* ``(sub-tokens, tags)``.

    A sub-token in several windows counts where most of its text stands around it.
    """
    pieces: list[list[Piece]] = [[] for _ in range(len(rows))]
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
