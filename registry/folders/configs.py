"""The JSON files that other libraries write beside their weights."""

from collections.abc import Mapping
from typing import Any

from registry.errors import FolderError
from registry.folders.bounded import parse_json, read_bytes, shown
from registry.folders.source import Source

_MAX_BYTES = 4 * 1024 * 1024


def read_config(path: Source) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FolderError: It is no JSON, no object, larger than 4 MiB, or beyond another limit.
        NotAFileError: It is no regular file.
        OSError: It cannot be read.
    """
    try:
        config = parse_json(read_bytes(path, _MAX_BYTES))
    except ValueError as error:
        raise FolderError(
            f"{path} {error}. Save the adapter again, or mend the file.", path
        ) from error
    if not isinstance(config, dict):
        raise FolderError(f"{path} holds a {type(config).__name__}; expected a JSON object.", path)
    return config


def text_of(config: Mapping[str, Any], key: str, path: Source) -> str | None:
    """Return a text in a config; None if it is missing, null or empty.

    Raises:
        FolderError: The value is something else.
    """
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise FolderError(f"{path}: {key} is {shown(value)}; expected a text.", path)
    return value or None


def count_of(config: Mapping[str, Any], key: str, path: Source) -> int | None:
    """Return a positive whole number in a config; None if it is missing or null.

    Raises:
        FolderError: The value is something else.
    """
    value = config.get(key)
    if value is None:
        return None
    # bool is a subclass of int, but JSON's true is not a number.
    if type(value) is not int or value < 1:
        raise FolderError(f"{path}: {key} is {shown(value)}; expected a whole number from 1.", path)
    return value
