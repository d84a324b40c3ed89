"""The application: a request comes in, is checked against its route's need, and is answered."""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.accounts.access import Caller, Need
from registry.errors import HubkitError, RemovedCommitError
from registry.server.admitting import admit, use_token
from registry.server.asking import Asking, NeedsThread
from registry.server.counting import EVERY
from registry.server.errors import answer_of, refuse
from registry.server.hub import Hub
from registry.server.memory import Again, key_of
from registry.server.pages.errors import names_html, page_of
from registry.server.receiving import Incoming, drain, read_body
from registry.server.routes import Match, Open, Route, Routes
from registry.server.table import ROUTES

logger = logging.getLogger(__name__)

READERS = 32
"""Threads that read the database and the disk; downloads have their own."""

WRITERS = 16
"""Threads that change the database, and may wait for other writers; uploads have their own."""

SWEEP = 3600.0
"""Seconds between two removals of leftovers of uploads."""

LOOK = 30.0
"""Seconds between two updates of the overview."""

_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # A browser sends its token for any site's page: no such page may read the answer.
    (b"cross-origin-resource-policy", b"same-origin"),
)
_POLICY = b"content-security-policy"
# An answer that is not a page is data: nothing in it runs, or is shown inside a page.
_DATA = (_POLICY, b"default-src 'none'; frame-ancestors 'none'; sandbox")
_CUT_OFF = refuse(400, "The body of this request did not come to its end.")


class App:
    """Serves a registry to clients of the Hugging Face Hub, as an ASGI application.

    Args:
        hub: The registry, and how it is served.
        routes: The routes; default: all.
    """

    def __init__(self, hub: Hub, routes: Sequence[Route] = ROUTES) -> None:
        self.hub = hub
        self._routes = Routes(routes)
        self._readers = CapacityLimiter(READERS)
        self._writers = CapacityLimiter(WRITERS)
        # What requests are called: of this process, and one after the other.
        self._started, self._numbers = secrets.token_hex(4), itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the server calls this."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = f"{self._started}{next(self._numbers):08x}"
        added = (*_SAFE, (b"x-request-id", request_id.encode()))
        has_started = False

        def send_more(message: Message) -> Awaitable[None]:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                given = message["headers"]
                policy = () if _POLICY in [name for name, _ in given] else (_DATA,)
                message["headers"] = [*given, *added, *policy]
            elif scope["method"] == "HEAD":
                message["body"] = b""
            return send(message)

        incoming = Incoming(receive)
        try:
            answer = await self._answer(scope, incoming, request_id)
            await answer(scope, incoming, send_more)
        except ClientDisconnect:
            logger.debug("request %s: the client left", request_id)
            if not has_started:
                # The client may still listen; otherwise, the server would answer 500.
                await _CUT_OFF(scope, incoming, send_more)

    async def _answer(self, scope: Scope, incoming: Incoming, request_id: str) -> ASGIApp:
        key = key_of(scope)
        again = await self._again(key)
        if again is not None:
            return again
        raw_path = scope["raw_path"].partition(b"?")[0]
        headers = Headers(scope=scope)
        ask = Asking(
            method=scope["method"],
            path=raw_path.decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            params={},
            headers=headers,
            base="",
            id=request_id,
            key=key,
        )
        is_page = names_html(headers)
        try:
            match = self._routes.match(scope["method"], raw_path)
            is_page, ask.params = match.route.page, match.params
            ask.base = self.hub.settings.base_of(scope["scheme"], headers.get("host", ""))
            return await self._handle(match, ask, incoming)
        except ClientDisconnect:
            raise
        except Exception as error:
            await drain(incoming)
            return page_of(ask, error) if is_page else answer_of(error, request_id)

    async def _again(self, key: Hashable | None) -> ASGIApp | None:
        """Return what the same request was answered with, if that is still right."""
        if key is None or not self.hub.memory.may_know(key):
            return None
        with suppress(HubkitError):  # of which the usual way makes an answer
            known = await self.hub.memory.latest(self._readers)
            kept: tuple[Caller | None, Callable[[], ASGIApp | None]] | None = known.get(key)
            if kept is not None:
                caller, make = kept
                if caller is not None:
                    use_token(self.hub, caller)
                return make()
        return None

    async def _handle(self, match: Match, ask: Asking, receive: Receive) -> ASGIApp:
        route = match.route
        if not isinstance(route.need, Open):
            ask.known = await self.hub.memory.latest(self._readers)
        if route.at_once:
            with suppress(NeedsThread):
                return self._admit_and_handle(match, replace(ask, may_wait=False))
        if not route.takes:
            return await self._run(route, partial(self._admit_and_handle, match, ask))
        # A body is read only if the caller has the right to send it.
        await to_thread.run_sync(admit, self.hub, ask, route, limiter=self._readers)
        length = ask.headers.get("content-length")
        ask.body = await read_body(receive, route.takes, length)
        try:
            return await self._run(route, partial(self._answer_of, route, ask))
        finally:
            ask.body.close()

    def _admit_and_handle(self, match: Match, ask: Asking) -> ASGIApp:
        admit(self.hub, ask, match.route)
        return self._answer_of(match.route, ask)

    def _answer_of(self, route: Route, ask: Asking) -> ASGIApp:
        try:
            answer = route.handler(self.hub, ask)
        except RemovedCommitError:
            if route.method not in ("GET", "HEAD"):
                raise
            answer = route.handler(self.hub, ask)  # what led to the commit leads to another now
        if not isinstance(answer, Again):
            return answer
        if ask.known is not None and ask.key is not None:
            ask.known.remember(ask.key, (ask.caller, answer.make))
        return answer.answer

    async def _run(self, route: Route, call: Callable[[], ASGIApp]) -> ASGIApp:
        """Run a call in a thread; writers that wait for the database do not block readers."""
        limiter = self._writers if route.need in (Need.WRITE, Need.ADMIN) else self._readers
        return await to_thread.run_sync(call, limiter=limiter)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Run the background work, from the start of the server to its end."""
        await receive()
        background = [
            asyncio.create_task(_repeat(EVERY, self.hub.write_counts)),
            asyncio.create_task(_repeat(SWEEP, self.hub.sweep)),
            asyncio.create_task(_repeat(LOOK, self.hub.overview.refresh, first=0)),
        ]
        if self.hub.convert is not None:
            await to_thread.run_sync(_attempt, self.hub.conversions.go_on)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in background:
            task.cancel()
        await to_thread.run_sync(_attempt, self.hub.write_counts)
        await to_thread.run_sync(self.hub.catalog.close)
        await send({"type": "lifespan.shutdown.complete"})


async def _repeat(every: float, call: Callable[[], object], first: float | None = None) -> None:
    """Repeat a call: first after `first` seconds, then after every `every` seconds."""
    await asyncio.sleep(every if first is None else first)
    while True:
        await to_thread.run_sync(_attempt, call)
        await asyncio.sleep(every)


def _attempt(call: Callable[[], object]) -> None:
    try:
        call()
    except HubkitError as error:
        logger.warning("%s", error)
