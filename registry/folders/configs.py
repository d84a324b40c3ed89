"""The JSON files that other libraries write beside their weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry.errors import FolderError

_MAX_BYTES = 4 * 1024 * 1024


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FolderError: It is no JSON, no object, or larger than 4 MiB.
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise FolderError(f"{path} is larger than {_MAX_BYTES} bytes, which no config is.", path)
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FolderError(
            f"{path} {json_problem(error)}. Save the adapter again, or mend the file.", path
        ) from error
    if not isinstance(config, dict):
        raise FolderError(f"{path} holds a {type(config).__name__}; expected a JSON object.", path)
    return config


def json_problem(error: ValueError | RecursionError) -> str:
    """Return what keeps `json.loads` from reading a text, as the end of a sentence about it."""
    if isinstance(error, RecursionError):
        return "is nested too deeply to be read"
    if "set_int_max_str_digits" in str(error):  # Python's advice, for whoever can program
        return "holds a number with too many digits to be read"
    return f"is not JSON: {error}"


def text_of(config: Mapping[str, Any], key: str, path: Path) -> str | None:
    """Return a text in a config, None where it is left out, null or empty.

    Raises:
        FolderError: The value is something else.
    """
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise FolderError(f"{path}: {key} is {value!r}; expected a text.", path)
    return value or None


def count_of(config: Mapping[str, Any], key: str, path: Path) -> int | None:
    """Return a positive whole number in a config, None where it is left out or null.

    Raises:
        FolderError: The value is something else.
    """
    value = config.get(key)
    if value is None:
        return None
    # bool is a subclass of int, and JSON's true is no number.
    if type(value) is not int or value < 1:
        raise FolderError(f"{path}: {key} is {value!r}; expected a whole number from 1.", path)
    return value
