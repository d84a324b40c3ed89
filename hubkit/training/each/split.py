"""Rows by the values of a column, each of which gets an adapter, and the adapters' names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubkit.tasks.rows import Rows
from hubkit.training.data import require_one_type, rows_of
from hubkit.training.tables.read import read_table
from hubkit.training.tables.table import Table
from registry import AdapterRef
from registry.errors import DataError, InvalidNameError

if TYPE_CHECKING:
    import pandas
    from datasets import Dataset

    from hubkit.tasks.task import TaskType

_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")


def read_each(
    task: TaskType[Any],
    source: str | Path | Dataset | pandas.DataFrame | Table,
    column: str,
    *,
    columns: Mapping[str, str] | None = None,
    split: str = "train",
    separator: str | None = None,
    encoding: str = "utf-8",
) -> dict[str, Rows]:
    """The rows of each value of a column, in the order in which the values first occur.

    Args:
        column: Says which adapter a row belongs to: a text or a whole number.
        task: As in :func:`hubkit.training.data.read_rows`, which has the other arguments, too.

    Raises:
        DataError: As ``read_rows``; or a row has nothing in the column, or something else.
    """
    table = read_table(source, split=split, separator=separator, encoding=encoding)
    values = table.column(column)
    require_one_type(values, table, column)
    places: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        name = read_value(value, column, table.source, table.places[row])
        places.setdefault(name, []).append(row)
    return {
        value: rows_of(task, _part(table, rows), columns or {}) for value, rows in places.items()
    }


def read_value(value: Any, column: str, source: str, place: str) -> str:
    """The text of a value that says which adapter a row belongs to.

    Raises:
        DataError: It is neither a text nor a whole number, or empty.
    """
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).strip():
        raise DataError(
            f"{source}, {place}: expected a text or a whole number in {column!r}, which names the "
            f"adapter of a row, found {value!r}.",
            source,
            expected="a text or a whole number",
            found=value,
        )
    return str(value).strip()


def _part(table: Table, rows: list[int]) -> Table:
    return replace(
        table,
        columns={name: [values[row] for row in rows] for name, values in table.columns.items()},
        places=[table.places[row] for row in rows],
    )


def names_of(prefix: AdapterRef, values: Iterable[str]) -> dict[str, AdapterRef]:
    """The names of the adapters of some values, such as ``team/user-Zoe-K`` for ``Zoë K.``.

    Args:
        prefix: What they all begin with, such as ``team/user``; its version or alias is theirs.
        values: Letters lose their accents; what a name cannot hold becomes ``-``.

    Raises:
        InvalidNameError: Nothing is left of a value, or a name is too long.
        DataError: Two values would have one name.
    """
    names: dict[str, AdapterRef] = {}
    taken: dict[str, str] = {}
    for value in values:
        plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
        word = re.sub(r"\.{2,}", ".", _OTHERS.sub("-", plain)).strip("-.")
        if not word:
            raise InvalidNameError(
                f"The value {value!r} has no ASCII letter or digit that an adapter's name could "
                f"hold after {prefix}-.",
                value,
            )
        ref = replace(prefix, name=f"{prefix.name}-{word}")
        if (other := taken.setdefault(ref.folded, value)) != value:
            raise DataError(
                f"The values {other!r} and {value!r} would both be named {ref}; expected values "
                "that differ in more than case, accents and signs.",
                value,
                found=(other, value),
            )
        names[value] = ref
    return names
