"""The kinds of value that a manifest's fields take."""

import math
import re
from typing import Annotated, TypeVar

from pydantic import AfterValidator, FailFast, Field, JsonValue, StringConstraints

from registry.errors import InvalidNameError
from registry.refs import AdapterRef

T = TypeVar("T")

_MAX_DEPTH = 16

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected text without control characters or line breaks")
    return text


def require_text(text: str) -> str:
    """Return `text` if it has no control characters except tabs and line breaks.

    Control characters can change a terminal, and PostgreSQL does not store NUL.

    Raises:
        ValueError: It has one; the message says which, and where.
    """
    if found := _CONTROL.search(text):
        raise ValueError(
            f"expected text without control characters, found {found[0]!a} as character "
            f"{found.start() + 1}"
        )
    return text


def _check_json(value: JsonValue, depth: int = 0) -> JsonValue:
    if depth > _MAX_DEPTH:
        raise ValueError(f"expected at most {_MAX_DEPTH} nested levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("expected an integer of at most 64 bits")
    if isinstance(value, str):
        require_text(value)
    if isinstance(value, dict):
        for key in value:
            require_text(key)
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            _check_json(item, depth + 1)
    return value


def _check_ref(text: str) -> str:
    try:
        return str(AdapterRef.parse(text))
    except InvalidNameError as error:
        raise ValueError(str(error)) from error


Word = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_printable)]
"""One line of 1 to 256 printable characters."""

Text = Annotated[str, StringConstraints(max_length=65536), AfterValidator(require_text)]
"""Lines for people, of up to 65,536 characters."""

Json = Annotated[JsonValue, AfterValidator(_check_json)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**31)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Ref = Annotated[str, AfterValidator(_check_ref)]
"""An adapter's ref, as `AdapterRef.parse` reads it."""


Several = Annotated[tuple[T, ...], FailFast()]
"""Values of one kind, of which only the first wrong one is told: the errors of a million that are
wrong would take gigabytes."""


def check_text(role: str, text: str, *, most: int = 65536) -> str:
    """Return `text` if it can be stored.

    Raises:
        InvalidNameError: It has more than `most` characters, or control characters, or is not
            valid Unicode.
    """
    try:
        require_text(text).encode()
    except UnicodeEncodeError as error:
        raise InvalidNameError(f"The {role} {text!r} is not valid Unicode.", text) from error
    except ValueError as error:
        raise InvalidNameError(f"The {role} is refused: {error}. Leave it out.", text) from error
    if len(text) > most:
        raise InvalidNameError(
            f"The {role} has {len(text)} characters, more than {most}. Shorten it.", text
        )
    return text


def check_texts(**texts: str | None) -> None:
    """Check each text that is given, by its role, as `check_text` does.

    Raises:
        InvalidNameError: As `check_text`.
    """
    for role, text in texts.items():
        if text is not None:
            check_text(role.replace("_", " "), text)
