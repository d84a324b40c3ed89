"""Rows with what an adapter says of them, block by block; an empty row keeps its place."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from hubkit.tasks.running import Cut
from hubkit.tasks.task import Prediction, TaskType
from registry.errors import DataError
from registry.manifest import TextInfo

NUMBER = "row"
"""The name of the column with the number of a row."""


@dataclass(frozen=True)
class Answer:
    """A row with its prediction.

    Attributes:
        number: Of the row, from 1.
        row: The input, by the names of columns.
        prediction: The answer of the adapter; None for an empty row.
    """

    number: int
    row: Mapping[str, Any]
    prediction: Prediction | None

    def record(self, kind: type[Prediction]) -> dict[str, Any]:
        """All of it by name; the fields of `kind`, the class of predictions, are None if empty.

        A column that is called as a field of the prediction gets ``input_`` before its name.
        """
        names = [field.name for field in fields(kind)]
        own = {input_name(name, kind): value for name, value in self.row.items()}
        found = dict.fromkeys(names) if self.prediction is None else asdict(self.prediction)
        return {NUMBER: self.number, **own, **found}


def input_name(column: str, kind: type[Prediction]) -> str:
    """The name of an input column beside predictions of a class."""
    taken = {NUMBER, *(field.name for field in fields(kind))}
    return f"input_{column}" if column in taken else column


class Predictor(Protocol):
    """What answers rows: an adapter; or many, of which each row names one."""

    @property
    def task(self) -> TaskType[Any]:
        """The task type of all answers."""

    @property
    def text(self) -> TextInfo | None:
        """How texts were cut and joined in training, as far as that is known."""

    @property
    def each(self) -> str | None:
        """The column that names the adapter of a row; None if one adapter answers all."""

    @property
    def depends_on(self) -> dict[str, str]:
        """What its answers depend on, beside the rows and the options."""

    def predict_block(
        self,
        block: Iterable[Any],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        **options: Any,
    ) -> tuple[Sequence[Prediction], Cut]:
        """Answers to rows that say something, and how many of these were cut off."""


def answer(
    model: Predictor, rows: Iterable[Mapping[str, Any]], before: int, **how: Any
) -> tuple[list[Answer], Cut]:
    """What a model says of each of some rows, and how many of these were cut off.

    Args:
        model: Answers them.
        rows: By the names of columns. One is empty where a value of it is.
        before: How many rows came before.
        how: Options of ``predict``.

    Raises:
        DataError: As ``predict``.
    """
    rows = list(rows)
    found, cut = model.predict_block([row for row in rows if says_something(row)], **how)
    predictions = iter(found)
    return [
        Answer(number, row, next(predictions) if says_something(row) else None)
        for number, row in enumerate(rows, start=before + 1)
    ], cut


def answered(
    model: Predictor, blocks: Iterable[Sequence[Mapping[str, Any]]], *, source: str, **how: Any
) -> Iterator[list[Answer]]:
    """The same for blocks of rows as they come; what was cut off is noted once, at the end.

    Args:
        source: The name of the rows in messages.

    Raises:
        DataError: No row says something, or as ``predict``.
    """
    model.predict_block([], **how)  # refuses an option before any row is waited for
    number, cut = 0, Cut()
    for block in blocks:
        answers, more = answer(model, block, number, **how)
        number, cut = number + len(block), cut + more
        yield answers
    if not cut.rows:
        raise no_text(source)
    cut.note()


def with_kind(
    blocks: Iterable[list[Answer]],
) -> Iterator[tuple[list[Answer], type[Prediction]]]:
    """Each block with the class of the predictions; empty ones wait until that is known."""
    waiting: list[list[Answer]] = []
    kind: type[Prediction] | None = None
    for answers in blocks:
        waiting.append(answers)
        if kind is None:
            some = (type(one.prediction) for one in answers if one.prediction is not None)
            kind = next(some, None)
        if kind is not None:
            yield from ((block, kind) for block in waiting)
            waiting = []


def no_text(source: str) -> DataError:
    """The error for texts of which none says something."""
    return DataError(f"There is no text in {source}: expected one in each row.", source)


def says_something(row: Mapping[str, Any], *, but: str | None = None) -> bool:
    """Whether every value is there, and no text is blank.

    Args:
        row: By the names of columns.
        but: A column that is not looked at.
    """
    return all(
        bool(value.strip()) if isinstance(value, str) else value is not None and value != []
        for name, value in row.items()
        if name != but
    )


def field_types(kind: type[Any]) -> dict[str, Any]:
    """The types of the fields of a dataclass, such as a prediction, without ``| None``."""
    hints = typing.get_type_hints(kind)
    return {field.name: _required(hints[field.name]) for field in fields(kind)}


def _required(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [one for one in typing.get_args(hint) if one is not type(None)]
        return kinds[0] if len(kinds) == 1 else Any
    return hint
