"""What may stand in a column. Each check returns the value, or says what it expected."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

LABEL_MOST = 256
"""Characters of a label; a manifest holds no longer word."""

_FRACTION = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")


class NotExpectedError(Exception):
    """A value is not what a column holds; the text says what was expected."""


class NotAlignedError(Exception):
    """A row does not have the form of the others.

    Attributes:
        row: The position of the row, from 0.
    """

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row


def is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which no tokenizer takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def any_text(value: Any) -> str:
    """Text, which may be empty."""
    if not isinstance(value, str) or not is_unicode(value):
        raise NotExpectedError("Unicode text")
    return value


@dataclass(frozen=True)
class Column:
    """A column that a task type reads.

    Attributes:
        name: What the task type calls it, and its default name in a file.
        check: Returns the value as the task type takes it, or raises NotExpectedError.
        given: The same for what a caller of `predict` gives, where a text may be empty.
        target: Whether it is what the model is to learn; `predict` needs no such column.
        optional: Whether rows can do without it.
        instead: Another column that can stand for this one.
        path: Whether a text in it is the path of a file; in a table, as seen from its folder.
    """

    name: str
    check: Callable[[Any], Any]
    target: bool = False
    optional: bool = False
    instead: str | None = None
    given: Callable[[Any], Any] = any_text
    path: bool = False


def text(value: Any) -> str:
    """Text that says something."""
    if not isinstance(value, str) or not value.strip() or not is_unicode(value):
        raise NotExpectedError("text")
    return value


def label(value: Any) -> str:
    """The name of a class: a line of text, or a whole number."""
    expected = f"a label (one line of text, at most {LABEL_MOST} characters, or a whole number)"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise NotExpectedError(expected)
    name = value.strip()
    if not (name and name.isprintable() and len(name) <= LABEL_MOST and is_unicode(name)):
        raise NotExpectedError(expected)
    if _FRACTION.fullmatch(name):
        raise NotExpectedError(f"{expected}; a number with a fraction is no class")
    return name


def label_list(value: Any) -> list[str]:
    """The names of all classes that hold: a list of labels, or one text with | between them."""
    if isinstance(value, str):
        value = [part for part in value.split("|") if part.strip()]
    if not isinstance(value, Sequence):
        raise NotExpectedError("a list of labels")
    names = [label(one) for one in value]
    if len(set(names)) != len(names):
        raise NotExpectedError("a list of labels without duplicates")
    return sorted(names)


def listed(value: Any) -> Any:
    """A list that is written in JSON in a text; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):  # a text may start with a bracket
            return json.loads(value)
    return value


def number(value: Any) -> float:
    """A finite number, or text that reads as one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise NotExpectedError("a number")
    if isinstance(value, str) and "_" in value:  # which Python takes for a thousands separator
        raise NotExpectedError("a number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise NotExpectedError("a number") from None
    if not math.isfinite(found):
        raise NotExpectedError("a finite number")
    return found


def same_number(names: Sequence[str]) -> tuple[str, str] | None:
    """Two labels that are one number in two spellings, such as 1 and 01; None if there are none."""
    seen: dict[int, str] = {}
    for name in names:
        if _WHOLE.fullmatch(name):
            other = seen.setdefault(int(name), name)
            if other != name:
                return other, name
    return None
