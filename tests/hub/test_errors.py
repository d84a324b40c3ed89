from __future__ import annotations

import httpx2
import pytest

from hubkit.hub.address import Hub
from hubkit.hub.errors import FAILURES, REFUSALS, Refused, refusal, remote_errors
from registry.errors import (
    ConflictError,
    HubkitError,
    RemoteAccessError,
    RemoteAnswerError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnreachableError,
)

HUB = "https://hub.example.org"
CLIENT = [
    kind
    for name in httpx2._exceptions.__all__
    if isinstance(kind := getattr(httpx2, name), type) and issubclass(kind, Exception)
]


def made(kind: type[Exception], text: str) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


@pytest.mark.parametrize("kind", CLIENT, ids=lambda kind: kind.__name__)
def test_nothing_that_the_client_raises_is_unmapped(kind: type[Exception]) -> None:
    with pytest.raises(RemoteError, match=HUB) as caught, remote_errors(HUB):
        raise made(kind, "why")
    assert caught.value.__cause__ is not None


def test_the_most_specific_come_first() -> None:
    kinds = [kind for kind, _, _ in FAILURES]
    for number, kind in enumerate(kinds):
        assert not any(issubclass(kind, earlier) for earlier in kinds[:number]), kind


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (httpx2.ConnectError("refused"), RemoteUnreachableError, "cannot be reached: refused"),
        (httpx2.ConnectTimeout("late"), RemoteUnreachableError, "cannot be reached: late"),
        (httpx2.ReadTimeout("slow"), RemoteUnreachableError, "stopped answering: slow"),
        (httpx2.RemoteProtocolError("cut\nx"), RemoteUnreachableError, "broke off: cut. Check it"),
        (httpx2.ProxyError("no"), RemoteUnreachableError, "proxy on the way to"),
        (httpx2.InvalidURL("\x1b[2J"), RemoteAnswerError, r"names a malformed address: \?\[2J"),
    ],
)
def test_what_stops_a_request_is_told(
    error: Exception, expected: type[HubkitError], message: str
) -> None:
    with pytest.raises(expected, match=message) as caught, remote_errors(HUB):
        raise error
    assert "\n" not in str(caught.value)


def test_errors_of_hubkit_and_bugs_go_through() -> None:
    for error in (ConflictError("mine"), KeyError("a bug")):
        with pytest.raises(type(error), match=str(error)), remote_errors(HUB):
            raise error


def refused(status: int, code: str = "", *, token: bool = False, writes: bool = False) -> Refused:
    what = f"{HUB}/ada/film"
    return Refused(Hub(HUB), what, status, code, "No way", token_sent=token, writes=writes)


@pytest.mark.parametrize(
    ("answer", "expected", "message"),
    [
        (refused(401), RemoteAccessError, "does not know you, as no token was sent: status 401"),
        (refused(401, token=True), RemoteAccessError, "does not know the token that was sent"),
        (refused(403), RemoteAccessError, "does not know you"),
        (refused(403, token=True), RemoteAccessError, "has no right to read it"),
        (refused(403, token=True, writes=True), RemoteAccessError, "has no right to write to it"),
        (refused(401, "GatedRepo"), RemoteAccessError, "is gated.*then come with your token"),
        (refused(403, "GatedRepo", token=True), RemoteAccessError, "Ask for access on its page.$"),
        (refused(401, "RepoNotFound"), RemoteNotFoundError, "asked for without a token"),
        (refused(404, "RepoNotFound", token=True), RemoteNotFoundError, "does not open it"),
        (refused(404, "RevisionNotFound"), RemoteNotFoundError, "no such revision"),
        (refused(404, "EntryNotFound"), RemoteNotFoundError, "lacks a file"),
        (refused(404), RemoteNotFoundError, "does not have what was asked for"),
        (refused(412), RemoteError, "changed by someone else"),
        (refused(302), RemoteAnswerError, "redirected the request to an address that refused it"),
        (refused(400), RemoteError, r"refuses with status 400 \(No way\)"),
        (refused(501, "NotHosted"), RemoteNotFoundError, "this hub has no owner of that name"),
        (refused(501, "NotSupported"), RemoteError, r"does not do this: status 501 \(No way\)"),
        (refused(507), RemoteUnreachableError, r"failed with status 507 \(No way\)"),
    ],
)
def test_each_refusal_has_its_error(
    answer: Refused, expected: type[RemoteError], message: str
) -> None:
    error = refusal(answer)
    assert type(error) is expected
    with pytest.raises(expected, match=message):
        raise error
    assert (error.hub, error.status) == (HUB, answer.status)
    assert error.token_sent is answer.token_sent


def test_every_status_has_a_row() -> None:
    assert REFUSALS[-1][0] == range(1000)
