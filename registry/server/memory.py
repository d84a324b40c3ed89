"""What the database was just asked, remembered until anything changes.

Each change of the registry has an entry in the log. So what was read is right as long as the log
ends with the same entry, which is one small question in place of many.
"""

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from sqlalchemy import select

from registry.database.database import Database
from registry.tables.models import LOG_HEAD

KEPT = 10.0
"""Seconds that an answer is kept at most: downloads and last uses of tokens are not in the log."""

MOST = 100_000
"""Answers that are kept at most."""

_LAST = select(LOG_HEAD.c.hash)

Answer = TypeVar("Answer")


class Memory:
    """Answers of a database, as of its last change.

    Args:
        database: Whose answers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._state: Hashable = None
        self._answers: dict[Hashable, Any] = {}

    def now(self) -> "Moment":
        """Return what is known at this moment; ask once a request."""
        with self._database.read() as connection:
            state = (connection.scalar(_LAST), time.monotonic() // KEPT)
        with self._lock:
            if state != self._state or len(self._answers) >= MOST:
                self._state, self._answers = state, {}
            return Moment(self._answers)


class Moment:
    """Answers that hold at a moment.

    Args:
        answers: Those that are known, by what was asked.
    """

    def __init__(self, answers: dict[Hashable, Any]) -> None:
        # What is asked during this request is later than the moment, never earlier.
        self._answers = answers

    def ask(self, question: Hashable, find: Callable[[], Answer]) -> Answer:
        """Return the answer to a question; `find` gives it if it is not known."""
        try:
            return cast(Answer, self._answers[question])
        except KeyError:
            answer = self._answers[question] = find()
            return answer
