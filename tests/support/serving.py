"""A server on loopback for all tests of a process: one after the other puts its hub there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send


class Server:
    """Answers on a port of 127.0.0.1.

    Attributes:
        url: Where.
        app: What answers.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None, "a request came after its test"
        await self.app(scope, receive, send)


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        served = Server(f"http://127.0.0.1:{listening.getsockname()[1]}")
        config = uvicorn.Config(served, interface="asgi3", log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.should_exit = True
            thread.join(timeout=10)
