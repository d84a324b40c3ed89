"""The connections to a hub, which cannot keep a client waiting for ever.

A limit for each read is not enough: a server that sends one byte a second never exceeds it. So a
connection has an allowance of seconds. Waiting uses it up, bytes refill it. A request may also have
a deadline.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import httpcore2
import httpx2

SLOWEST = 1024
"""Bytes a second that a connection must carry in the long run."""

_AT_ONCE = 65536


class Pace:
    """The time that the other side may take; shared by all connections of a session."""

    def __init__(self) -> None:
        """Begin without an allowance."""
        self._patience = self._left = 0.0
        self._end = float("inf")

    def start(self, patience: float, within: float = float("inf")) -> None:
        """Begin to wait.

        Args:
            patience: Seconds without a byte after which to give up.
            within: Seconds after which to give up in any case; default: never.
        """
        self._patience = self._left = patience
        self._end = time.monotonic() + within

    def allowed(self) -> float:
        """Return how many seconds the next read or write may take.

        Raises:
            ReadTimeout: None.
        """
        allowed = min(self._left, self._end - time.monotonic())
        if allowed <= 0:
            raise httpcore2.ReadTimeout("it takes too long")
        return allowed

    def spend(self, started: float, size: int) -> None:
        """Note that `size` bytes have come or gone since `started`."""
        spent = time.monotonic() - started
        self._left = min(self._patience, self._left - spent + size / SLOWEST)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, pace: Pace) -> None:
        self._stream = stream
        self._pace = pace

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        started = time.monotonic()
        content = self._stream.read(max_bytes, self._pace.allowed())
        self._pace.spend(started, len(content))
        return content

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _AT_ONCE):
            piece = buffer[start : start + _AT_ONCE]
            started = time.monotonic()
            self._stream.write(piece, self._pace.allowed())
            self._pace.spend(started, len(piece))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        secured = self._stream.start_tls(ssl_context, server_hostname, self._pace.allowed())
        return _Stream(secured, self._pace)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore2.SyncBackend):
    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        allowed = self._pace.allowed()
        try:
            stream = super().connect_tcp(host, port, allowed, local_address, socket_options)
        except UnicodeError as error:
            raise httpcore2.ConnectError(
                "a part of the host's name is empty or too long"
            ) from error
        return _Stream(stream, self._pace)


@lru_cache
def _certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    """The authorities that a host must be known to, as the environment names them.

    To read them takes as long as several requests, so all sessions of a process share them.
    """
    return httpx2.create_ssl_context()


class PacedTransport(httpx2.HTTPTransport):
    """A transport whose connections keep to a pace.

    Args:
        pace: The pace.
        proxy: The proxy's URL; None to connect directly.
    """

    def __init__(self, pace: Pace, proxy: str | None) -> None:
        """Put the connections under a pace."""
        named = (os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
        super().__init__(verify=_certificates(*named), proxy=proxy)
        # The pool takes a backend when it is made, and the transport makes it without one.
        self._pool._network_backend = _Backend(pace)
