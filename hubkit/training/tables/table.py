"""A table: columns of equal length, and where each row of it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubkit.training.tables import conll
from registry.errors import DataError, MissingColumnError, did_you_mean

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", *conll.SUFFIXES)
"""The endings of files that hold a table."""

LINES = ".txt"
"""The ending of a file whose lines are texts: a table with the one column ``text``."""

BLOCK = 4096
"""Rows that are read at a time."""


@dataclass(frozen=True)
class Table:
    """Columns of equal length, as a file or an object holds them.

    Attributes:
        name: The name of the data: that of the file, or the data set's id.
        source: Its name in messages: the file's path.
        columns: The values by column.
        places: Where each row is, such as ``line 7``.
    """

    name: str
    source: str
    columns: Mapping[str, Sequence[Any]]
    places: Sequence[str]

    def __len__(self) -> int:
        return len(self.places)

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column.

        Raises:
            MissingColumnError: There is none of that name.
        """
        if name in self.columns:
            return self.columns[name]
        have = list(self.columns)
        raise MissingColumnError(
            f"{self.source} has no column {name!r}; it has {', '.join(have) or 'none'}."
            f"{did_you_mean(name, have)}",
            self.source,
            given=name,
            found=have,
        )


def join(blocks: Iterable[Table]) -> Table:
    """All rows of blocks; a column that only some of them have is None in the others."""
    columns: dict[str, list[Any]] = {}
    places: list[str] = []
    for block in blocks:
        for name in block.columns:
            if name not in columns:
                columns[name] = [None] * len(places)
        for name, values in columns.items():
            values += block.columns.get(name, [None] * len(block))
        places += block.places
    return Table(block.name, block.source, columns, places)


def require_unique(names: list[str], where: str) -> None:
    """Make sure that each column has a name of its own.

    Raises:
        DataError: Two have the same.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{where}: expected a name of its own for each column, found {twice[0]!r} "
            f"{names.count(twice[0])} times.",
            where,
            found=twice,
        )


def numbered(rows: int, first: int = 1) -> list[str]:
    """The places of rows that a source counts, and has no lines for."""
    return [f"row {number}" for number in range(first, first + rows)]
