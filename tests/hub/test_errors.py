from __future__ import annotations

import errno

import httpx2
import pytest
from huggingface_hub import errors as stock

from hubkit.hub.errors import remote_errors
from registry.errors import (
    ConflictError,
    HubkitError,
    InvalidNameError,
    RemoteAccessError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnreachableError,
    StorageError,
)

URL = "https://hub.example.org/api/models/ada/film"
REQUEST = httpx2.Request("GET", URL)


def refusal(
    status: int,
    kind: type[stock.HfHubHTTPError] = stock.HfHubHTTPError,
    *,
    method: str = "GET",
    path: str = "",
    token: bool = False,
) -> Exception:
    headers = {"authorization": "Bearer x"} if token else {}
    request = httpx2.Request(method, URL + path, headers=headers)
    response = httpx2.Response(status, request=request)
    return kind("Refused.\nSecond line", response=response, server_message="No way")


def translated(error: Exception) -> HubkitError:
    with (
        pytest.raises(HubkitError) as caught,
        remote_errors("https://hub.example.org", "ada/film"),
    ):
        raise error
    assert caught.value.__cause__ is error or caught.value is error
    return caught.value


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (refusal(401, token=True), "does not know the token that was sent: No way. Make another"),
        (refusal(403, token=True), "The token that was sent has no right to read it. Make"),
        (refusal(403, token=True, method="POST"), "has no right to write to it. Make another on"),
        (refusal(403, token=True, path="/auth-check/write"), "has no right to write to it."),
        (refusal(403, stock.GatedRepoError, token=True), "Ask for access on its page."),
        (refusal(404, stock.RepositoryNotFoundError, token=True), "that was sent does not open it"),
    ],
)
def test_who_came_with_a_token_is_not_told_to_log_in(error: Exception, message: str) -> None:
    found = str(translated(error))
    assert message in found
    assert "Log in" not in found


def test_the_page_that_makes_tokens_and_the_place_for_one_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    error = refusal(403, token=True, method="POST")
    assert "its page of access tokens and `hubkit login --to https://hub.example.org`" in (
        str(translated(error))
    )
    monkeypatch.setenv("HF_TOKEN", "x")
    with pytest.raises(RemoteAccessError) as caught, remote_errors("https://huggingface.co"):
        raise error
    assert "on https://huggingface.co/settings/tokens and set HF_TOKEN to it" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (refusal(401), RemoteAccessError, "does not know you: No way"),
        (refusal(403), RemoteAccessError, "does not know you: No way. Log in with"),
        (refusal(412), RemoteError, "changed by someone else"),
        (refusal(400, stock.BadRequestError), RemoteError, "refuses with status 400: No way"),
        (refusal(500), RemoteUnreachableError, "failed with status 500"),
        (
            refusal(404, stock.RepositoryNotFoundError),
            RemoteNotFoundError,
            "There is no repository",
        ),
        (refusal(404, stock.RevisionNotFoundError), RemoteNotFoundError, "no such revision"),
        (refusal(404, stock.RemoteEntryNotFoundError), RemoteNotFoundError, "lacks a file"),
        (refusal(403, stock.GatedRepoError), RemoteAccessError, "is gated"),
        (stock.OfflineModeIsEnabled("x"), RemoteUnreachableError, "Unset HF_HUB_OFFLINE"),
        (stock.LocalEntryNotFoundError("x"), RemoteUnreachableError, "is not in the cache here"),
        (stock.FileMetadataError("no etag"), RemoteUnreachableError, "broke off: no etag"),
        (stock.HFValidationError("bad"), InvalidNameError, "no repository of that name: bad"),
        (httpx2.ConnectError("refused"), RemoteUnreachableError, "cannot be reached: refused"),
        (httpx2.ReadTimeout("slow"), RemoteUnreachableError, "run it again to go on"),
        (httpx2.RemoteProtocolError("cut"), RemoteUnreachableError, "run it again to go on"),
        (OSError(errno.ENOSPC, "No space left"), StorageError, "set HF_HOME"),
        (OSError("Consistency check failed: 3 of 5"), RemoteUnreachableError, "not whole"),
        (ValueError("invalid metadata\nin README"), RemoteError, "invalid metadata"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_stock_client_raises_becomes_one_of_the_tree(
    error: Exception, expected: type[HubkitError], message: str
) -> None:
    found = translated(error)
    assert type(found) is expected
    assert message in str(found)
    assert "\n" not in str(found)


def test_the_reason_behind_a_broken_download_is_told() -> None:
    error = stock.LocalEntryNotFoundError("cannot find the file")
    error.__cause__ = httpx2.ConnectError("refused by the other side")
    assert "refused by the other side" in str(translated(error))


def test_the_cure_names_the_hub_to_log_in_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`hubkit login --to https://hub.example.org`" in str(translated(refusal(401)))
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org/")
    assert "`hubkit login`" in str(translated(refusal(401)))


def test_errors_of_its_own_and_bugs_pass_unchanged() -> None:
    own = ConflictError("mine")
    assert translated(own) is own
    with pytest.raises(KeyError), remote_errors("https://hub.example.org"):
        raise KeyError("a bug")


def test_control_characters_of_a_server_do_not_reach_the_terminal() -> None:
    response = httpx2.Response(400, request=REQUEST)
    error = stock.HfHubHTTPError("x", response=response, server_message="\x1b[2Jgone")
    assert "\x1b" not in str(translated(error))
