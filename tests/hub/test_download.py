"""A file is what its listing announced, or an error: whatever a hub sends."""

from __future__ import annotations

import hashlib
import io

import pytest

from hubkit.hub.address import Repository
from hubkit.hub.answers import RemoteFile
from hubkit.hub.download import digest_like, download
from hubkit.hub.session import HubSession
from registry.errors import CorruptBlobError, RemoteAnswerError, RemoteUnreachableError
from tests.support.hostile import Answer, Hostile, drip

FILM = b"bytes of a film" * 100
OK = b"HTTP/1.1 200 OK\r\n"


def downloaded(session: HubSession, content: bytes = FILM, **other: object) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    file = RemoteFile(**{"path": "w.dat", "size": len(content), "digest": digest, **other})  # type: ignore[arg-type]
    target = io.BytesIO()
    download(session, Repository(session.hub, "ada/film", "a" * 40), file, target)
    return target.getvalue()


def test_a_file_may_lie_elsewhere_and_is_asked_for_without_the_token(
    session: HubSession, hostile: Hostile
) -> None:
    hostile.answer = lambda request: request.send(b"", 302, location=f"{hostile.other}/blob")
    assert downloaded(session, b"[]") == b"[]"
    assert hostile.lured == [("GET", "/blob", None)]


def test_a_file_that_drips_is_given_up(session: HubSession, hostile: Hostile) -> None:
    head = OK + b"content-length: %d\r\n\r\n" % len(FILM)
    hostile.answer = lambda request: drip(request, head, b"x")
    with pytest.raises(RemoteUnreachableError, match="stopped answering"):
        downloaded(session)


@pytest.mark.parametrize(
    ("sent", "error", "message"),
    [
        (FILM + b"x", RemoteAnswerError, "announced with 1500 bytes, but has more"),
        (FILM[:-1], RemoteAnswerError, "announced with 1500 bytes, but has 1499"),
        (FILM[::-1], CorruptBlobError, "not the file that its hash promises"),
    ],
)
def test_a_file_is_what_was_announced(
    session: HubSession, hostile: Hostile, sent: bytes, error: type[Exception], message: str
) -> None:
    hostile.answer = lambda request: request.send(sent)
    with pytest.raises(error, match=message):
        downloaded(session)


def test_git_names_small_files_by_sha1(session: HubSession, hostile: Hostile) -> None:
    hostile.answer = lambda request: request.send(FILM)
    # As `git hash-object` prints it.
    digest = hashlib.sha1(b"blob 1500\0" + FILM).hexdigest()
    assert downloaded(session, digest=digest) == FILM
    assert digest_like(io.BytesIO(b""), "0" * 40, 0) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_a_connection_that_breaks_is_gone_on_with_where_it_broke(
    session: HubSession, hostile: Hostile
) -> None:
    asked: list[str | None] = []

    def answer(request: Answer) -> None:
        asked.append(request.headers.get("range"))
        if len(asked) == 1:
            request.raw(OK + b"content-length: %d\r\n\r\n" % len(FILM), FILM[:100])
        else:
            part = f"bytes 100-{len(FILM) - 1}/{len(FILM)}"
            request.send(FILM[100:], 206, content_range=part)

    hostile.answer = answer
    assert downloaded(session) == FILM
    assert asked == [None, "bytes=100-"]
