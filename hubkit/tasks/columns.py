"""What may stand in a column. Each check returns the value, or says what it expected."""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from registry.errors import LabelError, did_you_mean
from registry.labels import as_seen, same_label

logger = logging.getLogger(__name__)

LABEL_MOST = 256
"""Characters of a label; a manifest holds no longer word."""

_FRACTION = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")
_PRINTED = re.compile(r"""\[\s*(['"].*['"]|\d+(\s+\d+)+)\s*\]""", re.DOTALL)
"""A list as Python or NumPy prints it."""
_NO_LABEL = {"nan", "NaN", "NAN", "None", "null", "NULL", "NA", "N/A", "<NA>"}
"""Words that programs write for a missing label; the word none is left out."""


class NotExpectedError(Exception):
    """A value is not what a column holds; the text says what was expected."""


class FractionError(NotExpectedError):
    """A number with a fraction is where a class should be."""


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
    expected = (
        f"a label (one line of printable text, at most {LABEL_MOST} characters, or a whole number)"
    )
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        raise FractionError(f"{expected}; a number with a fraction is not a class")
    if not isinstance(value, str):
        raise NotExpectedError(expected)
    name = value.strip()
    if not (as_seen(name) and name.isprintable() and len(name) <= LABEL_MOST and is_unicode(name)):
        raise NotExpectedError(expected)
    if _FRACTION.fullmatch(name):
        raise FractionError(f"{expected}; a number with a fraction is not a class")
    return name


def label_list(value: Any) -> list[str]:
    """The names of all classes that hold: a list of labels, a JSON list as text, or one text with |
    between them.
    """
    value = listed(value)
    if isinstance(value, str):
        value = [part for part in value.split("|") if part.strip()]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise NotExpectedError("a list of labels")
    names = labels_of(value)
    if len(set(names)) != len(names):
        raise NotExpectedError("a list of labels without duplicates")
    return sorted(names)


def labels_of(values: Sequence[Any]) -> list[str]:
    """The names of classes of one type: the number 1 and the text 1 are not told apart by names."""
    if len({type(one) for one in values}) > 1:
        raise NotExpectedError("labels of one type, texts or whole numbers")
    return [label(one) for one in values]


def listed(value: Any) -> Any:
    """A list that is written in JSON in a text; any other value as it is.

    Raises:
        NotExpectedError: It is a list as Python prints it, which would be taken for one text.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):  # a text may start with a bracket
            return json.loads(value)
        if _PRINTED.fullmatch(value.strip()):
            raise NotExpectedError("a list in JSON, not as Python prints it,")
    return value


def parsed(value: Any, expected: str) -> Any:
    """What a text holds as JSON; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise NotExpectedError(expected) from None


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


def near_label(name: str, known: Sequence[str]) -> str:
    """A sentence that names the label that was meant; empty if none is near."""
    twins = same_label([name, *known])
    return f" There are {twins}." if twins else did_you_mean(name, known)


def check_known(
    where: str, what: str, names: Iterable[str], known: Sequence[str], among: str
) -> None:
    """Make sure that a head knows all labels of the rows that it is measured on.

    Args:
        where: The name of the data.
        what: What is named, such as ``label``.
        names: Those of the rows, each as often as it occurs.
        known: Those of the head.
        among: What follows the number of times in the message.

    Raises:
        LabelError: It does not; the message has the most frequent one of the others.
    """
    unknown = Counter(name for name in names if name not in known)
    if unknown:
        name, count = unknown.most_common(1)[0]
        raise LabelError(
            f"{where} has the {what} {name!r} ({count} {among}); expected one of "
            f"{', '.join(map(repr, known))}.{near_label(name, known)}",
            name,
            expected=known,
            found=name,
        )


def note_labels(where: str, counts: Mapping[str, int]) -> None:
    """Warn of labels that look like mistakes: in two cases or spacings, or of missing values.

    Args:
        where: The name of the data.
        counts: How often each label occurs.
    """
    spellings: dict[str, list[str]] = {}
    for name in counts:
        spellings.setdefault(" ".join(name.casefold().split()), []).append(name)
    if several := [names for names in spellings.values() if len(names) > 1]:
        logger.warning(
            "%s: %d labels differ from another in case or spaces alone, and are classes of their "
            "own: %s.",
            where,
            sum(map(len, several)),
            "; ".join(", ".join(map(repr, sorted(names))) for names in several[:3]),
        )
    for name in sorted(_NO_LABEL & counts.keys()):
        logger.warning(
            "%s: the label %r, which many programs write for a missing value, is a class of its "
            "own; it occurs %d times.",
            where,
            name,
            counts[name],
        )


def place_of(part: str, text: str, start: int) -> str:
    """Where a part of a text is that does not stand where it should, for messages.

    Args:
        part: What should stand at ``start``.
        text: All of it.
        start: A place in the text, which may be counted in something else than characters.
    """
    at = text.find(part)
    if at < 0:
        return "it is not in there"
    while at >= 0:
        before = text[:at]
        for units, what in (
            (len(before.encode("utf-16-le")) // 2, "units of UTF-16"),
            (len(before.encode()), "bytes of UTF-8"),
        ):
            if units == start != at:
                return f"it stands at {at}; {start} is its place in {what}"
        at = text.find(part, at + 1)
    return f"it stands at {text.find(part)}"
