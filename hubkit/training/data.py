"""Rows of a task type, from a file, a data set or an object: checked before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubkit.tasks.columns import Column, FractionError, NotAlignedError, NotExpectedError, label
from hubkit.tasks.rows import Rows
from hubkit.training.tables.read import read_blocks, read_table
from hubkit.training.tables.table import BLOCK, Table, join
from registry.errors import (
    DataError,
    MissingColumnError,
    OtherTaskTypeError,
)
from registry.storage.place import Place

if TYPE_CHECKING:
    import pandas
    from datasets import Dataset

    from hubkit.tasks.task import TaskType

logger = logging.getLogger(__name__)


def read_rows(
    task: TaskType[Any],
    source: str | Path | Dataset | pandas.DataFrame | Table,
    *,
    columns: Mapping[str, str] | None = None,
    split: str = "train",
    separator: str | None = None,
    encoding: str = "utf-8",
) -> Rows:
    """Read rows of a task type, with what a model is to learn of them.

    Args:
        task: Which columns there are.
        source: A ``.csv``, ``.tsv``, ``.json``, ``.jsonl`` or ``.parquet`` file, or one of CoNLL's
            form, such as ``.conll``; the id of a data set that ``datasets.load_dataset`` knows; or
            a ``datasets.Dataset`` or a ``pandas.DataFrame``; or a table that was read before.
        columns: The names of the columns in the source, by the task type's names; default: the
            same.
        split: The split of a data set id; a file has only one.
        separator: The separator of the columns of a CSV file; default: a comma, or a tab in a
            ``.tsv`` file.
        encoding: The encoding of a text file.

    Raises:
        DataError: There is no such data, it cannot be read, has no rows, lacks a column, or a value
            is not what the task type expects; the message has the place.
    """
    table = read_table(source, split=split, separator=separator, encoding=encoding)
    return rows_of(task, table, columns or {})


def rows_of(task: TaskType[Any], table: Table, columns: Mapping[str, str]) -> Rows:
    """The rows of a table that was read, as :func:`read_rows` gives them.

    Raises:
        DataError: As :func:`read_rows`.
    """
    found: dict[str, Sequence[Any]] = {}
    try:
        present = _present(task.columns, table, columns)
        _note_unused(present, table, columns)
    except MissingColumnError as error:
        _suggest(task, table, columns, error)
        raise
    for column in present:
        called = columns.get(column.name, column.name)
        if column.check is label:
            require_one_type(table.column(called), table, called)
        found[column.name] = _checked(column.check, _placed(column, table, called), table, called)
    _check_rows(task, table, found)
    return Rows(table.name, _aligned(task, found, table))


def read_inputs(
    task: TaskType[Any],
    source: str | Place,
    *,
    columns: Mapping[str, str] | None = None,
    beside: str | None = None,
    size: int = BLOCK,
    separator: str | None = None,
    encoding: str = "utf-8",
) -> Iterator[list[dict[str, Any]]]:
    """The input columns of a file, in blocks of rows: what ``AdaptedModel.predict`` takes.

    A file of any size is gone through in little memory; but where the task type takes rows
    together, they may be anywhere, and the whole file is one block. A Parquet or CSV file that has
    the columns and no rows is an empty block. A value that is missing is None, and an empty text
    stays as it is, whatever the column holds.

    Args:
        beside: Another column of the file that rows are to have, as it is and under its own name.

    Raises:
        DataError: As :func:`read_rows`; what is to be learned need not be there.
    """
    chosen: list[str] = []
    tables: Iterable[Table] = read_blocks(
        source, size=size, separator=separator, encoding=encoding, may_be_empty=True
    )
    if task.groups:
        tables = [join(tables)]
    for table in tables:
        present = _present(task.inputs, table, columns or {})
        names = [column.name for column in present]
        chosen = chosen or names
        if names != chosen:
            odd = ", ".join(sorted({*names} ^ {*chosen}))
            raise DataError(
                f"{table.source}, {table.places[0]}: the rows before have the columns "
                f"{', '.join(chosen)}, but from here on {odd} differs; expected the same in each.",
                table.source,
            )
        checked = [_inputs(column, table, (columns or {}).get(column.name)) for column in present]
        columns_read = dict(zip(names, checked, strict=True))
        if beside is not None:
            columns_read[beside] = _beside(beside, columns_read, table, columns or {})
        found = _aligned(task, columns_read, table)
        yield [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def _beside(
    name: str, read: Mapping[str, Sequence[Any]], table: Table, named: Mapping[str, str]
) -> Sequence[Any]:
    if named.get(name, name) != name and name in read:
        raise DataError(
            f"{table.source}: {name!r} is the name of a column of the task type, which is read "
            f"from {named[name]!r}; the column {name!r} of the file cannot stand beside it.",
            table.source,
        )
    return table.column(name)


def _inputs(column: Column, table: Table, called: str | None) -> Sequence[Any]:
    def check(value: Any) -> Any:
        empty = value is None or (isinstance(value, str) and not value.strip())
        return value if empty else column.given(value)

    called = called or column.name
    return _checked(check, _placed(column, table, called), table, called)


def _check_rows(task: TaskType[Any], table: Table, columns: Mapping[str, Sequence[Any]]) -> None:
    for place, row in zip(table.places, zip(*columns.values(), strict=True), strict=True):
        try:
            task.check_row(dict(zip(columns, row, strict=True)))
        except NotExpectedError as error:
            raise DataError(
                f"{table.source}, {place}: expected {error}.", table.source, expected=str(error)
            ) from None


def _present(columns: Sequence[Column], table: Table, named: Mapping[str, str]) -> list[Column]:
    """Those of the columns that the table has and that are meant.

    Raises:
        MissingColumnError: One that is needed is not there.
    """
    chosen: list[Column] = []
    for column in columns:
        called = named.get(column.name, column.name)
        others = {column.instead} & {one.name for one in chosen} | {column.instead} & named.keys()
        if column.name not in named:
            if others:
                continue
            there = called in table.columns
            if not there and (column.optional or column.instead in table.columns):
                continue
        table.column(called)  # which raises if it is not there
        chosen.append(column)
    return chosen


def _note_unused(present: Sequence[Column], table: Table, named: Mapping[str, str]) -> None:
    """Warn of two columns that could each be what is to be learned, if neither was named."""
    for column in present:
        other = column.instead
        if column.target and column.name not in named and other in table.columns:
            logger.warning(
                "%s: of the columns %s and %s, which can stand for each other, %s is used.",
                table.source,
                column.name,
                other,
                column.name,
            )


_FOREIGN = {
    "ranking": [{"user", "item", "rating"}],
    "token-classification": [{"tokens", "ner_tags"}],
    "summarization": [{"article", "summary"}, {"document", "summary"}, {"article", "highlights"}],
}
"""Columns by which data of a task type are known, where they are called otherwise."""


def _suggest(
    task: TaskType[Any], table: Table, named: Mapping[str, str], error: MissingColumnError
) -> None:
    """Name the other task types that fit the columns of a table, unless columns were named.

    Raises:
        OtherTaskTypeError: There are some.
    """
    from hubkit.tasks.table import TASK_TYPES

    if named:
        return
    have = table.columns.keys()
    fitting = [
        other.name
        for other in TASK_TYPES.values()
        if other is not task
        and (
            any(one <= have for one in _FOREIGN.get(other.name, ())) or _has_all(other, table, task)
        )
    ]
    if fitting:
        raise OtherTaskTypeError(
            f"{error} They are columns of {' or '.join(fitting)}, not of {task.name}.",
            table.source,
            given=task.name,
            found=tuple(fitting),
        ) from None


def _has_all(task: TaskType[Any], table: Table, meant: TaskType[Any]) -> bool:
    """Whether a table has all columns of a task type, and to learn what is no input of another."""
    try:
        present = _present(task.columns, table, {})
    except MissingColumnError:
        return False
    learned = {name for column in task.targets[:1] for name in (column.name, column.instead)}
    learned -= {column.name for column in meant.inputs}
    return any(column.name in learned for column in present)


def _placed(column: Column, table: Table, called: str) -> Sequence[Any]:
    """The values of a column; paths of files as seen from here."""
    values = table.column(called)
    if not (column.path and Path(table.source).is_file()):
        return values
    folder = Path(table.source).parent
    return [str(folder / one) if isinstance(one, str) and one.strip() else one for one in values]


def _checked(
    check: Callable[[Any], Any], values: Sequence[Any], table: Table, called: str
) -> Sequence[Any]:
    found = []
    for value, place in zip(values, table.places, strict=True):
        try:
            found.append(check(value))
        except NotExpectedError as error:
            shown = repr(value)
            message = (
                f"{table.source}, {place}: expected {error} in {called!r}, found "
                f"{shown if len(shown) <= 80 else shown[:77] + '...'}."
            )
            if isinstance(error, FractionError):
                raise OtherTaskTypeError(
                    f"{message} Numbers are learned by text-regression.",
                    table.source,
                    found=("text-regression",),
                ) from None
            raise DataError(message, table.source, expected=str(error), found=value) from None
    return found


def _aligned(
    task: TaskType[Any], columns: Mapping[str, Sequence[Any]], table: Table
) -> Mapping[str, Sequence[Any]]:
    try:
        return task.aligned(columns)
    except NotAlignedError as error:
        raise DataError(
            f"{table.source}, {table.places[error.row]}: {error}.", table.source
        ) from None


def require_one_type(values: Sequence[Any], table: Table, called: str) -> None:
    """A column whose values become names has one type: the number 1 and the text 1 look alike.

    Raises:
        DataError: Two values have different types.
    """
    first = next((value for value in values if value is not None), None)
    for value, place in zip(values, table.places, strict=True):
        if value is not None and type(value) is not type(first):
            raise DataError(
                f"{table.source}, {place}: expected values of one type in {called!r}, found "
                f"{value!r} ({type(value).__name__}) after {first!r} ({type(first).__name__}).",
                table.source,
                expected=type(first).__name__,
                found=value,
            )


class LabelledText(Rows):
    """Texts with one label each: rows of text classification.

    Args:
        name: What the data is called in metrics.
        texts: The texts.
        labels: The name of each text's label.
    """

    def __init__(self, name: str, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Put the two columns under the names of the task type."""
        super().__init__(name, {"text": texts, "label": labels})

    @property
    def texts(self) -> Sequence[str]:
        """The texts."""
        return self["text"]

    @property
    def labels(self) -> Sequence[str]:
        """The name of each text's label."""
        return self["label"]


def read_labelled_text(
    source: str | Path | Dataset | pandas.DataFrame,
    *,
    split: str = "train",
    text_column: str = "text",
    label_column: str = "label",
    separator: str | None = None,
    encoding: str = "utf-8",
) -> LabelledText:
    """Read texts with one label each; :func:`read_rows` reads those of any task type.

    Raises:
        DataError: As :func:`read_rows`.
    """
    from hubkit.tasks.text_classification import TEXT_CLASSIFICATION

    columns = {"text": text_column, "label": label_column}
    rows = read_rows(
        TEXT_CLASSIFICATION,
        source,
        columns=columns,
        split=split,
        separator=separator,
        encoding=encoding,
    )
    return LabelledText(rows.name, rows["text"], rows["label"])
