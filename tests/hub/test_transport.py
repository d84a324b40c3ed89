"""A connection must carry bytes at a pace, whoever is at its other end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpcore2
import httpx2
import pytest

from hubkit.hub import transport
from hubkit.hub.address import Hub
from hubkit.hub.session import HubSession
from hubkit.hub.transport import SLOWEST, Pace, PacedTransport
from registry.errors import RemoteUnreachableError
from tests.support.hostile import Hostile


class Clock:
    """Time that passes when a test says so."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(transport, "time", clock)
    return clock


def test_waiting_uses_up_the_allowance_and_bytes_earn_it_back(clock: Clock) -> None:
    pace = Pace()
    pace.start(10.0)
    started, clock.now = clock.now, clock.now + 4
    pace.spend(started, 0)
    assert pace.allowed() == 6
    pace.spend(clock.now, 3 * SLOWEST)
    assert pace.allowed() == 9


def test_bytes_earn_no_more_than_the_whole_allowance(clock: Clock) -> None:
    pace = Pace()
    pace.start(10.0)
    pace.spend(clock.now, 1000 * SLOWEST)
    assert pace.allowed() == 10


def test_who_sends_less_than_the_slowest_pace_is_given_up(clock: Clock) -> None:
    pace = Pace()
    pace.start(10.0)
    for _ in range(10):  # a byte a second
        assert pace.allowed() > 0
        started, clock.now = clock.now, clock.now + 1
        pace.spend(started, 1)
    pace.spend(clock.now - 1, 1)
    with pytest.raises(httpcore2.ReadTimeout, match="takes too long"):
        pace.allowed()


def test_a_request_with_an_end_ends_however_fast_bytes_come(clock: Clock) -> None:
    pace = Pace()
    pace.start(10.0, within=30.0)
    clock.now += 29
    pace.spend(clock.now, 1000 * SLOWEST)
    assert pace.allowed() == 1
    clock.now += 1
    with pytest.raises(httpcore2.ReadTimeout, match="takes too long"):
        pace.allowed()


def test_without_a_start_nothing_may_be_read() -> None:
    with pytest.raises(httpcore2.ReadTimeout, match="takes too long"):
        Pace().allowed()


@pytest.fixture
def deaf() -> Iterator[str]:
    """A host that takes connections and never reads from them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        held: list[socket.socket] = []

        def accept() -> None:
            held.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(1)
        for connection in held:
            connection.close()


def request(url: str, pace: Pace, content: bytes = b"") -> bytes:
    with httpx2.Client(transport=PacedTransport(pace, None), timeout=None) as client:
        return client.post(url, content=content).content


def test_a_request_that_keeps_the_pace_is_answered(hostile: Hostile) -> None:
    hostile.answer = lambda request: request.send(request.body[::-1])
    pace = Pace()
    pace.start(30.0)
    content = bytes(range(256)) * 1024  # more than is written at once
    assert request(hostile.url, pace, content) == content[::-1]


def test_certificates_are_read_once_for_those_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read = []
    make = httpx2.create_ssl_context
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda: read.append(1) or make())
    for times, folder in ((1, "a"), (1, "a"), (2, "b")):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / folder))
        PacedTransport(Pace(), None).close()
        assert len(read) == times


def test_who_does_not_read_is_given_up(deaf: str) -> None:
    pace = Pace()
    pace.start(0.3)
    with pytest.raises(httpx2.TimeoutException):
        request(deaf, pace, bytes(1 << 26))


def test_who_does_not_answer_is_given_up(deaf: str) -> None:
    pace = Pace()
    pace.start(0.3)
    with pytest.raises(httpx2.TimeoutException):
        request(deaf, pace)


@pytest.mark.parametrize("host", ["a..example", "a" * 64 + ".example"])
def test_a_host_that_no_name_can_be_is_told(host: str) -> None:
    with (
        closing(HubSession(Hub(f"http://{host}"), None)) as session,
        pytest.raises(RemoteUnreachableError, match="is empty or too long"),
    ):
        session.ask("/", what=host)
