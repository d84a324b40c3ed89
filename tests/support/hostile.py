"""A server that answers as a test says, however wrong, and another host to lure requests to."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    """One request, and ways to answer it."""

    protocol_version = "HTTP/1.1"
    respond: Callable[[Answer], None]
    body = b""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            type(self).respond(self)
        except OSError:  # the client has gone
            self.close_connection = True

    do_POST = do_PUT = do_DELETE = do_GET

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def json(self, value: object, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(value).encode(), status, **headers)

    def raw(self, *pieces: bytes, pause: Callable[[], object] = lambda: None) -> None:
        """Send bytes as they are, with a pause after each piece."""
        self.close_connection = True
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            pause()


@dataclass
class Hostile:
    """Two hosts: the hub, and one that must see no token.

    Attributes:
        url: The hub.
        other: The other host.
        answer: What the hub does with a request.
        asked: Method, path and token of what the hub was asked.
        lured: The same of the other host, which answers all with an empty list.
    """

    url: str = ""
    other: str = ""
    answer: Callable[[Answer], None] = lambda request: request.json({})
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    lured: list[tuple[str, str, str | None]] = field(default_factory=list)


@contextmanager
def serve_hostile() -> Iterator[Hostile]:
    """Run both on free ports of loopback."""
    hub = Hostile()

    def here(request: Answer) -> None:
        hub.asked.append((request.command, request.path, request.headers.get("authorization")))
        hub.answer(request)

    def there(request: Answer) -> None:
        hub.lured.append((request.command, request.path, request.headers.get("authorization")))
        request.json([])

    servers = [
        ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (Answer,), {"respond": staticmethod(respond)})
        )
        for respond in (here, there)
    ]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    hub.url = f"http://127.0.0.1:{servers[0].server_port}"
    hub.other = f"http://localhost:{servers[1].server_port}"
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def drip(request: Answer, begin: bytes, piece: bytes) -> None:
    """Begin an answer, and then go on 200 times with as good as nothing."""
    request.raw(begin, *itertools.repeat(piece, 200), pause=lambda: time.sleep(0.05))
