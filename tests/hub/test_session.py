"""What a hub cannot make a client do, whatever it answers."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import closing
from typing import Any

import pytest
from pydantic import ValidationError

from hubkit.hub import session as module
from hubkit.hub.address import Hub
from hubkit.hub.answers import (
    FOUND,
    LISTING,
    Account,
    AllAccepted,
    Description,
    Refs,
    Transfers,
    parse_answer,
)
from hubkit.hub.session import HubSession
from registry.errors import RemoteAnswerError, RemoteError, RemoteUnreachableError
from tests.support.hostile import Answer, Hostile, drip

FILM = b"bytes of a film" * 100
OK = b"HTTP/1.1 200 OK\r\n"


def ask(session: HubSession) -> str:
    return session.get("/api/whoami-v2", Account, what=session.hub.url).name


def listing(session: HubSession) -> list[str]:
    models = session.get_all("/api/models", FOUND, what=session.hub.url, most=50)
    return [model.id for model in models]


def test_the_hub_itself_sees_the_token(session: HubSession, hostile: Hostile) -> None:
    hostile.answer = lambda request: request.json({"name": "ada"})
    assert ask(session) == "ada"
    assert hostile.asked == [("GET", "/api/whoami-v2", "Bearer secret")]


@pytest.mark.parametrize(
    "target",
    [
        "{other}/x",
        "//localhost:9/x",
        "http://127.0.0.1:9/x",
        "ftp://127.0.0.1/x",
        "{at}/x",
    ],
)
@pytest.mark.parametrize("way", ["redirect", "next page"])
def test_questions_stay_on_the_hub(
    session: HubSession, hostile: Hostile, way: str, target: str
) -> None:
    at = hostile.url.replace("//", "//ada:secret@")
    place = target.format(other=hostile.other, at=at)

    def answer(request: Answer) -> None:
        if way == "redirect":
            request.send(b"", 302, location=place)
        else:
            request.json([], link=f'<{place}>; rel="next"')

    hostile.answer = answer
    with pytest.raises(RemoteAnswerError, match=r"to another host|not followed"):
        listing(session)
    assert hostile.lured == []


def test_redirects_end(session: HubSession, hostile: Hostile) -> None:
    hostile.answer = lambda request: request.send(b"", 302, location=f"{request.path}x")
    with pytest.raises(RemoteAnswerError, match="redirects more than 5 times"):
        ask(session)
    assert len(hostile.asked) == 6


@pytest.mark.parametrize("same", [True, False])
def test_pages_end(
    session: HubSession, hostile: Hostile, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session._patience = 10.0
    monkeypatch.setattr(module, "MOST_PAGES", 10)
    number = itertools.count()

    def answer(request: Answer) -> None:
        following = "/api/models" if same else f"/api/models?page={next(number)}"
        request.json([], link=f'<{hostile.url}{following}>; rel="next"')

    hostile.answer = answer
    with pytest.raises(RemoteAnswerError, match="pages without an end"):
        listing(session)
    assert len(hostile.asked) == (1 if same else 10)


def test_the_environment_names_the_way_to_a_host(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", hostile.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    hostile.answer = lambda request: request.json({"name": "ada"})
    for url in ("http://hub.example.org", hostile.url):
        with closing(HubSession(Hub(url), None)) as session:
            assert session.get("/api/whoami-v2", Account, what=url).name == "ada"
    assert [path for _, path, _ in hostile.asked] == [
        "http://hub.example.org/api/whoami-v2",
        "/api/whoami-v2",
    ]


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (OK, b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"content-length: 9999\r\n\r\n", b" "),
        (OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["headers", "continue", "body", "chunks"],
)
def test_what_drips_is_given_up(
    session: HubSession, hostile: Hostile, begin: bytes, piece: bytes
) -> None:
    hostile.answer = lambda request: drip(request, begin, piece)
    started = time.monotonic()
    with pytest.raises(RemoteUnreachableError, match="stopped answering"):
        ask(session)
    assert time.monotonic() - started < 6


def test_a_file_that_is_only_ever_announced_is_given_up(
    session: HubSession, hostile: Hostile
) -> None:
    flood = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 200
    hostile.answer = lambda request: request.raw(*itertools.repeat(flood, 200_000))
    started = time.monotonic()
    with (
        pytest.raises(RemoteUnreachableError, match="stopped answering"),
        session.reading_file("/ada/films/resolve/main/film", hostile.url, {}),
    ):
        pytest.fail("no answer came")
    assert time.monotonic() - started < 30


def test_an_answer_without_an_end_is_cut(session: HubSession, hostile: Hostile) -> None:
    pieces = itertools.repeat(b"10000\r\n" + b" " * 65536 + b"\r\n", 1000)
    head = OK + b"transfer-encoding: chunked\r\n\r\n"
    hostile.answer = lambda request: request.raw(head, *pieces)
    with pytest.raises(RemoteAnswerError, match="more than 100,000 bytes"):
        session.fetch("/api/whoami-v2", what=hostile.url, most=100_000)


def test_headers_without_an_end_are_cut(session: HubSession, hostile: Hostile) -> None:
    lines = (b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(100_000))
    hostile.answer = lambda request: request.raw(OK, *lines)
    with pytest.raises(RemoteError, match=hostile.url):
        ask(session)


def test_a_packed_answer_is_refused(session: HubSession, hostile: Hostile) -> None:
    hostile.answer = lambda request: request.send(b"x", content_encoding="gzip")
    with pytest.raises(RemoteAnswerError, match="packs its answer"):
        ask(session)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"name": 5}',
        b'{"name": "\\u001b[2J"}',
        b"[" * 100_000,
        b'{"name": ' + b"9" * 10_000 + b"}",
        b"\xff\xfe",
    ],
)
def test_an_answer_of_another_type_is_refused(
    session: HubSession, hostile: Hostile, content: bytes
) -> None:
    hostile.answer = lambda request: request.send(content)
    with pytest.raises(RemoteAnswerError, match="does not answer as a hub") as caught:
        ask(session)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        (LISTING, ()),
        (FOUND, ()),
        (Description, ("siblings",)),
        (Refs, ("branches", "tags")),
        (AllAccepted, ("files",)),
        (Transfers, ("objects",)),
    ],
)
def test_an_answer_is_read_to_its_first_mistake(kind: Any, inside: tuple[str, ...]) -> None:
    # An error for each of the millions that fit into an answer would take all memory.
    wrong = [[]] * 100
    content = {"id": "a/b", "sha": "0" * 40, **dict.fromkeys(inside, wrong)} if inside else wrong
    with pytest.raises(RemoteAnswerError) as caught:
        parse_answer(kind, json.dumps(content).encode(), "the hub")
    assert isinstance(caught.value.__cause__, ValidationError)
    assert caught.value.__cause__.error_count() <= 2


def test_what_a_refusal_says_is_one_printable_line(session: HubSession, hostile: Hostile) -> None:
    hostile.answer = lambda request: request.json({"error": "\x1b[2Jno\x07\nmore" + "x" * 999}, 400)
    with pytest.raises(RemoteError, match=r"status 400 \(\?\[2Jno\?\)") as caught:
        ask(session)
    assert str(caught.value).isprintable()


def test_a_passing_failure_is_asked_again(session: HubSession, hostile: Hostile) -> None:
    answers = iter([503, 429, 200])
    hostile.answer = lambda request: request.json({"name": "ada"}, next(answers))
    assert ask(session) == "ada"


def test_an_upload_goes_where_the_hub_says_without_the_token(
    session: HubSession, hostile: Hostile
) -> None:
    url = session.elsewhere(f"{hostile.other}/put", "it", anywhere=True)
    session.send_bytes("PUT", url, [FILM], len(FILM), "", "it", with_token=False)
    assert hostile.lured == [("PUT", "/put", None)]
    with pytest.raises(RemoteAnswerError, match="leads to another host"):
        session.elsewhere(f"{hostile.other}/verify", "it", anywhere=False)


def test_a_change_is_not_redirected(session: HubSession, hostile: Hostile) -> None:
    hostile.answer = lambda request: request.send(b"", 307, location=f"{hostile.other}/x")
    with pytest.raises(
        RemoteAnswerError, match="redirected the request to an address that refused it"
    ):
        session.send("POST", "/api/repos/create", document={}, what="it")
    assert hostile.lured == []
