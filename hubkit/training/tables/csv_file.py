"""Read CSV and TSV strictly: Python's csv module alone would skip or shift malformed rows."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from itertools import islice

from hubkit.training.tables.lines import opened, whole_lines
from hubkit.training.tables.table import Table, require_unique
from registry.errors import DataError, SeparatorError
from registry.storage.place import Place

logger = logging.getLogger(__name__)

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_csv(
    path: Place, separator: str, encoding: str, size: int, *, may_be_empty: bool = False
) -> Iterator[Table]:
    """The rows of a CSV file, in blocks of ``size`` rows.

    Args:
        path: The file.
        separator: The separator of its columns: one character.
        encoding: What it is in.
        size: Rows of a block.
        may_be_empty: Whether a header alone is a table without rows.

    Raises:
        SeparatorError: The columns cannot be, or are not, separated by ``separator``.
        DataError: The file cannot be read, or has no rows, or a row is not like the header.
    """
    source = str(path)
    if len(separator) != 1 or separator in '"\r\n':
        raise SeparatorError(
            f"{separator!r} cannot separate columns; expected one character.",
            source,
            given=separator,
        )
    suspects: list[int] = []
    with opened(path) as file:
        placed = _csv_rows(_csv_lines(whole_lines(file, source, encoding)), source, separator)
        with _any_field_size():
            header = _header(next(placed, (1, []))[1], source, separator)
        placed = _like_header(placed, header, source, separator)
        count = 0
        while True:
            with _any_field_size():
                block = list(islice(placed, size))
            if not block:
                break
            count += len(block)
            suspects += [
                line
                for line, row in block
                if any(_looks_like_rows(field, separator, len(header)) for field in row)
            ]
            columns = {name: [row[i] for _, row in block] for i, name in enumerate(header)}
            yield Table(path.name, source, columns, [f"line {line}" for line, _ in block])
    if not count and not may_be_empty:
        raise DataError(f"{source} has no rows.", source)
    if not count:
        yield Table(path.name, source, {name: [] for name in header}, [])
    if suspects:
        logger.warning(
            "%s: %d %s in quotes with what looks like whole rows inside; the first begins on line "
            "%d. That is right for a text of several lines, and wrong if a quote was never closed.",
            source,
            len(suspects),
            "field stands" if len(suspects) == 1 else "fields stand",
            suspects[0],
        )


def _csv_lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines as the csv module takes them, without the empty ones at the end."""
    empty: list[str] = []
    for text in texts:
        for line in StringIO(text, newline=""):
            if line.strip("\r\n"):
                yield from empty
                empty = []
                yield line
            else:
                empty.append(line)


def _csv_rows(lines: Iterator[str], source: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each row, and the line that it begins on."""
    rows = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        line = rows.line_num + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise DataError(_quote_problem(source, line, str(error)), source) from error
        if row is None:
            return
        yield line, row


def _like_header(
    placed: Iterable[tuple[int, list[str]]], header: list[str], source: str, separator: str
) -> Iterator[tuple[int, list[str]]]:
    for line, row in placed:
        if not row and len(header) == 1:
            row = [""]  # a file of one column: an empty line is an empty text
        if len(row) != len(header):
            raise DataError(_fields_problem(source, line, row, header, separator), source)
        yield line, row


def _header(row: list[str], source: str, separator: str) -> list[str]:
    names = [name.strip() for name in row]
    if not any(names):
        raise DataError(f"{source}, line 1: expected the names of the columns.", source)
    if len(names) == 1:
        for other, word in _SEPARATORS.items():
            if other != separator and other in names[0]:
                raise SeparatorError(
                    f"{source}: expected columns separated by "
                    f"{_SEPARATORS.get(separator, repr(separator))}, found {word} in the header "
                    f"{names[0]!r}.",
                    source,
                    given=separator,
                    found=other,
                )
    require_unique(names, f"{source}, line 1")
    return names


def _fields_problem(
    source: str, line: int, row: list[str], header: list[str], separator: str
) -> str:
    if not row:
        return f"{source}, line {line}: expected a row, found an empty line."
    word = _SEPARATORS.get(separator, repr(separator))
    fields = "field" if len(row) == 1 else "fields"
    return (
        f"{source}, line {line}: expected {len(header)} fields as in the header "
        f"({', '.join(header)}), found {len(row)} {fields}. Columns are separated by {word}; a "
        "text that holds one stands in quotes."
    )


def _quote_problem(source: str, line: int, reason: str) -> str:
    if "unexpected end of data" in reason:
        return f"{source}, line {line}: a quote is opened here and never closed."
    if "expected after" in reason:
        return (
            f"{source}, line {line}: a quote in this row does not end its field. Inside quotes, a "
            "quote is written twice; and each that is opened must be closed."
        )
    return f"{source}, line {line}: this is not CSV: {reason}."


def _looks_like_rows(field: str, separator: str, fields: int) -> bool:
    """Whether a field of several lines could have swallowed rows: an unclosed quote does that."""
    if fields < 2 or "\n" not in field:
        return False
    first, *middle = field.split("\n")[:-1]
    # The row that the field began in would have had at least one more field.
    return first.count(separator) >= 1 or any(
        line.count(separator) == fields - 1 for line in middle
    )


@contextmanager
def _any_field_size() -> Iterator[None]:
    """A text may have any length; the module's limit is for the whole process."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(limit)
