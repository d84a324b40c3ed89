"""Read JSON and JSON lines: rows as objects, each name of an object once, and no NaN."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from hubkit.training.tables import squad
from hubkit.training.tables.lines import opened, whole_lines
from hubkit.training.tables.table import Table
from registry.errors import DataError
from registry.storage.place import Place

_AROUND = ("data", "rows", "examples", "train", "validation", "test")
"""The keys by which a JSON object names the list of its rows."""


def read_json(path: Place, encoding: str, size: int) -> Iterator[Table]:
    """The rows of a JSON list, of JSON lines or of a file like SQuAD's, in blocks of ``size`` rows.

    A file like SQuAD's is one block.

    Raises:
        DataError: The file cannot be read, or has no rows, or is in another form.
    """
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
        return None  # lines with an object each; if they are not, their reader says what is wrong


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
        DataError: It is not JSON, or empty.
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
    raise ValueError(f"{name} is not a JSON value")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
