"""What a hub or the way to it says no with, as one tree of errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import is_offline_mode
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hubkit.hub.address import DEFAULT, default_endpoint
from registry.errors import (
    HubkitError,
    InvalidNameError,
    RemoteAccessError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnreachableError,
    StorageError,
)


def login_cure(endpoint: str) -> str:
    """Return how to come with a token to a hub, as the beginning of a sentence."""
    return f"Log in with `{_login(endpoint)}`, or set HF_TOKEN"


def require_online(endpoint: str) -> None:
    """Make sure that a hub may be asked.

    Raises:
        RemoteUnreachableError: HF_HUB_OFFLINE is set.
    """
    if is_offline_mode():
        raise RemoteUnreachableError(
            f"HF_HUB_OFFLINE is set, so {endpoint} is not asked. Unset it and run it again.",
            endpoint,
        )


@contextmanager
def remote_errors(endpoint: str, repository: str | None = None) -> Iterator[None]:
    """Turn whatever the stock client raises into an error that says what to do.

    Args:
        endpoint: The hub that is asked.
        repository: ``owner/name``, if one is asked for.

    Raises:
        RemoteNotFoundError: There is no such repository, revision or file, or it is hidden.
        RemoteAccessError: The token is missing, unknown, or has no right to it.
        RemoteUnreachableError: Nobody answers, the connection stops half-way, or the client is
            told to stay offline.
        RemoteError: The hub refuses for another reason.
        StorageError: The client's cache cannot be written.
    """
    try:
        yield
    except HubkitError:
        raise
    except Exception as error:
        translated = _translate(error, endpoint, repository)
        if translated is None:
            raise
        raise translated from error


def _translate(error: Exception, endpoint: str, repository: str | None) -> HubkitError | None:
    what = f"{endpoint}/{repository}" if repository else endpoint
    # The client wraps what stopped a download; the reason says more than the wrapping.
    wrapped = isinstance(error, LocalEntryNotFoundError | IncompleteSnapshotError)
    if (
        wrapped
        and isinstance(error.__cause__, Exception)
        and (found := _translate(error.__cause__, endpoint, repository))
    ):
        return found
    match error:
        case GatedRepoError():
            login = f", then come with your token. {login_cure(endpoint)}"
            return RemoteAccessError(
                f"{what} is gated: its owner decides who may read it. Ask for access on its page"
                f"{'' if _sent_token(error) else login}.",
                what,
            )
        case RevisionNotFoundError():
            return RemoteNotFoundError(
                f"{what} has no such revision: {_said(error)}. Look on its page for those it has.",
                what,
            )
        case RepositoryNotFoundError() if _sent_token(error):
            return RemoteNotFoundError(
                f"There is no repository {what}, or it is private and the token that was sent does "
                "not open it. Check the name, or come with the token of someone who may read it.",
                what,
            )
        case RepositoryNotFoundError():
            return RemoteNotFoundError(
                f"There is no repository {what}, or it is private. Check the name. "
                f"{login_cure(endpoint)} if it is private.",
                what,
            )
        case OfflineModeIsEnabled() | IncompleteSnapshotError() | LocalEntryNotFoundError():
            return RemoteUnreachableError(
                f"{what} cannot be asked, and what is needed of it is not in the cache here. Unset "
                "HF_HUB_OFFLINE, check the connection, and run it again.",
                what,
            )
        case EntryNotFoundError():
            return RemoteNotFoundError(f"{what} lacks a file: {_said(error)}.", what)
        case HFValidationError():
            return InvalidNameError(f"A hub has no repository of that name: {error}", what)
        case HfHubHTTPError():
            return _refusal(error, endpoint, what)
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.UnsupportedProtocol():
            return RemoteUnreachableError(
                f"{endpoint} cannot be reached: {_said(error)}. Check the address and the "
                "connection, and run it again.",
                endpoint,
            )
        case httpx2.HTTPError() | ConnectionError() | TimeoutError() | FileMetadataError():
            return RemoteUnreachableError(
                f"The connection to {endpoint} broke off: {_said(error)}. Check it, and run it "
                "again to go on.",
                endpoint,
            )
        case OSError() if "Consistency check failed" in str(error):
            return RemoteUnreachableError(
                f"{what} sent a file that is not whole: {_said(error)}. Run it again.", what
            )
        case OSError() if error.errno is not None:
            return StorageError(
                f"The client's cache cannot be used: {error}. Free some space, or set HF_HOME to "
                "another folder, and run it again.",
                what,
            )
        case TypeError() if "ModelCardData" in str(error):
            return RemoteError(
                f"{what} has a card with fields that the client cannot read: {_said(error)}. Tell "
                "its owner.",
                what,
            )
        case ValueError() | OSError() | RuntimeError():
            return RemoteError(f"{what}: {_said(error)}.", what)
    return None


def _refusal(error: HfHubHTTPError, endpoint: str, what: str) -> RemoteError:
    status = error.response.status_code if error.response is not None else None
    said = _said(error)
    if status in (401, 403) and not _sent_token(error):
        return RemoteAccessError(f"{what} does not know you: {said}. {login_cure(endpoint)}.", what)
    if status == 401:
        return RemoteAccessError(
            f"{what} does not know the token that was sent: {said}. {_new_token(endpoint)}.", what
        )
    if status == 403:
        request = error.response.request
        writes = request.method in ("POST", "DELETE") or request.url.path.endswith("/write")
        return RemoteAccessError(
            f"{what} refuses: {said}. The token that was sent has no right to "
            f"{'write to' if writes else 'read'} it. {_new_token(endpoint)}, or ask the owner "
            "for the right.",
            what,
        )
    if status == 412:
        return RemoteError(
            f"{what} was changed by someone else in the meantime; nothing was published. Run it "
            "again.",
            what,
        )
    if status is not None and status >= 500:
        return RemoteUnreachableError(
            f"{what} failed with status {status}: {said}. Run it again later.", what
        )
    return RemoteError(f"{what} refuses with status {status}: {said}.", what)


def _sent_token(error: HfHubHTTPError) -> bool:
    return "authorization" in error.response.request.headers


def _new_token(endpoint: str) -> str:
    """How to come with another token, as the beginning of a sentence."""
    page = f"{endpoint}/settings/tokens" if endpoint == DEFAULT else "its page of access tokens"
    # What a login keeps is not looked at while the variable is set.
    keep = "set HF_TOKEN to it" if os.environ.get("HF_TOKEN") else f"`{_login(endpoint)}`"
    return f"Make another on {page} and {keep}"


def _login(endpoint: str) -> str:
    return "hubkit login" if endpoint == default_endpoint() else f"hubkit login --to {endpoint}"


def _said(error: BaseException) -> str:
    """The reason in one line: what the server said, or else the client."""
    server = getattr(error, "server_message", None)
    lines = str(server or error).strip().splitlines()
    text = " ".join((lines[0] if lines else type(error).__name__).split())
    return "".join(c if c.isprintable() else " " for c in text).rstrip(".")
