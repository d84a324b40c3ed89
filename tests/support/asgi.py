"""Ask an ASGI application, without a server or a socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from starlette.types import ASGIApp


@dataclass(frozen=True)
class Answer:
    """What an application answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """What clients tell errors apart by."""
        return self.headers.get("x-error-code")


Ask = Callable[..., Answer]
"""Sends one request, as `Client.ask` does, but by the name of a token."""


class Client:
    """Asks an application; its threads live until the block ends.

    Threads that wait for the database belong to the task that a loop was started with: all requests
    are part of one, so that these are started once.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_done())

    async def _until_done(self) -> None:
        await self._done.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    def ask(
        self,
        method: str,
        target: str,
        *,
        token: str | None = None,
        body: bytes | Mapping[str, Any] | Sequence[Any] = b"",
        headers: Mapping[str, str] | None = None,
        host: str = "127.0.0.1:8000",
        cut: bool = False,
    ) -> Answer:
        """Send one request, and return the whole answer.

        Args:
            method: Such as ``GET``.
            target: The path as it is sent, and the query.
            token: Whose token it shows; default: none.
            body: Bytes, or what is sent as JSON.
            headers: More headers.
            host: What it is sent to.
            cut: Whether the client leaves when it has sent the body, before its last piece.
        """
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = target.partition("?")
        sent = {"host": host, "content-length": str(len(content)), **(headers or {})}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(key.lower().encode(), value.encode()) for key, value in sent.items()],
            "extensions": {},
        }
        messages: list[Any] = []
        left = [content[start : start + 65536] for start in range(0, len(content), 65536)] or [b""]

        async def receive() -> dict[str, Any]:
            if not left and not cut:
                await asyncio.sleep(60)
            if not left:
                return {"type": "http.disconnect"}
            piece = left.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(left) or cut}

        async def send(message: Any) -> None:
            messages.append(message)

        async def run() -> None:
            await self._app(scope, receive, send)

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()
        if not messages:
            return Answer(0, {}, b"")
        told = {key.decode().lower(): value.decode() for key, value in messages[0]["headers"]}
        content = b"".join(one.get("body", b"") for one in messages[1:])
        return Answer(messages[0]["status"], told, content)
