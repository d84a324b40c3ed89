"""Routes on the raw path; each names the right that it needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.types import ASGIApp

from registry.accounts.access import Need
from registry.errors import MethodError, NoSuchPageError, RequestError
from registry.places import PREFIXES
from registry.server.asking import Asking, require_printable
from registry.server.memory import Again

if TYPE_CHECKING:
    from registry.server.hub import Hub

SMALL = 4 * 1024 * 1024
"""Most bytes of a body that is read as one value."""

MOST_PATH_BYTES = 16 * 1024
"""Most bytes of a request's path; a path in a repository has at most 1,024, escaped 3,072."""

_GIT = ".git"
_IN_API = {f"{kind}s": kind for kind in PREFIXES}
_BEFORE_NAME = {prefix.rstrip("/"): kind for kind, prefix in PREFIXES.items()}


class Open(StrEnum):
    """The need of a route that needs no right."""

    NOTHING = "nothing"
    """Nothing: the answer does not depend on the repositories."""

    SIGNATURE = "signature"
    """A URL, or a pass, that the hub signed for a caller with the right."""


Handler = Callable[["Hub", Asking], ASGIApp | Again]
"""Answers a request in a thread of its own; the right was checked before."""


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a pattern of paths.

    Attributes:
        method: Such as ``GET``. Without a route of its own, ``HEAD`` is answered as ``GET``,
            without a body.
        pattern: Segments: a word; ``{name}`` for any one segment, ``{name}.git`` for one with this
            end; ``{path...}`` at the end for one or more; ``{kinds}`` or ``{prefix}`` for each kind
            of repository.
        need: The right that a request needs, on the repository that the path names, else on the
            hub; or what the request needs in place of a right.
        handler: Answers the request.
        takes: Most bytes of the body; 0 if none is read before the handler runs.
        named: Whether the body names the repository. The handler then checks the right. Requests
            without a token are refused before that. Default: no.
        at_once: Whether the handler may be called without a thread; it raises `NeedsThread` if it
            would wait. Default: no.
        page: Whether people read the answer: errors are pages, too. Default: no.
        yields: Whether any other matching route goes first. A repository may then have a name that
            is a word of this pattern. Default: no.
    """

    method: str
    pattern: str
    need: Need | Open
    handler: Handler
    takes: int = 0
    named: bool = False
    at_once: bool = False
    page: bool = False
    yields: bool = False

    def spelled(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the pattern for each kind of repository, with the kind as a parameter."""
        for placeholder, spellings in (("/{kinds}", _IN_API), ("/{prefix}", _BEFORE_NAME)):
            if placeholder in self.pattern:
                for word, kind in spellings.items():
                    yield (
                        self.pattern.replace(placeholder, f"/{word}" if word else ""),
                        {"kind": kind},
                    )
                return
        yield self.pattern, {}


@dataclass(frozen=True, slots=True)
class Match:
    """The route of a request.

    Attributes:
        route: The route.
        params: The decoded segments by name.
    """

    route: Route
    params: dict[str, str]


class Routes:
    """A table of routes, found segment by segment: a word goes before a name, a name before more.

    A path that starts with a word of the table has no owner, since no account has such a name.

    Args:
        routes: All of them.

    Raises:
        ValueError: A pattern is malformed, or two routes are equal.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._root = _Node()
        for route in routes:
            if not isinstance(route.need, Need | Open):
                raise ValueError(f"{route.method} {route.pattern} does not say what it needs")
            for pattern, fixed in route.spelled():
                self._add(route, pattern, fixed)

    def match(self, method: str, raw_path: bytes) -> Match:
        """Return the route of a request.

        Args:
            method: Such as ``GET``.
            raw_path: The path as it was sent, without a query.

        Raises:
            NoSuchPageError: No pattern fits.
            MethodError: A pattern fits, but not with this method.
            RequestError: The path is malformed.
        """
        segments = split_path(raw_path)
        allowed: set[str] = set()
        other: Match | None = None
        for node, values in self._root.find(segments, 0, ()):
            found = node.routes.get(method)
            if found is None and method == "HEAD":
                found = node.routes.get("GET")
            if found is not None:
                route, names, fixed = found
                match = Match(route, {**dict(zip(names, values, strict=True)), **fixed})
                if not route.yields:
                    return match
                other = other or match
            allowed |= node.routes.keys()
        if other is not None:
            return other
        if allowed:
            raise MethodError(f"This page does not take {method}.", sorted(allowed))
        raise NoSuchPageError("This hub has no such page.")

    def _add(self, route: Route, pattern: str, fixed: dict[str, str]) -> None:
        node, names = self._root, []
        parts = pattern.removeprefix("/").split("/")
        for place, part in enumerate(parts):
            if part.startswith("{"):
                name, _, end = part[1:].partition("}")
                is_rest = name.endswith("...")
                if is_rest and place != len(parts) - 1:
                    raise ValueError(f"{pattern}: {part} does not stand at the end")
                names.append(name.removesuffix("..."))
                part = "..." if is_rest else f"{{}}{end}"
            node = node.children.setdefault(part, _Node())
        if "owner" in names and "kind" not in fixed:
            raise ValueError(f"{pattern} names a repository of no kind")
        if route.method in node.routes:
            raise ValueError(f"{route.method} {pattern} is there twice")
        node.routes[route.method] = (route, tuple(names), fixed)


class _Node:
    """A place in the tree of patterns."""

    __slots__ = ("children", "routes")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.routes: dict[str, tuple[Route, tuple[str, ...], dict[str, str]]] = {}

    def find(
        self, segments: Sequence[str], place: int, values: tuple[str, ...]
    ) -> Iterator[tuple["_Node", tuple[str, ...]]]:
        """Yield the nodes that a path leads to, with the values of names, the best first."""
        if place == len(segments):
            if self.routes:
                yield self, values
            return
        segment = segments[place]
        if not segment.startswith(("{}", "...")) and (word := self.children.get(segment)):
            yield from word.find(segments, place + 1, values)
            if place == 0:
                return
        if segment.endswith(_GIT) and (one := self.children.get(f"{{}}{_GIT}")):
            yield from one.find(segments, place + 1, (*values, segment.removesuffix(_GIT)))
        if one := self.children.get("{}"):
            yield from one.find(segments, place + 1, (*values, segment))
        if rest := self.children.get("..."):
            yield rest, (*values, "/".join(segments[place:]))


def split_path(raw_path: bytes) -> list[str]:
    """Return the decoded segments of a path as it was sent; a segment may then hold a ``/``.

    Raises:
        RequestError: It is too long, not UTF-8, or has a control character.
    """
    if len(raw_path) > MOST_PATH_BYTES:
        raise RequestError(f"The path is longer than {MOST_PATH_BYTES} bytes.")
    try:
        text = raw_path.decode("ascii")
        segments = [unquote(part, errors="strict") for part in text.removeprefix("/").split("/")]
    except UnicodeDecodeError as error:
        raise RequestError("The path is not UTF-8 with escapes.") from error
    for segment in segments:
        require_printable(segment, "The path")
    return segments
