"""Read a table strictly: each row is what the file says, or an error names the place.

CSV and TSV are read by Python's csv module, JSON and JSON lines by its json module, Parquet by
pyarrow, the rest by datasets and pandas. What is here makes them strict: they skip, shift, guess
or convert what is not as it should be. `conll` and `squad` know how files of those two forms nest
their rows. A table is read in blocks, so that one of any size can be gone through in little memory;
whoever needs all of it has them joined.
"""

from __future__ import annotations

import csv
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubkit.training import conll, squad
from hubkit.training.lines import opened, read_lines, whole_lines
from registry.errors import DataError, MissingColumnError, SeparatorError, did_you_mean

if TYPE_CHECKING:
    import pandas
    from datasets import Dataset

logger = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", *conll.SUFFIXES)
"""How the names of files end that hold a table."""

LINES = ".txt"
"""How the name of a file ends whose lines are texts: a table with the one column ``text``."""

BLOCK = 4096
"""Rows that are read at a time."""

_AROUND = ("data", "rows", "examples", "train", "validation", "test")
"""What objects of JSON call the list of their rows."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


@dataclass(frozen=True)
class Table:
    """Columns of equal length, as a file or an object holds them.

    Attributes:
        name: What the data is called: the file's name, or the data set's id.
        source: What messages call it: the file's path.
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


def read_table(
    source: str | Path | Dataset | pandas.DataFrame,
    *,
    split: str = "train",
    separator: str | None = None,
    encoding: str = "utf-8",
) -> Table:
    """Read a table.

    Args:
        source: A file that ends as one of `SUFFIXES` or in `LINES`; the id of a data set; or a
            ``datasets.Dataset`` or a ``pandas.DataFrame``. Of a data set with a transform, the
            rows are what the transform makes of them.
        split: The split of a data set id; a file has only one.
        separator: What separates the columns of a CSV file; default: a comma, in a ``.tsv`` file a
            tab.
        encoding: Of a text file; a byte order mark is left out.

    Raises:
        DataError: There is no such data, or it cannot be read, or a row is not like the others.
    """
    if not isinstance(source, str | Path):
        return _of_object(source)
    return _joined(read_blocks(source, split=split, separator=separator, encoding=encoding))


def read_blocks(
    source: str | Path,
    *,
    size: int = BLOCK,
    split: str = "train",
    separator: str | None = None,
    encoding: str = "utf-8",
) -> Iterator[Table]:
    """As :func:`read_table`, in blocks of ``size`` rows; the last may have fewer.

    No more than a block is in memory at a time, but of a file that is one JSON list.

    Raises:
        DataError: As :func:`read_table`; what is wrong with a row, when its block is asked for.
    """
    path, text = Path(source), str(source)
    suffix, endings = path.suffix.lower(), (*SUFFIXES, LINES)
    if suffix in endings and path.is_file():
        if path.stat().st_size == 0:
            raise DataError(f"{text} is an empty file.", text)
        if suffix == ".parquet":
            return _of_parquet(path, size)
        if suffix in (".csv", ".tsv"):
            separator = separator or ("\t" if suffix == ".tsv" else ",")
            return _of_csv(path, separator, encoding, size)
        if suffix in conll.SUFFIXES:
            return _of_conll(path, encoding)
        if suffix == LINES:
            return _of_lines(path, encoding, size)
        return _of_json(path, encoding, size)
    if suffix in endings or path.exists():
        found = "does not exist"
        if path.exists():
            found = "is a folder" if path.is_dir() else f"has the ending {path.suffix!r}"
            if suffix in endings and not path.is_dir():
                found = "is no regular file"
        raise DataError(
            f"{text} {found}; expected a {', '.join(endings)} file, or a data set id.", text
        )
    return _of_id(text, split, size)


def _joined(blocks: Iterable[Table]) -> Table:
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


# --- CSV ----------------------------------------------------------------------------------------


def _of_csv(path: Path, separator: str, encoding: str, size: int) -> Iterator[Table]:
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
    if not count:
        raise DataError(f"{source} has no rows.", source)
    if suspects:
        logger.warning(
            "%s: %d %s in quotes with what looks like whole rows inside; the first begins on line "
            "%d. That is right for a text of several lines, and wrong where a quote was never "
            "closed.",
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
    return _without_twins(names, f"{source}, line 1")


def _without_twins(names: list[str], where: str) -> list[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"{where}: expected a name of its own for each column, found {twice[0]!r} "
            f"{names.count(twice[0])} times.",
            where,
            found=twice,
        )
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
    # The row that the field began in would have gone on for at least one more field.
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


# --- texts, CoNLL and JSON ----------------------------------------------------------------------


def _of_lines(path: Path, encoding: str, size: int) -> Iterator[Table]:
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


def _of_conll(path: Path, encoding: str) -> Iterator[Table]:
    with opened(path) as file:
        content = "".join(whole_lines(file, str(path), encoding))
    yield Table(path.name, str(path), *conll.read_sentences(content, str(path)))


def _of_json(path: Path, encoding: str, size: int) -> Iterator[Table]:
    source = str(path)
    with opened(path) as file:
        texts = whole_lines(file, source, encoding)
        begun = ""
        while not begun.strip():
            if not (text := next(texts, "")):
                raise DataError(f"{source} has no rows.", source)
            begun += text
        document = _one_object(begun)
        if document is None and begun.lstrip().startswith("{") and not _are_lines(begun):
            begun = "".join((begun, *texts))
            document = _one_object(begun)
        while document is not None and (more := next(texts, "")):
            begun, document = begun + more, None if more.strip() else document
        if squad.is_squad(document):
            yield Table(path.name, source, *squad.read_questions(document, source))
            return
        if document is not None:
            _require_row(document, begun, source)
        texts = chain([begun], texts)
        placed = (
            _json_list("".join(texts), source)
            if begun.lstrip().startswith("[")
            else _json_lines(texts, source)
        )
        while block := list(islice(placed, size)):
            names: dict[str, None] = {}
            for place, row in block:
                if not isinstance(row, dict):
                    raise DataError(
                        f"{source}, {place}: expected an object with a value for each column, "
                        f"found {_short(row)}.",
                        source,
                    )
                names |= dict.fromkeys(row)
            columns = {name: [row.get(name) for _, row in block] for name in names}
            yield Table(path.name, source, columns, [place for place, _ in block])


def _one_object(content: str) -> Any:
    """The object that is all of a JSON text; None if it is more, less or something else."""
    if not content.lstrip().startswith("{"):
        return None
    try:
        return json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None  # lines with an object each, or none; then what is wrong with them is told


def _are_lines(begun: str) -> bool:
    """Whether the first line is an object by itself."""
    return _one_object(begun.lstrip().partition("\n")[0]) is not None


def _require_row(document: dict[str, Any], content: str, source: str) -> None:
    """Make sure that the one object of a file is a row, and no table in another form.

    Raises:
        DataError: It is one.
    """
    values, names = list(document.values()), ", ".join(map(repr, document))
    inside = [name for name in _AROUND if _are_objects(document.get(name))]
    found = ""
    if isinstance(document.get("data"), list) and isinstance(document.get("columns"), list):
        found = "an object with columns and data (split, to pandas)"
    elif isinstance(document.get("data"), list) and isinstance(document.get("schema"), dict):
        found = "an object with a schema and data (table, to pandas)"
    elif inside or (values and all(map(_are_objects, values))):
        found = f"an object with rows inside of {', '.join(map(repr, inside)) or names}"
    elif values and all(isinstance(value, dict) for value in values):
        found = "an object of objects (columns or index, to pandas)"
    elif len(values) > 1 and all(isinstance(value, list) for value in values):
        if source.lower().endswith(".json"):  # a line of JSON lines may be tokens and their tags
            found = f"an object with a list for each of {names}"
    elif "\n" in content.strip():
        found = "a single object"
    if found:
        raise DataError(
            f"{source}: expected a list of objects, one for each row (records, to pandas), or an "
            f"object on each line; found {found}.",
            source,
            expected="records",
            found=found,
        )


def _are_objects(value: Any) -> bool:
    """Whether it is a list of objects that could be rows."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _json_list(content: str, source: str) -> Iterator[tuple[str, Any]]:
    document = load_json(content, source, 1)
    if not isinstance(document, list):
        raise DataError(f"{source}: expected a list of objects.", source)
    if not document:
        raise DataError(f"{source} has no rows.", source)
    return ((f"row {number}", row) for number, row in enumerate(document, start=1))


def _json_lines(texts: Iterable[str], source: str) -> Iterator[tuple[str, Any]]:
    lines = (line for text in texts for line in text.removesuffix("\n").split("\n"))
    empty = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            empty = empty or number
            continue
        if empty:  # and not at the end, where empty lines change nothing
            load_json("", source, empty)
        yield f"line {number}", load_json(line, source, number)


def load_json(text: str, source: str, line: int) -> Any:
    """What a JSON text says, with each name of an object once, and no NaN.

    Raises:
        DataError: It is no JSON, or empty.
    """
    if not text.strip():
        raise DataError(f"{source}, line {line}: expected an object, found an empty line.", source)
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {line + error.lineno - 1}, column {error.colno}"
        raise DataError(
            f"{source}, {where}: this is not JSON: {error.msg}. Expected one object on each line, "
            "or a list of objects.",
            source,
        ) from error
    except RecursionError as error:
        raise DataError(f"{source}, line {line}: it is nested too deep.", source) from error
    except ValueError as error:
        raise DataError(f"{source}, line {line}: {error}.", source) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(
            name for name, count in Counter(name for name, _ in pairs).items() if count > 1
        )
        raise ValueError(f"expected each name once in an object, found {twice!r} twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON value")


# --- the rest -----------------------------------------------------------------------------------


def _of_parquet(path: Path, size: int) -> Iterator[Table]:
    import pyarrow
    import pyarrow.parquet
    from datasets import Dataset

    source, start = str(path), 0
    try:
        # Buffering ahead would hold a whole group of rows, which may be the whole file.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            _without_twins(list(file.schema_arrow.names), source)
            for batch in file.iter_batches(batch_size=size):
                rows = Dataset(pyarrow.Table.from_batches([batch]))
                yield from _of_dataset(rows, path.name, source, size, start)
                start += len(rows)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
        raise DataError(f"{source} cannot be read as Parquet: {_reason(error)}", source) from error
    if not start:
        raise DataError(f"{source} has no rows.", source)


def _of_id(text: str, split: str, size: int) -> Iterator[Table]:
    from datasets import Dataset, load_dataset
    from datasets.exceptions import DatasetsError
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        loaded = load_dataset(text, split=split)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{text} cannot be read: {_reason(error)} Expected a {', '.join(SUFFIXES)} file, or "
            "the id of a data set.",
            text,
        ) from error
    assert isinstance(loaded, Dataset)
    return _of_dataset(loaded, text, text, size)


def _of_object(source: Any) -> Table:
    from datasets import Dataset

    if isinstance(source, Dataset):
        name = source.info.dataset_name or "a data set"
        return _joined(_of_dataset(source, name, name, BLOCK))
    if hasattr(source, "to_dict") and hasattr(source, "columns") and hasattr(source, "dtypes"):
        name = "a data frame"
        names = [str(column) for column in source.columns]
        _without_twins(names, name)
        if not len(source):
            raise DataError(f"{name} has no rows.", name)
        columns = {
            column: [_plain(value) for value in source.iloc[:, index].tolist()]
            for index, column in enumerate(names)
        }
        return Table(name, name, columns, _numbered(len(source)))
    raise DataError(
        f"Expected the path of a file, the id of a data set, a datasets.Dataset or a "
        f"pandas.DataFrame, found {type(source).__name__}.",
        source,
    )


def _of_dataset(
    dataset: Dataset, name: str, source: str, size: int, before: int = 0
) -> Iterator[Table]:
    """Its rows; ``before`` is how many of the same source were read before."""
    from datasets import ClassLabel

    if not len(dataset):
        raise DataError(f"{source} has no rows.", source)
    for start in range(0, len(dataset), size):
        first, columns = before + start + 1, _block(dataset, start, size)
        for column, feature in dataset.features.items():
            inner = getattr(feature, "feature", None)
            kind = feature if isinstance(feature, ClassLabel) else inner
            if column in columns and isinstance(kind, ClassLabel):
                columns[column] = [
                    _class_names(value, kind.names, f"{source}, row {number}", column)
                    for number, value in enumerate(columns[column], start=first)
                ]
        yield Table(name, source, columns, _numbered(min(size, len(dataset) - start), first))


def _block(dataset: Dataset, start: int, size: int) -> dict[str, list[Any]]:
    """Rows of a data set by column: what a transform makes of them, else as they are stored.

    A format, such as numpy's, is another look at the same values; it may hide columns.
    """
    end = min(start + size, len(dataset))
    if dataset.format["type"] == "custom":
        rows = [dataset[index] for index in range(start, end)]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [_plain(row.get(name)) for row in rows] for name in names}
    block = dataset.with_format("arrow", columns=dataset.format["columns"])[start:end]
    return {name: block.column(name).to_pylist() for name in block.column_names}


def _class_names(value: object, names: list[str], where: str, column: str) -> Any:
    """The name of a class, or of each in a list."""
    if isinstance(value, list):
        return [_class_name(one, names, where, column) for one in value]
    return _class_name(value, names, where, column)


def _class_name(value: object, names: list[str], where: str, column: str) -> str | None:
    if value is None or isinstance(value, str):  # which a transform may have made of it
        return value
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise DataError(
            f"{where}: expected a class of {column!r} from 0 to {len(names) - 1} "
            f"({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}), found {value!r}. -1 "
            "marks a row that has no label.",
            where,
            found=value,
        )
    return names[value]


def _plain(value: Any) -> Any:
    """A value of pandas or numpy as Python has it; a missing one as None."""
    if hasattr(value, "tolist") and not isinstance(value, str):
        value = value.tolist()
    if value is None or value != value or type(value).__name__ in ("NAType", "NaTType"):
        return None
    return value


def _numbered(rows: int, first: int = 1) -> list[str]:
    return [f"row {number}" for number in range(first, first + rows)]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _reason(error: BaseException) -> str:
    """The first line of what lies at the bottom of an error of another library."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\s+", " ", str(error).strip().partition("\n")[0]) or type(error).__name__
    return text.rstrip(".") + "."
