"""How predictions are written to files: CSV, JSON lines and Parquet.

A file is put together from parts, each of which holds a block of answers and is whole by itself.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from hubkit.predicting.answers import NUMBER, Answer, field_types
from hubkit.tasks.task import Prediction
from registry.errors import DataError


class Format(Protocol):
    """A kind of file."""

    def part(self, answers: Sequence[Answer], kind: type[Prediction]) -> bytes:
        """A block of answers; `kind` is the class of the predictions."""

    def join(self, parts: Sequence[Path], target: BinaryIO) -> None:
        """Write the parts as one file, in little memory."""


class Csv:
    """A header, then a line for each row. A value that is neither text nor number is JSON."""

    def part(self, answers: Sequence[Answer], kind: type[Prediction]) -> bytes:
        """Each part has the header, so that it is a file by itself."""
        records = [answer.record(kind) for answer in answers]
        rows = [list(records[0]), *([*map(_cell, record.values())] for record in records)]
        return "".join(map(_line, rows)).encode()

    def join(self, parts: Sequence[Path], target: BinaryIO) -> None:
        """The header of the first part, and the rows of all."""
        for number, part in enumerate(parts):
            with part.open("rb") as file:
                header = file.readline()
                target.write(header if number == 0 else b"")
                shutil.copyfileobj(file, target)


class JsonLines:
    """A JSON object a row."""

    def part(self, answers: Sequence[Answer], kind: type[Prediction]) -> bytes:
        """The lines of a block."""
        return "".join(
            json.dumps(answer.record(kind), ensure_ascii=False) + "\n" for answer in answers
        ).encode()

    def join(self, parts: Sequence[Path], target: BinaryIO) -> None:
        """The lines of all parts."""
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, target)


class Parquet:
    """A group of rows a block: predictions as their class is typed, what was given as text."""

    def part(self, answers: Sequence[Answer], kind: type[Prediction]) -> bytes:
        """All parts have the same types, whatever is in them."""
        import pyarrow
        import pyarrow.parquet

        hints = field_types(kind)
        types = {NUMBER: pyarrow.int64()} | {name: _type(hint) for name, hint in hints.items()}
        records = [answer.record(kind) for answer in answers]
        arrays = {}
        for name in records[0]:
            own = types.get(name, pyarrow.string())
            arrays[name] = pyarrow.array([_value(record[name], own) for record in records], own)
        stream = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(arrays), stream)
        return stream.getvalue()

    def join(self, parts: Sequence[Path], target: BinaryIO) -> None:
        """The groups of all parts."""
        import pyarrow.parquet

        schema = pyarrow.parquet.read_schema(parts[0])
        with pyarrow.parquet.ParquetWriter(target, schema) as writer:
            for part in parts:
                writer.write_table(pyarrow.parquet.read_table(part))


FORMATS: Mapping[str, Format] = {".csv": Csv(), ".jsonl": JsonLines(), ".parquet": Parquet()}
"""The kinds of files by how their names end."""


def format_of(path: Path) -> Format:
    """The kind of a file.

    Raises:
        DataError: Its name ends otherwise.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise DataError(
            f"Predictions are written to a {', '.join(FORMATS)} file; {path} ends in "
            f"{path.suffix or 'none of these'}.",
            str(path),
        )
    return FORMATS[suffix]


def _cell(value: Any) -> Any:
    plain = value is None or isinstance(value, str | int | float)
    return value if plain else json.dumps(value, ensure_ascii=False)


def _line(cells: Sequence[Any]) -> str:
    r"""A line of a CSV file, with ``\n`` at its end."""
    text = io.StringIO(newline="")
    # What ends a line stands in quotes inside of a cell; Python's module asks for the line's own
    # end alone, and readers take a ``\r`` for one, too.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def _type(hint: Any) -> Any:
    """The type in Parquet of what is typed so in Python; text where there is none."""
    import pyarrow

    simple = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    simple[bool] = pyarrow.bool_()
    if hint in simple:
        return simple[hint]
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return pyarrow.map_(*map(_type, inside))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return pyarrow.list_(_type(inside[0]))
    if isinstance(hint, type) and is_dataclass(hint):
        hints = field_types(hint)
        return pyarrow.struct([(one.name, _type(hints[one.name])) for one in fields(hint)])
    return pyarrow.string()


def _value(value: Any, own: Any) -> Any:
    import pyarrow

    if value is not None and pyarrow.types.is_map(own):
        return list(value.items())
    if pyarrow.types.is_string(own) and not isinstance(value, str | None):
        return json.dumps(value, ensure_ascii=False)
    return value
