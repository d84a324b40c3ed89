"""Requests to one hub, which is not trusted: what it may make a client do is bounded here.

- Its token goes to its own origin and nowhere else, whichever address an answer names.
- Answers are read up to a size, within a time, through a bounded number of pages and redirects.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from importlib.metadata import version
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

import httpx2
from huggingface_hub import constants, is_offline_mode
from pydantic import TypeAdapter

from hubkit.hub.address import Hub, Repository
from hubkit.hub.answers import Account, Description, Refs, parse_answer, said
from hubkit.hub.errors import Refused, refusal, remote_errors, require_online
from hubkit.hub.origin import Origin
from hubkit.hub.tokens import keep_token, require_token, token_for
from hubkit.hub.transport import Pace, PacedTransport
from registry.errors import (
    RemoteAccessError,
    RemoteAnswerError,
)
from registry.storage.files import CHUNK

T = TypeVar("T")
Query = Sequence[tuple[str, str]]

MOST_JSON = 8 * 1024 * 1024
"""Bytes of an answer; a listing of a thousand files takes about 0.3 MiB. To read JSON may take 50
times its bytes of memory."""

MOST_PAGES = 100
MOST_REDIRECTS = 5

_MOST_SAID = 65536
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 429, 500, 502, 503, 504)
_PAUSES = (0.5, 1.0)
"""Seconds before what failed is asked again."""


@contextmanager
def open_session(hub: Hub) -> Iterator[HubSession]:
    """Yield a session with the token that is meant for a hub, and no other.

    Raises:
        RemoteUnreachableError: HF_HUB_OFFLINE is set.
        RemoteAccessError: The stored token is malformed.
    """
    require_online(hub)
    with closing(HubSession(hub, token_for(hub))) as session:
        yield session


@contextmanager
def open_unless_offline(hub: Hub) -> Iterator[HubSession | None]:
    """Yield a session as :func:`open_session` does; None where HF_HUB_OFFLINE is set.

    Raises:
        RemoteAccessError: The stored token is malformed.
    """
    if is_offline_mode():
        yield None
        return
    with open_session(hub) as session:
        yield session


def log_in(hub: Hub, token: str) -> str:
    """Check a token with a hub, keep it, and return whose it is.

    Raises:
        RemoteAccessError: It cannot be a token, or the hub does not know it.
        RemoteError: The hub cannot be asked.
        StorageError: The token cannot be kept.
    """
    require_online(hub)
    token = require_token(token.strip(), "What was given", hub)
    try:
        with closing(HubSession(hub, token)) as session:
            user = session.user()
    except RemoteAccessError as error:
        raise RemoteAccessError(
            f"{hub.url} does not know this token. Copy it again from the hub's page of access "
            "tokens; it may have been revoked there.",
            hub.url,
        ) from error
    keep_token(hub, token)
    return user


class HubSession:
    """A client of one hub, for one thread.

    Args:
        hub: The hub.
        token: The token that is sent to it; None for none.
    """

    def __init__(self, hub: Hub, token: str | None) -> None:
        self.hub = hub
        self.token = token
        self._origin = Origin(hub)
        self._pace = Pace()
        self._transports: dict[tuple[str, str], PacedTransport] = {}
        # As for the stock client; HF_HUB_DOWNLOAD_TIMEOUT sets it.
        self._patience = float(constants.HF_HUB_DOWNLOAD_TIMEOUT)

    def close(self) -> None:
        """Close the connections."""
        for transport in self._transports.values():
            transport.close()

    def user(self) -> str:
        """Return the name of the token's user.

        Raises:
            RemoteAccessError: There is none, or the hub does not know it.
        """
        if self.token is None:
            raise RemoteAccessError(
                f"{self.hub.url} does not know you, as there is no token for it.",
                self.hub.url,
                hub=self.hub.url,
            )
        return self.get("/api/whoami-v2", Account, what=self.hub.url).name

    def describe(self, repository: Repository) -> Description:
        """Return what the hub says of a repository at its revision, or at its main branch.

        Raises:
            RemoteError: The hub refuses, or cannot be reached.
        """
        revision = f"/revision/{quote(repository.revision, safe='')}" if repository.revision else ""
        path = f"/api/models/{repository.name}{revision}"
        return self.get(path, Description, what=repository.url)

    def refs(self, repository: Repository) -> Refs:
        """Return the branches and tags of a repository.

        Raises:
            RemoteError: The hub refuses, or cannot be reached.
        """
        return self.get(f"/api/models/{repository.name}/refs", Refs, what=repository.url)

    def get(self, path: str, kind: TypeAdapter[T] | type[T], *, what: str) -> T:
        """Ask a question.

        Args:
            path: After the hub's URL; what is in it is quoted already.
            kind: The type of its answer.
            what: The URL that is asked about, for messages.

        Raises:
            RemoteError: The hub refuses, cannot be reached, or answers something else.
        """
        return parse_answer(kind, self.fetch(path, what=what), what)

    def fetch(self, path: str, *, what: str, most: int = MOST_JSON) -> bytes:
        """Return the whole answer to a question.

        Args:
            path: As for :meth:`get`, and so is `what`.
            most: Bytes that it may have.

        Raises:
            RemoteError: As for :meth:`get`.
        """
        self._pace.start(3 * self._patience, within=10 * self._patience)
        with self._reading(self._url(path), what) as response:
            return _read(response, most, what)

    def ask(self, path: str, *, what: str, writes: bool = False) -> None:
        """Ask a question whose answer is the status alone: a success, or an error.

        Args:
            path: As for :meth:`get`, and so is `what`.
            writes: Whether the question is about the right to write, for messages.

        Raises:
            RemoteError: As for :meth:`get`.
        """
        self._pace.start(3 * self._patience, within=10 * self._patience)
        with self._reading(self._url(path), what, writes=writes):
            pass

    def get_all(
        self,
        path: str,
        kind: TypeAdapter[tuple[T, ...]],
        *,
        what: str,
        most: int,
        query: Query = (),
    ) -> list[T]:
        """Ask for a list that may have several pages.

        Args:
            path: As for :meth:`get`, and so is `what`.
            kind: The type of a page.
            most: Elements after which no further page is asked for.
            query: Names and values.

        Raises:
            RemoteAnswerError: A page is on another host, comes twice, or they do not end.
            RemoteError: As for :meth:`get`.
        """
        self._pace.start(3 * self._patience, within=10 * self._patience)
        found: list[T] = []
        asked: set[str] = set()
        url: httpx2.URL | None = self._url(path, query)
        while url is not None and len(found) < most:
            if str(url) in asked or len(asked) == MOST_PAGES:
                raise RemoteAnswerError(
                    f"{what} lists pages without an end: page {len(asked) + 1} is one that was "
                    f"read, or more than {MOST_PAGES}.",
                    what,
                )
            asked.add(str(url))
            with self._reading(url, what) as response:
                following = response.links.get("next", {}).get("url")
                content = _read(response, MOST_JSON, what)
            page: tuple[T, ...] = parse_answer(kind, content, what)
            found += page
            url = self._origin.own(url, following, what) if following else None
        return found

    def send(
        self,
        method: str,
        path: str,
        *,
        what: str,
        document: Any = None,
        kind: str = "application/json",
    ) -> bytes:
        """Ask for a change, once, and return what the hub answers.

        Args:
            method: POST, PUT or DELETE.
            path: As for :meth:`get`, and so is `what`.
            document: What is sent as JSON; default: nothing.
            kind: Its media type.

        Raises:
            RemoteError: The hub refuses, cannot be reached, or answers too much.
        """
        content = b"" if document is None else json.dumps(document).encode()
        return self.send_bytes(method, self._url(path), [content], len(content), kind, what)

    def send_lines(self, path: str, lines: BinaryIO, size: int, *, what: str) -> bytes:
        """Post lines of JSON from a file, once, and return what the hub answers.

        Raises:
            RemoteError: As for :meth:`send`.
        """
        content = _pieces(lines)
        kind = "application/x-ndjson"
        return self.send_bytes("POST", self._url(path), content, size, kind, what)

    def send_bytes(
        self,
        method: str,
        url: httpx2.URL,
        content: Iterable[bytes],
        size: int,
        kind: str,
        what: str,
        *,
        with_token: bool = True,
    ) -> bytes:
        """Send bytes to a URL, and return what is answered.

        Args:
            method: POST, PUT or DELETE.
            url: Where; the token goes along to the hub's own origin only.
            content: The bytes.
            size: How many there are.
            kind: Their media type; empty to say none.
            what: What they are about, for messages.
            with_token: Whether the hub is to see the token.

        Raises:
            RemoteError: As for :meth:`send`.
        """
        # A hub may work on what it got for a while before it says anything.
        self._pace.start(6 * self._patience, within=60 * self._patience + size / 1024)
        headers = {"content-length": str(size), **({"content-type": kind} if kind else {})}
        with (
            remote_errors(what),
            self._answer(method, url, what, headers, content, with_token) as response,
        ):
            self._require_success(response, what, writes=True)
            return _read(response, MOST_JSON, what)

    def elsewhere(self, href: str, what: str, *, anywhere: bool) -> httpx2.URL:
        """Return a URL that the hub named, if a request may go there.

        Args:
            href: What it named.
            what: What it is about, for messages.
            anywhere: Whether another host will do, which then gets no token.

        Raises:
            RemoteAnswerError: It may not.
        """
        return self._follow(httpx2.URL(self.hub.url), href, what, anywhere)

    @contextmanager
    def reading_file(
        self, path: str, what: str, headers: dict[str, str]
    ) -> Iterator[httpx2.Response]:
        """Yield the answer with a file's bytes, which may lie on another host, as it comes.

        Args:
            path: As for :meth:`get`, and so is `what`.
            headers: What is said beside the rest, such as a range.

        Raises:
            RemoteError: As for :meth:`get`.
        """
        self._pace.start(self._patience, within=10 * self._patience)
        with self._reading(self._url(path), what, headers, anywhere=True) as response:
            self._pace.start(self._patience)  # bytes may come for as long as there are some
            yield response

    @contextmanager
    def _reading(
        self,
        url: httpx2.URL,
        what: str,
        headers: dict[str, str] | None = None,
        *,
        anywhere: bool = False,
        writes: bool = False,
    ) -> Iterator[httpx2.Response]:
        """An answer that is a success, after redirects; a passing failure is asked again."""
        pauses = list(_PAUSES)
        while True:
            with remote_errors(what), self._followed(url, what, headers or {}, anywhere) as found:
                if found.status_code not in _PASSING or not pauses:
                    self._require_success(found, what, writes=writes)
                    yield found
                    return
            time.sleep(pauses.pop(0))

    @contextmanager
    def _followed(
        self, url: httpx2.URL, what: str, headers: dict[str, str], anywhere: bool
    ) -> Iterator[httpx2.Response]:
        for _ in range(MOST_REDIRECTS + 1):
            with self._answer("GET", url, what, headers) as response:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                location = response.headers.get("location", "")
            url = self._follow(url, location, what, anywhere)
        raise RemoteAnswerError(f"{what} redirects more than {MOST_REDIRECTS} times.", what)

    def _follow(self, base: httpx2.URL, href: str, what: str, anywhere: bool) -> httpx2.URL:
        follow = self._origin.named if anywhere else self._origin.own
        return follow(base, href, what)

    @contextmanager
    def _answer(
        self,
        method: str,
        url: httpx2.URL,
        what: str,
        headers: dict[str, str],
        content: Iterable[bytes] = (),
        with_token: bool = True,
    ) -> Iterator[httpx2.Response]:
        """One request, and its answer as it comes, whatever it says."""
        sent = {
            "user-agent": _user_agent(),
            "accept": "*/*",
            # Packed, an answer has no size that could be bounded before it is unpacked.
            "accept-encoding": "identity",
            "host": url.netloc.decode("ascii"),
            **headers,
        }
        if with_token and self.token and self._origin.is_of(url):
            sent["authorization"] = f"Bearer {self.token}"
        request = httpx2.Request(method, url, headers=sent, content=content or None)
        response = self._transport(url).handle_request(request)
        response.request = request
        try:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise RemoteAnswerError(f"{what} packs its answer, though asked not to.", what)
            yield response
        finally:
            response.close()

    def _transport(self, url: httpx2.URL) -> PacedTransport:
        """The way to a URL, through the proxy that the environment names for its host."""
        host = url.scheme, url.host
        if host not in self._transports:
            proxies = {} if proxy_bypass(url.host) else getproxies()
            proxy = proxies.get(url.scheme) or proxies.get("all")
            self._transports[host] = PacedTransport(self._pace, proxy)
        return self._transports[host]

    def _url(self, path: str, query: Query = ()) -> httpx2.URL:
        return httpx2.URL(f"{self.hub.url}{path}{f'?{urlencode(query)}' if query else ''}")

    def _require_success(self, response: httpx2.Response, what: str, *, writes: bool) -> None:
        if 200 <= response.status_code < 300:
            return
        message = response.headers.get("x-error-message", "")
        if not message:
            with remote_errors(what):
                message = _message_in(_read(response, _MOST_SAID, what, cut=True))
        raise refusal(
            Refused(
                hub=self.hub,
                what=what,
                status=response.status_code,
                code=response.headers.get("x-error-code", ""),
                message=said(message),
                token_sent="authorization" in response.request.headers,
                writes=writes,
            )
        )


@cache
def _user_agent() -> str:
    return f"hubkit/{version('hubkit')}"


def _read(response: httpx2.Response, most: int, what: str, *, cut: bool = False) -> bytes:
    """The whole answer, or with `cut` its beginning."""
    content = bytearray()
    for piece in response.iter_raw():
        content += piece
        if len(content) > most:
            if cut:
                break
            raise RemoteAnswerError(f"{what} answers more than {most:,} bytes.", what)
    return bytes(content)


def _message_in(content: bytes) -> str:
    """The reason in the body of a refusal, which is JSON in the protocol."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    message = document.get("error", "") if isinstance(document, dict) else ""
    return message if isinstance(message, str) else ""


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk
