"""Read a table from whatever holds it, whole or in blocks.

The libraries that read files skip, shift, guess or convert what is not as it should be. Each file
of this folder makes one of them strict. A table is read in blocks, so that little memory is enough
for one of any size; :func:`read_table` joins them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from hubkit.training.tables import conll
from hubkit.training.tables.csv_file import read_csv
from hubkit.training.tables.dataset import read_id, read_object, read_parquet
from hubkit.training.tables.json_file import read_json
from hubkit.training.tables.lines import opened, read_lines, whole_lines
from hubkit.training.tables.table import BLOCK, LINES, SUFFIXES, Table, join
from registry.errors import DataError
from registry.storage.place import Place

if TYPE_CHECKING:
    import pandas
    from datasets import Dataset


def read_table(
    source: str | Place | Dataset | pandas.DataFrame | Table,
    *,
    split: str = "train",
    separator: str | None = None,
    encoding: str = "utf-8",
) -> Table:
    """Read a table.

    Args:
        source: A file that ends as one of `SUFFIXES` or in `LINES`; the id of a data set; or a
            ``datasets.Dataset`` or a ``pandas.DataFrame``. Of a data set with a transform, the
            rows are what the transform makes of them. A table is returned as it is.
        split: The split of a data set id; a file has only one.
        separator: The separator of the columns of a CSV file; default: a comma, or a tab in a
            ``.tsv`` file.
        encoding: The encoding of a text file; a byte order mark is left out.

    Raises:
        DataError: There is no such data, or it cannot be read, or a row is not like the others.
    """
    if isinstance(source, Table):
        return source
    if not isinstance(source, str | Place):
        return read_object(source)
    return join(read_blocks(source, split=split, separator=separator, encoding=encoding))


def read_blocks(
    source: str | Place,
    *,
    size: int = BLOCK,
    split: str = "train",
    separator: str | None = None,
    encoding: str = "utf-8",
    may_be_empty: bool = False,
) -> Iterator[Table]:
    """As :func:`read_table`, in blocks of ``size`` rows; the last may have fewer.

    No more than a block is in memory at a time, but of a file that is one JSON list.

    Args:
        source: A file, or the id of a data set.
        size: Rows of a block.
        split: As :func:`read_table`.
        separator: As :func:`read_table`.
        encoding: As :func:`read_table`.
        may_be_empty: Whether a Parquet or CSV file that has columns and no rows is one block
            without rows, such as the empty part of a table.

    Raises:
        DataError: As :func:`read_table`; what is wrong with a row, when its block is asked for.
    """
    path, text = Path(source) if isinstance(source, str) else source, str(source)
    suffix, endings = path.suffix.lower(), (*SUFFIXES, LINES)
    if suffix in endings and path.is_file():
        if os.stat(path).st_size == 0:
            raise DataError(f"{text} is an empty file.", text)
        if suffix == ".parquet":
            return read_parquet(path, size, may_be_empty=may_be_empty)
        if suffix in (".csv", ".tsv"):
            separator = separator or ("\t" if suffix == ".tsv" else ",")
            return read_csv(path, separator, encoding, size, may_be_empty=may_be_empty)
        if suffix in conll.SUFFIXES:
            return _read_conll(path, encoding)
        if suffix == LINES:
            return _read_texts(path, encoding, size)
        return read_json(path, encoding, size)
    if suffix in endings or path.exists():
        found = "does not exist"
        if path.exists():
            found = "is a folder" if path.is_dir() else f"has the ending {path.suffix!r}"
            if suffix in endings and not path.is_dir():
                found = "is not a regular file"
        raise DataError(
            f"{text} {found}; expected a {', '.join(endings)} file, or a data set id.", text
        )
    return read_id(text, split, size)


def _read_texts(path: Place, encoding: str, size: int) -> Iterator[Table]:
    """A text a line; lines without text are left out."""
    source = str(path)
    with opened(path) as file:
        lines = chain.from_iterable(read_lines(file, source, encoding))
        placed = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
        block = list(islice(placed, size))
        if not block:
            raise DataError(f"{source} has no rows.", source)
        while block:
            places = [f"line {number}" for number, _ in block]
            yield Table(path.name, source, {"text": [line for _, line in block]}, places)
            block = list(islice(placed, size))


def _read_conll(path: Place, encoding: str) -> Iterator[Table]:
    with opened(path) as file:
        content = "".join(whole_lines(file, str(path), encoding))
    yield Table(path.name, str(path), *conll.read_sentences(content, str(path)))
