"""Read a table strictly: each row is what the file says, or an error names the place.

CSV and TSV are read by Python's csv module, JSON and JSON lines by its json module, Parquet by
pyarrow, the rest by datasets and pandas. What is here makes them strict: they skip, shift, guess
or convert what is not as it should be. `conll` and `squad` know how files of those two forms nest
their rows.
"""

from __future__ import annotations

import csv
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubkit.training import conll, squad
from registry.errors import (
    DataError,
    EncodingError,
    MissingColumnError,
    SeparatorError,
    did_you_mean,
)

if TYPE_CHECKING:
    import pandas
    from datasets import Dataset

logger = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", *conll.SUFFIXES)
"""How the names of files end that hold a table."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FIRST_BYTES = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


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
        source: A file that ends as one of `SUFFIXES`; the id of a data set; or a
            ``datasets.Dataset`` or a ``pandas.DataFrame``.
        split: The split of a data set id; a file has only one.
        separator: What separates the columns of a CSV file; default: a comma, in a ``.tsv`` file a
            tab.
        encoding: Of a text file; a byte order mark is left out.

    Raises:
        DataError: There is no such data, or it cannot be read, or a row is not like the others.
    """
    if not isinstance(source, str | Path):
        return _of_object(source)
    path, text = Path(source), str(source)
    suffix = path.suffix.lower()
    if suffix in SUFFIXES and path.is_file():
        if path.stat().st_size == 0:
            raise DataError(f"{text} is an empty file.", text)
        if suffix == ".parquet":
            return _of_parquet(path)
        content = read_text(path, encoding)
        if suffix in (".csv", ".tsv"):
            return _of_csv(content, path, separator or ("\t" if suffix == ".tsv" else ","))
        if suffix in conll.SUFFIXES:
            return Table(path.name, text, *conll.read_sentences(content, text))
        return _of_json(content, path)
    if suffix in SUFFIXES or path.exists():
        found = "does not exist"
        if path.exists():
            found = "is a folder" if path.is_dir() else f"has the ending {path.suffix!r}"
            if suffix in SUFFIXES and not path.is_dir():
                found = "is no regular file"
        raise DataError(
            f"{text} {found}; expected a {', '.join(SUFFIXES)} file, or a data set id.", text
        )
    return _of_id(text, split)


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file, without its byte order mark; line ends stay as they are.

    Raises:
        DataError: It cannot be read, or holds a NUL byte.
        EncodingError: It is not in that encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", str(path)) from error
    return decode(content, str(path), encoding)


def decode(content: bytes, source: str, encoding: str = "utf-8") -> str:
    """Bytes as text, without a byte order mark; line ends stay as they are.

    Args:
        content: The bytes.
        source: Where they are from, for messages.
        encoding: What they are in.

    Raises:
        DataError: There is a NUL byte.
        EncodingError: They are not in that encoding, or there is no such encoding.
    """
    utf16 = _FIRST_BYTES.get(content[:2])
    if utf16 and encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        raise EncodingError(
            f"{source} starts as UTF-16 does; expected {encoding}.",
            source,
            given=encoding,
            expected=encoding,
            found=utf16,
        )
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = content.count(b"\n", 0, start) + 1
        byte = content[start : start + 1].hex()
        raise EncodingError(
            f"{source}, line {line}: the byte 0x{byte} is not {encoding}.",
            source,
            given=encoding,
            found=byte,
        ) from error
    except LookupError as error:
        raise EncodingError(
            f"There is no encoding {encoding!r}.", source, given=encoding
        ) from error
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{source}, line {line}: expected text, found a NUL byte.", source)
    return text


# --- CSV ----------------------------------------------------------------------------------------


def _of_csv(content: str, path: Path, separator: str) -> Table:
    source = str(path)
    if len(separator) != 1 or separator in '"\r\n':
        raise SeparatorError(
            f"{separator!r} cannot separate columns; expected one character.",
            source,
            given=separator,
        )
    lines = StringIO(content.rstrip("\r\n") + "\n", newline="")
    rows = csv.reader(lines, delimiter=separator, strict=True)
    header: list[str] = []
    values: list[list[str]] = []
    places: list[str] = []
    suspects: list[int] = []
    with _any_field_size():
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise DataError(_quote_problem(source, line, str(error)), source) from error
            if row is None:
                break
            if not header:
                header = _header(row, source, separator)
                continue
            if not row and len(header) == 1:
                row = [""]  # a file of one column: an empty line is an empty text
            if len(row) != len(header):
                raise DataError(_fields_problem(source, line, row, header, separator), source)
            if any(_looks_like_rows(field, separator, len(header)) for field in row):
                suspects.append(line)
            values.append(row)
            places.append(f"line {line}")
    if not values:
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
    columns = {name: [row[i] for row in values] for i, name in enumerate(header)}
    return Table(path.name, source, columns, places)


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


# --- JSON ---------------------------------------------------------------------------------------


def _of_json(content: str, path: Path) -> Table:
    source = str(path)
    if not content.strip():
        raise DataError(f"{source} has no rows.", source)
    if (nested := _squad(content)) is not None:
        return Table(path.name, source, *squad.read_questions(nested, source))
    if content.lstrip().startswith("["):
        document = _loads(content, source, 1)
        if not isinstance(document, list):
            raise DataError(f"{source}: expected a list of objects.", source)
        placed = [(f"row {number}", row) for number, row in enumerate(document, start=1)]
    else:
        lines = content.rstrip().split("\n")
        placed = [
            (f"line {number}", _loads(line, source, number))
            for number, line in enumerate(lines, start=1)
        ]
    if not placed:
        raise DataError(f"{source} has no rows.", source)
    names: dict[str, None] = {}
    for place, row in placed:
        if not isinstance(row, dict):
            raise DataError(
                f"{source}, {place}: expected an object with a value for each column, found "
                f"{_short(row)}.",
                source,
            )
        names |= dict.fromkeys(row)
    columns = {name: [row.get(name) for _, row in placed] for name in names}
    return Table(path.name, source, columns, [place for place, _ in placed])


def _squad(content: str) -> Any:
    """The document, if it is one in the form of SQuAD."""
    if not content.lstrip().startswith("{") or '"data"' not in content:
        return None
    try:
        document = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None  # lines with an object each, or none; then what is wrong with them is told
    return document if squad.is_squad(document) else None


def _loads(text: str, source: str, line: int) -> Any:
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


def _of_parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet
    from datasets import Dataset

    source = str(path)
    try:
        table = pyarrow.parquet.read_table(path)
        _without_twins(list(table.column_names), source)
        return _of_dataset(Dataset(table), path.name, source)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
        raise DataError(f"{source} cannot be read as Parquet: {_reason(error)}", source) from error


def _of_id(text: str, split: str) -> Table:
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
    return _of_dataset(loaded, text, text)


def _of_object(source: Any) -> Table:
    from datasets import Dataset

    if isinstance(source, Dataset):
        name = source.info.dataset_name or "a data set"
        return _of_dataset(source, name, name)
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


def _of_dataset(dataset: Dataset, name: str, source: str) -> Table:
    from datasets import ClassLabel

    if not len(dataset):
        raise DataError(f"{source} has no rows.", source)
    arrow = dataset.with_format("arrow")[:]
    columns = {column: arrow.column(column).to_pylist() for column in arrow.column_names}
    for column, feature in dataset.features.items():
        inner = getattr(feature, "feature", None)
        if isinstance(feature, ClassLabel) or isinstance(inner, ClassLabel):
            names = (inner or feature).names
            columns[column] = [
                _class_names(value, names, f"{source}, row {number}", column)
                for number, value in enumerate(columns[column], start=1)
            ]
    return Table(name, source, columns, _numbered(len(dataset)))


def _class_names(value: object, names: list[str], where: str, column: str) -> Any:
    """The name of a class, or of each in a list."""
    if isinstance(value, list):
        return [_class_name(one, names, where, column) for one in value]
    return _class_name(value, names, where, column)


def _class_name(value: object, names: list[str], where: str, column: str) -> str | None:
    if value is None:
        return None
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


def _numbered(rows: int) -> list[str]:
    return [f"row {number}" for number in range(1, rows + 1)]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _reason(error: BaseException) -> str:
    """The first line of what lies at the bottom of an error of another library."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\s+", " ", str(error).strip().partition("\n")[0]) or type(error).__name__
    return text.rstrip(".") + "."
