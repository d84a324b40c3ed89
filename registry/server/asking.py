"""A request as typed values, for handlers."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeVar
from urllib.parse import parse_qsl, quote, urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from starlette.datastructures import Headers

from registry.errors import RequestError, TooLargeError
from registry.fields import require_text

if TYPE_CHECKING:
    from registry.accounts.access import Caller
    from registry.history.repositories import Repository
    from registry.server.memory import Moment


class NeedsThread(Exception):
    """The handler has to wait for the database or the disk."""


MOST_FIELDS = 1_000
"""Parameters of a query."""

MOST_REMEMBERED = 2048
"""Characters of a question whose answer is kept; longer ones could fill the memory."""

MOST_FORM_FIELDS = 50_000
"""Fields of a form, such as the paths that a client asks about at once."""


Text = Annotated[str, AfterValidator(require_text)]
"""A text of several lines that databases and logs accept."""

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off", ""})


class Body(BaseModel):
    """A body of JSON; fields that are not named here are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


Read = TypeVar("Read", bound=Body)
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Asking:
    """One request.

    Attributes:
        method: Such as ``GET``.
        path: The path as it was sent.
        query: The part after the ``?``, as it was sent.
        params: The decoded parameters of the route's pattern, and the kind of repository.
        headers: Its headers.
        base: The URL of the hub as the client knows it, without a slash at its end.
        id: Its id in the hub's log.
        known: Recent answers of the database; None if no right is needed.
        caller: The caller; None without a token.
        found: The repository that the path names, once it is known that the caller may do to it
            what the route needs.
        body: The body, once it is read, from its start.
        may_wait: Whether this runs in a thread, which may wait for the database and the disk.
        key: What the same request is known by when it comes again; None where it is not.
    """

    method: str
    path: str
    query: str
    params: Mapping[str, str]
    headers: Headers
    base: str
    id: str
    known: "Moment | None" = None
    caller: "Caller | None" = None
    found: "Repository | None" = None
    body: BinaryIO | None = None
    may_wait: bool = True
    key: Hashable | None = None

    def recall(self, question: tuple[Hashable, ...], find: Callable[[], Answer]) -> Answer:
        """Return an answer of the database; query it only if none is known since its last change.

        Raises:
            NeedsThread: A query is needed.
        """
        length = sum(len(part) for part in question if isinstance(part, str))
        if self.known is None or length > MOST_REMEMBERED:
            self.require_thread()
            return find()
        if not self.known.knows(question):
            self.require_thread()
        return self.known.ask(question, find)

    def require_thread(self) -> None:
        """Check that the code that follows may wait.

        Raises:
            NeedsThread: It may not.
        """
        if not self.may_wait:
            raise NeedsThread

    @property
    def repository(self) -> "Repository":
        """The repository that the path names."""
        if self.found is None:
            raise TypeError("this route names no repository")
        return self.found

    @property
    def account(self) -> int:
        """The id of the caller's account."""
        return self.signed_in.account.id

    @property
    def signed_in(self) -> "Caller":
        """The caller, for a route that needs one."""
        if self.caller is None:
            raise TypeError("this route lets in who has no token")
        return self.caller

    @property
    def actor(self) -> str:
        """The name of the caller in the log."""
        return self.signed_in.actor

    def values(self, name: str) -> list[str]:
        """Return the values of a parameter of the query, which may occur several times."""
        return [value for key, value in self._pairs() if key in (name, f"{name}[]")]

    def value(self, name: str) -> str | None:
        """Return the last value of a parameter; None if it is not there, or empty."""
        return (self.values(name) or [""])[-1] or None

    def flag(self, name: str) -> bool:
        """Return whether a parameter is true, as any client spells it; default: no.

        Raises:
            RequestError: It is neither true nor false.
        """
        text = (self.value(name) or "").lower()
        if text not in _TRUE | _FALSE:
            raise RequestError(f"The parameter {name} is true or false, not {text[:40]!r}.")
        return text in _TRUE

    def number(self, name: str, *, default: int, most: int) -> int:
        """Return a parameter that counts something, from 1 to `most`; more counts as `most`.

        Raises:
            RequestError: It is not a whole number above 0.
        """
        text = self.value(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < 1:
            raise RequestError(
                f"The parameter {name} is a whole number above 0, not {text[:40]!r}."
            )
        return min(int(text), most)

    def next_page(self, **changed: str) -> dict[str, str]:
        """Return the header that leads to the next page: this one with other parameters."""
        pairs = [(key, value) for key, value in self._pairs() if key not in changed]
        url = f"{self.base}{self.path}?{urlencode([*pairs, *changed.items()], quote_via=quote)}"
        return {"Link": f'<{url}>; rel="next"'}

    def read(self, kind: type[Read]) -> Read:
        """Return the body, which is JSON, as a type.

        Raises:
            RequestError: It is not JSON, or not of the type.
        """
        content = b"" if self.body is None else self.body.read()
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise RequestError(f"The body is not as expected: {problem_of(error)}.") from error

    def form(self) -> list[tuple[str, str]]:
        """Return the fields of a body that is a form, in its order.

        Raises:
            RequestError: It is not a form, or has too many fields.
        """
        content = b"" if self.body is None else self.body.read()
        return _fields(content, MOST_FORM_FIELDS, "The form")

    def lines(self, most: int) -> Iterator[bytes]:
        r"""Yield the lines of the body that are not empty; they end with ``\n`` alone.

        Args:
            most: Bytes that a line may have.

        Raises:
            TooLargeError: A line is too long.
        """
        if self.body is None:
            return
        while line := self.body.readline(most + 1):
            if len(line) > most:
                raise TooLargeError(
                    f"A line of the body is longer than {most} bytes. Send large files by LFS, as "
                    "the answer to preupload says."
                )
            if line.strip():
                yield line

    def _pairs(self) -> list[tuple[str, str]]:
        return _fields(self.query.encode(), MOST_FIELDS, "The query")


def problem_of(error: ValidationError) -> str:
    """Describe the first problem of JSON."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def require_printable(text: str, what: str) -> str:
    """Return `text` if databases, logs and headers accept it.

    Raises:
        RequestError: It holds a control character.
    """
    if any(character < " " or character == "\x7f" for character in text):
        raise RequestError(f"{what} holds a control character.")
    return text


def _fields(content: bytes, most: int, what: str) -> list[tuple[str, str]]:
    try:
        text = content.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=most)
    except ValueError as error:
        raise RequestError(f"{what} cannot be read: {str(error)[:200]}.") from error
    for pair in pairs:
        for part in pair:
            require_printable(part, what)
    return pairs
