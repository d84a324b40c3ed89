"""Blocks of the rows of files, and what answers them, in whatever process that is."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from hubkit.predicting.answers import Predictor, answer
from hubkit.predicting.files import File
from hubkit.predicting.formats import FORMATS
from hubkit.predicting.inputs import rows_of_file
from hubkit.tasks.running import Cut
from hubkit.tasks.task import Prediction


@dataclass(frozen=True)
class Block:
    """Rows of a file that follow each other.

    Attributes:
        number: Of the block, from 0.
        file: The file.
        start: How many rows of the file come before.
        before: How many rows of all files come before.
        size: How many rows it has.
    """

    number: int
    file: File
    start: int
    before: int
    size: int


@dataclass(frozen=True)
class Part:
    """The answers of a block.

    Attributes:
        block: The block.
        content: The answers, as a file of a format holds them.
        cut: How many of its rows were cut off.
    """

    block: Block
    content: bytes
    cut: Cut


@dataclass(frozen=True)
class Work:
    """What is to be done with blocks.

    Attributes:
        reading: Options of :func:`~hubkit.predicting.inputs.rows_of_file`.
        how: Options of ``predict``.
        kind: The class of the predictions.
        suffix: The format of the parts, by how the name of a file ends.
    """

    reading: Mapping[str, Any]
    how: Mapping[str, Any]
    kind: type[Prediction]
    suffix: str


Engine = Callable[[Work, Sequence[Block]], Iterator[Part]]
"""Answers blocks, in any order."""


class Worker:
    """Answers blocks with a model; a file is read once if its blocks come in their order."""

    def __init__(self, model: Predictor, work: Work) -> None:
        self._model, self._work = model, work
        self._file: File | None = None
        self._at = 0
        self._rows: Generator[dict[str, Any], None, None] = _nothing()

    def part(self, block: Block) -> Part:
        """Answer a block.

        Raises:
            DataError: As ``predict``, or the file cannot be read or has changed.
        """
        if self._file != block.file or self._at > block.start:
            self.close()
            self._file, self._at, self._rows = block.file, 0, self._read(block.file)
        rows = list(islice(self._rows, block.start - self._at, block.start - self._at + block.size))
        self._at = block.start + block.size
        block.file.require_same()
        answers, cut = answer(self._model, rows, block.before, **self._work.how)
        return Part(block, FORMATS[self._work.suffix].part(answers, self._work.kind), cut)

    def close(self) -> None:
        """Close the file that was read last."""
        self._rows.close()

    def _read(self, file: File) -> Generator[dict[str, Any], None, None]:
        with file.at_hand() as path:
            yield from chain.from_iterable(
                rows_of_file(self._model.task, path, **self._work.reading)
            )


def _nothing() -> Generator[dict[str, Any], None, None]:
    yield from ()


def here(model: Predictor) -> Engine:
    """An engine that answers blocks in this process, one after the other."""

    def parts(work: Work, blocks: Sequence[Block]) -> Iterator[Part]:
        with closing(Worker(model, work)) as worker:
            yield from map(worker.part, blocks)

    return parts
