"""The types of the columns, checked whenever a value is read.

SQLite stores anything in any column, and people open its file with other programs. Reading a value
of a wrong type raises DamagedDatabaseError. So no other code has to expect a text where a number
should be, or a malformed digest.
"""

import math
import re
from abc import abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Boolean, Dialect, Double, Integer, String, Text
from sqlalchemy import DateTime as SqlDateTime
from sqlalchemy.types import TypeDecorator

from registry.errors import DamagedDatabaseError, InvalidNameError
from registry.refs import AdapterRef

MAX_SIZE = 2**63 - 1
"""The largest number that a BIGINT column holds: of bytes, of downloads."""

MAX_ID = 2**31 - 1
"""The largest number that an INTEGER column holds, such as the id of a row."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_GIT_ID = re.compile(r"[0-9a-f]{40}")

Value = TypeVar("Value")


class ColumnType(TypeDecorator[Value]):
    """A type of SQLAlchemy whose values are checked when a row is fetched.

    Attributes:
        expected: A description of a value, for messages.

    Raises:
        DamagedDatabaseError: A column holds something else.
    """

    expected: str

    def __init_subclass__(cls) -> None:
        """SQLAlchemy asks each class whether it may cache statements with this type."""
        cls.cache_ok = True

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether the column may have this value, as the driver gives it; never None."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Read a value; a wrong one means damage."""
        process, fits = super().result_processor(dialect, coltype), self.fits

        def checked(value: Any) -> Any:
            if value is None:
                return None
            try:
                if fits(value):
                    return value if process is None else process(value)
            except (TypeError, ValueError):
                pass
            raise DamagedDatabaseError(
                f"The database is damaged: expected {self.expected} in one of its columns, found "
                f"{str(value)[:40]!a}.",
                value,
            )

        return checked


class Whole(ColumnType[int]):
    """A whole number within bounds, both included."""

    impl = Integer

    def __init__(self, least: int = 0, most: int = MAX_ID) -> None:
        """Take a wider column where `most` needs one."""
        self.least, self.most = least, most
        super().__init__()
        if most > MAX_ID:
            self.impl = BigInteger()  # type: ignore[assignment]

    @property
    def expected(self) -> str:  # type: ignore[override]
        """A description, for messages."""
        return f"a whole number from {self.least} to {self.most}"

    def fits(self, value: Any) -> bool:
        """Whether it is one."""
        return type(value) is int and self.least <= value <= self.most


class Real(ColumnType[float]):
    """A finite number, or -infinity."""

    impl = Double
    expected = "a number"

    def fits(self, value: Any) -> bool:
        """Whether it is one."""
        return type(value) is float and value < math.inf


class Truth(ColumnType[bool]):
    """True or false."""

    impl = Boolean
    expected = "true or false"

    def fits(self, value: Any) -> bool:
        """Whether it is one of the two."""
        return type(value) in (bool, int) and value in (0, 1)


class Written(ColumnType[str]):
    """Text.

    Args:
        most: The most characters; default: any number.
    """

    impl = Text
    expected = "text"

    def __init__(self, most: int | None = None) -> None:
        """Take a narrower column where `most` allows one."""
        self.most = most
        super().__init__()
        if most is not None:
            self.impl = String(most)  # type: ignore[assignment]

    def fits(self, value: Any) -> bool:
        """Whether it is some."""
        return type(value) is str


class Line(Written):
    """A line of printable characters that is not empty."""

    expected = "a line of text"

    def fits(self, value: Any) -> bool:
        """Whether it is one."""
        return type(value) is str and bool(value) and value.isprintable()


class Name(Written):
    """The name of an adapter or of its owner."""

    expected = "a name"

    def fits(self, value: Any) -> bool:
        """Whether it is spelled as one."""
        try:
            AdapterRef(None, value)
        except InvalidNameError:
            return False
        return True


class Sha256(Written):
    """A SHA-256 in hexadecimal digits."""

    expected = "a digest"

    def __init__(self) -> None:
        """Take as many characters as one has."""
        super().__init__(64)

    def fits(self, value: Any) -> bool:
        """Whether it is one."""
        return type(value) is str and _DIGEST.fullmatch(value) is not None


class GitId(Written):
    """The id of an object in git: a SHA-1 in hexadecimal digits."""

    expected = "an id of git"

    def __init__(self) -> None:
        """Take as many characters as one has."""
        super().__init__(40)

    def fits(self, value: Any) -> bool:
        """Whether it is one."""
        return type(value) is str and _GIT_ID.fullmatch(value) is not None


class UtcDateTime(ColumnType[datetime]):
    """An aware datetime, stored as UTC without a zone, which sorts the same in every database."""

    impl = SqlDateTime
    expected = "a time"

    def fits(self, value: Any) -> bool:
        """Leave that to what reads it: each driver gives something else."""
        return True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC and drop the zone."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Put the zone back."""
        return value.replace(tzinfo=UTC) if value else None
