"""Stands between a client and a hub, and knows when the hub may be killed."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Relay(ThreadingHTTPServer):
    """Passes requests on to a port; whoever asks while nobody listens there gets no answer.

    Args:
        port: Where the hub listens.

    Attributes:
        asked: The paths that were answered, in order.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.asked = port, list[str]()
        self._wanted: str | None = None
        self._reached, self._open = threading.Event(), threading.Event()
        self._open.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients leave, and the hub is killed."""

    def stop_after(self, word: str) -> None:
        """Let requests pass until a path with a word in it was answered."""
        self._reached.clear()
        self._wanted = word
        self._open.set()

    def wait(self, seconds: float) -> None:
        """Wait until nothing passes any more."""
        assert self._reached.wait(seconds), self.asked

    def go_on(self) -> None:
        """Let all requests pass."""
        self._wanted = None
        self._open.set()

    def answered(self, path: str) -> None:
        self.asked.append(path)
        if self._wanted is not None and self._wanted in path:
            self._open.clear()
            self._reached.set()

    def pass_on(self) -> None:
        self._open.wait(30)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.pass_on()
        connection = http.client.HTTPConnection("127.0.0.1", self.server.hub, timeout=60)
        self.close_connection = True
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            return  # without an answer
        finally:
            connection.close()
        self.server.answered(self.path)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_HEAD = _relay

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def relaying(port: int) -> Iterator[Relay]:
    """Relay to a port until the block ends."""
    with Relay(port) as relay:
        thread = threading.Thread(target=relay.serve_forever, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join(timeout=10)
