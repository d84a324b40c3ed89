"""Answers to errors: one table from class to status and code.

Clients repeat a request that was answered with 500, 502, 503, 504, 408 or 429 for half a minute.
These statuses are therefore kept for errors that may pass by themselves.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from registry import errors
from registry.errors import HubkitError

logger = logging.getLogger(__name__)

MOST_HEADER_BYTES = 1024
"""Most bytes of a header's value that quotes text of users."""

STATUSES: Mapping[type[HubkitError], tuple[int, str | None]] = {
    errors.RepositoryNotFoundError: (404, "RepoNotFound"),
    errors.HiddenFromStrangersError: (401, "RepoNotFound"),
    errors.MovedRepositoryError: (307, None),
    errors.RefNotFoundError: (404, "RepoNotFound"),
    errors.RevisionNotFoundError: (404, "RevisionNotFound"),
    errors.EntryNotFoundError: (404, "EntryNotFound"),
    errors.NoSuchPageError: (404, None),
    errors.NotFoundError: (404, None),
    errors.MethodError: (405, None),
    errors.HostError: (421, None),
    errors.TooLargeError: (413, None),
    errors.SignInError: (401, None),
    errors.ForbiddenError: (403, None),
    errors.NotHostedError: (501, "NotHosted"),
    errors.UnsupportedRequestError: (501, "NotSupported"),
    errors.RequestError: (400, None),
    errors.InvalidNameError: (400, None),
    errors.ConflictError: (409, None),
    errors.StaleParentError: (412, None),
    errors.ManifestError: (400, None),
    errors.FolderError: (400, None),
    # The received bytes are not the announced ones; stored bytes were altered.
    errors.CorruptBlobError: (400, None),
    errors.DamagedBlobError: (410, "DamagedFile"),
    errors.StorageError: (507, "Storage"),
    errors.BusyDatabaseError: (503, None),
    errors.UnreachableDatabaseError: (503, None),
}
"""The status of each class, and the code by which clients tell errors apart. A class without a row
has that of its parent; any other error is a mistake of the server: 500."""

_OWN = {
    507: "This hub cannot store or read these bytes: its disk is full, or has an error. Tell who "
    "runs it.",
    503: "The database of this hub is busy. Try again.",
    500: "This hub made a mistake. Tell who runs it, with the id of this request.",
}
"""Messages for errors of the machine, whose paths clients should not learn."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to an error, for pages and for the API.

    Attributes:
        status: The HTTP status.
        message: A sentence or two.
        code: The code by which clients tell errors apart; None if there is none.
        headers: The headers that belong to it.
    """

    status: int
    message: str
    code: str | None
    headers: Mapping[str, str]


def answer_of(error: Exception, request_id: str) -> Response:
    """Return the answer to an error; errors of the hub itself go to its log."""
    failure = tell(error, request_id)
    content = {"error": failure.message}
    return JSONResponse(content, failure.status, dict(failure.headers))


def tell(error: Exception, request_id: str) -> Failure:
    """Return the facts of the answer; errors of the hub itself go to its log."""
    status, code = _status_of(error)
    if status >= 500 and not isinstance(error, errors.RequestError):
        logger.error("request %s", request_id, exc_info=error)
    message = _OWN.get(status) or str(error)
    headers = _headers(message, code)
    if isinstance(error, errors.MethodError):
        headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, errors.MovedRepositoryError):
        headers["Location"] = str(error.found)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "2"
    return Failure(status, message, code, headers)


def refuse(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer that clients show as an error.

    Args:
        status: The HTTP status.
        message: A sentence; the body has all of it, a header a short form in ASCII.
        code: The code by which clients tell errors apart; default: none.
        headers: More headers; default: none.
    """
    return JSONResponse({"error": message}, status, {**(headers or {}), **_headers(message, code)})


def header_text(text: str) -> str:
    """Return `text` as the value of a header: one short line of ASCII.

    For any other value, a server drops the connection.
    """
    flat = " ".join("".join(c if " " <= c <= "~" else _plain(c) for c in text).split())
    return flat[:MOST_HEADER_BYTES].strip() or "-"


def _headers(message: str, code: str | None) -> dict[str, str]:
    named = {"X-Error-Message": header_text(message)}
    return named if code is None else {**named, "X-Error-Code": code}


def _plain(character: str) -> str:
    return " " if character.isspace() or not character.isprintable() else "?"


def _status_of(error: Exception) -> tuple[int, str | None]:
    kinds: tuple[type[Any], ...] = type(error).__mro__
    return next((STATUSES[kind] for kind in kinds if kind in STATUSES), (500, None))
