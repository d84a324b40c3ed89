"""Rows with what an adapter says of them, block by block; an empty row keeps its place."""

from __future__ import annotations

import types
import typing
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from hubkit.inference import AdaptedModel
from hubkit.tasks.task import Prediction
from registry.errors import DataError

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


def answered(
    model: AdaptedModel,
    blocks: Iterable[Sequence[Mapping[str, Any]]],
    *,
    source: str,
    start: int = 0,
    **how: Any,
) -> Iterator[list[Answer]]:
    """What a model says of each row, in blocks as they come.

    Args:
        model: A loaded adapter.
        blocks: Rows by the names of columns. One is empty where a value of it is.
        source: Their name in messages.
        start: How many rows came before.
        how: Options of ``predict``.

    Raises:
        DataError: No row says something, or as ``predict``.
    """
    waiting: deque[Sequence[Mapping[str, Any]]] = deque()
    number, some = start, start > 0

    def filled() -> Iterator[list[Mapping[str, Any]]]:
        for block in blocks:
            waiting.append(block)
            yield [row for row in block if says_something(row)]

    for found in model.predict_blocks(filled(), **how):
        predictions = iter(found)
        answers = []
        for row in waiting.popleft():
            number += 1
            prediction = next(predictions) if says_something(row) else None
            answers.append(Answer(number, row, prediction))
        some = some or bool(found)
        yield answers
    if not some:
        raise no_text(source)


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


def says_something(row: Mapping[str, Any]) -> bool:
    """Whether every value is there, and no text is blank."""
    return all(
        bool(value.strip()) if isinstance(value, str) else value is not None and value != []
        for value in row.values()
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
