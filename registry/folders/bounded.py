"""Read JSON of other programs, within limits that real files never reach.

The limits are on what is expensive to read or to work with later: length, depth, the digits of a
number. Beyond one, a file is refused in a sentence.
"""

import json
import math
import reprlib
from collections import Counter
from typing import Any

from registry.errors import FolderError
from registry.folders.source import Source, read_source

MOST_DIGITS = 100
"""Most characters of a number; in real files, they have about 20."""

DEEPEST = 64
"""The deepest nesting of lists and objects; real files are 5 deep."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def read_bytes(path: Source, most: int) -> bytes:
    """Return the value in a file.

    Raises:
        FolderError: It holds more than `most` bytes.
        NotAFileError: It is no regular file.
        CorruptBlobError: It is a blob that is missing, truncated or altered.
        OSError: It cannot be read.
    """
    content = read_source(path, most)
    if len(content) > most:
        raise FolderError(
            f"{path} is larger than {most} bytes; expected less of such a file. Shorten it.", path
        )
    return content


def parse_json(content: bytes) -> Any:
    """Return the value of JSON.

    Raises:
        ValueError: It is no JSON, names a key twice, or is beyond a limit; the message is the end
            of a sentence about the file.
    """
    try:
        value = json.loads(
            content,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_float,
            parse_constant=_constant,
        )
    except RecursionError:
        raise ValueError(f"is nested more than {DEEPEST} deep") from None
    except _LimitError as error:
        raise ValueError(str(error)) from None
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    _require_shallow(value)
    return value


def shown(value: object) -> str:
    """Return a value of a file for a message: like `repr`, but short."""
    return _SHORT.repr(value)


class _LimitError(ValueError):
    """JSON is beyond a limit."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise _LimitError(f"holds the key {shown(counts.most_common(1)[0][0])} twice")
    return content


def _whole(digits: str) -> int:
    _require_short(digits)
    return int(digits)


def _float(digits: str) -> float:
    _require_short(digits)
    number = float(digits)
    if math.isinf(number):
        raise _LimitError(f"holds the number {digits}, which is too large")
    return number


def _constant(name: str) -> float:
    raise _LimitError(f"holds {name}, which is not a number of JSON")


def _require_short(digits: str) -> None:
    if len(digits) > MOST_DIGITS:
        raise _LimitError(f"holds a number of {len(digits)} characters, more than {MOST_DIGITS}")


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise ValueError(f"is nested more than {DEEPEST} deep")
