"""What there is to predict: the rows of a table, or lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, BinaryIO

from hubkit.predicting.answers import NUMBER, says_something
from hubkit.predicting.files import File
from hubkit.tasks.columns import NotExpectedError
from hubkit.tasks.task import TaskType
from hubkit.training.data import read_inputs
from hubkit.training.each.split import read_value
from hubkit.training.tables.json_file import load_json
from hubkit.training.tables.lines import opened, read_lines
from hubkit.training.tables.read import read_blocks
from hubkit.training.tables.table import SUFFIXES
from registry.errors import DataError
from registry.manifest import TextInfo
from registry.storage.place import Place

Rows = Iterator[list[dict[str, Any]]]
"""Rows by the names of the task type's columns, in blocks."""


def rows_of_file(
    task: TaskType[Any],
    path: Place,
    *,
    columns: dict[str, str] | None = None,
    each: str | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    objects: bool = False,
) -> Rows:
    """The rows of a table, or the lines of any other file.

    Args:
        task: The task type, which has the columns.
        path: A file; how its name ends says what it is.
        columns: The names of the columns in the file, by the task type's names.
        each: The column of a table that says which adapter a row belongs to; rows have it, too.
        separator: The separator of the columns of a CSV file.
        encoding: The encoding of a text file.
        objects: Whether a line is a JSON object; see :func:`takes_objects`.

    Raises:
        DataError: It cannot be read, or a row is not what the task type takes.
    """
    if path.suffix.lower() in SUFFIXES:
        rows = read_inputs(
            task, path, columns=columns, beside=each, separator=separator, encoding=encoding
        )
        yield from rows if each is None else _with_value(rows, each, str(path))
        return
    if each is not None:
        raise DataError(f"{path} has no columns: expected a {', '.join(SUFFIXES)} file.", str(path))
    with opened(path) as stream:
        yield from rows_of_lines(task, stream, str(path), encoding, objects=objects)


def rows_of_files(
    task: TaskType[Any], files: Sequence[File], **reading: Any
) -> Iterator[tuple[File, list[dict[str, Any]]]]:
    """The rows of files that are one table together, in blocks; an empty file is an empty block.

    Args:
        task: The task type, which has the columns.
        files: The files, in their order.
        reading: Options of :func:`rows_of_file`.

    Raises:
        DataError: One cannot be read, or has other columns than those before it; or some are
            predictions that were written before, and others are not.
    """
    names: list[str] = []
    plain = predicted = None
    for file in files:
        with file.at_hand() as path:
            if len(files) > 1 and _is_predicted(path, **reading):
                predicted = file
            else:
                plain = file
            if plain and predicted:
                raise DataError(
                    f"{predicted} begins with the column {NUMBER!r}, as predictions do that were "
                    f"written before, and {plain} does not; expected files of one table.",
                    predicted.called,
                )
            for rows in rows_of_file(task, path, **reading):
                own = [*rows[0]] if rows else names
                names = names or own
                if own != names:
                    raise DataError(
                        f"{file} has the columns {', '.join(own)}, but the files before it "
                        f"have {', '.join(names)}; expected the same in each.",
                        file.called,
                    )
                yield file, rows


def _is_predicted(
    path: Place, *, separator: str | None = None, encoding: str = "utf-8", **_: Any
) -> bool:
    """Whether a file is a table as predictions are written: with the number of the row first."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    blocks = read_blocks(path, size=1, separator=separator, encoding=encoding, may_be_empty=True)
    with closing(blocks):  # type: ignore[type-var]
        return next(iter(next(blocks).columns), None) == NUMBER


def _with_value(blocks: Rows, each: str, source: str) -> Rows:
    """The same blocks, in which every row that says something names its adapter."""
    number = 0
    for rows in blocks:
        for row in rows:
            number += 1
            if says_something(row, but=each):
                read_value(row[each], each, source, f"row {number}")
        yield rows


def rows_of_lines(
    task: TaskType[Any],
    stream: BinaryIO,
    source: str,
    encoding: str = "utf-8",
    *,
    objects: bool = False,
) -> Rows:
    """The lines that have come, again and again, each a row as :func:`row_of` reads it.

    Raises:
        DataError: They are not text in that encoding, or not what the task type takes.
    """
    number = 0
    for lines in read_lines(stream, source, encoding):
        yield [
            row_of(task, line, source, number + at, objects=objects)
            for at, line in enumerate(lines, start=1)
        ]
        number += len(lines)


def takes_objects(task: TaskType[Any], info: TextInfo | None) -> bool:
    """Whether a row is more than one text: the task type needs several columns, or it is a pair.

    Args:
        task: The task type, which has the columns.
        info: How texts were cut and joined in training, as far as that is known.
    """
    needed = [column for column in task.inputs if not column.optional and column.instead is None]
    return len(needed) > 1 or (info is not None and info.pair is not None)


def row_of(
    task: TaskType[Any], text: str, source: str, line: int | None = None, *, objects: bool = False
) -> dict[str, Any]:
    """A row written as one text: the text itself, or a JSON object with a value for each column.

    Args:
        task: The task type, which has the columns.
        text: A line, or an argument; a blank one is an empty row.
        source: Where it is from, for messages.
        line: Its number there; None where the source is this text alone.
        objects: Which of the two it is; see :func:`takes_objects`.

    Raises:
        DataError: It is not such an object.
    """
    inputs = task.inputs
    names = [column.name for column in inputs]
    if not objects or not text.strip():
        return {"text" if "text" in names else names[0]: text}
    where = source if line is None else f"{source}, line {line}"
    expected = f"expected a JSON object with {', '.join(names)}"
    if not text.lstrip().startswith("{"):
        raise DataError(
            f"{where}: a row of this adapter has several columns; {expected}, found {text[:60]!r}.",
            source,
            expected=names,
        )
    given, row = load_json(text, source, line or 1), {}
    for name in given:
        if name not in names:
            raise DataError(f"{where}: {expected}, found {name!r}.", source)
    for column in inputs:
        if column.name in given:
            try:
                row[column.name] = column.given(given[column.name])
            except NotExpectedError as error:
                raise DataError(
                    f"{where}: expected {error} in {column.name!r}, found {given[column.name]!r}.",
                    source,
                ) from None
        elif not column.optional and column.instead is None:
            raise DataError(f"{where}: {expected}; {column.name!r} is missing.", source)
    return row
