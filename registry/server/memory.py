"""What the database was just asked, and what was answered, remembered until anything changes.

Each change of the registry has an entry in the log. So what was read is right as long as the log
ends with the same entry, which is one small question in place of many. What takes long to find is
remembered for longer, until less may be seen than before.

Most requests of a hub are for the same few files. Each is admitted and answered once; what follows
within seconds only has to find that nothing has changed.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from sqlalchemy import Integer, bindparam, exists, select
from starlette.types import ASGIApp, Scope

from registry.database.database import Database
from registry.tables.models import LOG, LOG_HEAD

KEPT = 10.0
"""Seconds that an answer is kept at most: downloads and last uses of tokens are not in the log."""

ROOM = 64 * 1024 * 1024
"""Bytes that answers may take, with their questions, before they are forgotten."""

_OBJECTS = 1024
"""Bytes that a question and its answer take about, beside their texts."""

QUICK = 0.02
"""Seconds: what was found in less is found again by whoever asks, once it may have changed."""

HIDING = ("delete", "settings", "yank")
"""What the log calls the changes after which less can be seen."""

MOST_BYTES = 2048
"""Bytes of a request that is known again; longer ones could fill the memory."""

_TELLING = (b"authorization", b"host")
_OF_ONE = (b"range", b"if-none-match")

_LAST = select(LOG_HEAD.c.hash)
_LENGTH = select(LOG_HEAD.c.sequence)
_HIDDEN = select(
    exists().where(LOG.c.sequence > bindparam("after", type_=Integer), LOG.c.action.in_(HIDING))
)

Answer = TypeVar("Answer")


class _Answers(dict[Hashable, Any]):
    """Answers by question, and about how many bytes they take."""

    size = 0

    def keep(self, question: Hashable, answer: object) -> None:
        self[question] = answer
        self.size += _OBJECTS + len(repr(question)) + len(repr(answer))


class Memory:
    """Answers of a database, as of its last change.

    Args:
        database: Whose answers.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._state: Hashable = None
        self._answers = _Answers()
        self._waiting: list[asyncio.Future[Moment]] = []
        self._looking: asyncio.Task[None] | None = None

    def may_know(self, question: Hashable) -> bool:
        """Whether a question was asked before; its answer may have changed since."""
        return question in self._answers

    async def latest(self, limiter: CapacityLimiter) -> "Moment":
        """Return what is known at a moment after this call.

        All who ask while one look at the database runs share the next one: many requests at a time
        cost it as much as a few.

        Args:
            limiter: Of the threads that ask the database.
        """
        told: asyncio.Future[Moment] = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(limiter))
        return await told

    async def _look(self, limiter: CapacityLimiter) -> None:
        """Look at the database until nobody waits."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                moment = await to_thread.run_sync(self.now, limiter=limiter)
            except Exception as error:
                for told in waiting:
                    if not told.done():  # who asked has left
                        told.set_exception(error)
            else:
                for told in waiting:
                    if not told.done():
                        told.set_result(moment)

    def now(self) -> "Moment":
        """Return what is known at this moment; call it in a thread."""
        with self._database.read() as connection:
            state = (connection.scalar(_LAST), time.monotonic() // KEPT)
        with self._lock:
            if state != self._state or self._answers.size >= ROOM:
                self._state, self._answers = state, _Answers()
            return Moment(self._answers)


class Moment:
    """Answers that hold at a moment.

    Args:
        answers: Those that are known, by what was asked.
    """

    def __init__(self, answers: _Answers) -> None:
        # What is asked during this request is later than the moment, never earlier.
        self._answers = answers

    def knows(self, question: Hashable) -> bool:
        """Whether a question was asked before."""
        return question in self._answers

    def get(self, question: Hashable) -> Any:
        """Return the answer to a question; None if it is not known."""
        return self._answers.get(question)

    def remember(self, question: Hashable, answer: object) -> None:
        """Remember an answer that was found after this moment."""
        self._answers.keep(question, answer)

    def ask(self, question: Hashable, find: Callable[[], Answer]) -> Answer:
        """Return the answer to a question; `find` gives it if it is not known."""
        try:
            return cast(Answer, self._answers[question])
        except KeyError:
            answer = find()
            self._answers.keep(question, answer)
            return answer


@dataclass(frozen=True, slots=True)
class Again:
    """What a handler returns if its answer depends on nothing but the registry and the key.

    Attributes:
        answer: The answer.
        make: Makes it once more, without waiting; returns None where that is no longer possible.
    """

    answer: ASGIApp
    make: Callable[[], ASGIApp | None]


def key_of(scope: Scope) -> Hashable | None:
    """Return what tells a request from others; None where its answer depends on still more."""
    if scope["method"] not in ("GET", "HEAD"):
        return None
    told = [scope["method"].encode(), scope["raw_path"], scope["query_string"]]
    for name, value in scope["headers"]:
        if name in _TELLING:
            told += (name, value)
        elif name in _OF_ONE:
            return None
    return tuple(told) if sum(map(len, told)) <= MOST_BYTES else None


class Remembered(Generic[Answer]):
    """One answer that takes long to find: whoever asks gets the last one, and does not wait.

    An answer that names what is hidden or gone since is given to nobody.

    Args:
        database: Whose answer.
        find: Finds it.
    """

    def __init__(self, database: Database, find: Callable[[], Answer]) -> None:
        self._database = database
        self._find = find
        self._lock = threading.Lock()
        self._found: tuple[Answer, int, float] | None = None

    def get(self) -> Answer:
        """Return the answer; find it if nobody has, or must, or if that is quick."""
        if self._found is None:
            return self.refresh()
        answer, sequence, took = self._found
        if took >= QUICK:
            with self._database.read() as connection:
                if not connection.scalar(_HIDDEN, {"after": sequence}):
                    return answer
        return self.refresh()

    def refresh(self) -> Answer:
        """Find the answer again, if anything has changed."""
        with self._lock:
            with self._database.read() as connection:
                sequence: int = connection.execute(_LENGTH).scalar_one()
            if self._found is None or self._found[1] != sequence:
                started = time.perf_counter()
                answer = self._find()
                self._found = answer, sequence, time.perf_counter() - started
            return self._found[0]
