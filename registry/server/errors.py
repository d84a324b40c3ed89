"""How each error is told to a client: one table from class to status and code.

Clients repeat a request that was answered with 500, 502, 503, 504, 408 or 429 for half a minute.
So none of these stands for what will not change by itself.
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
"""Bytes of the value of a header that quotes what people wrote."""

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
    # The bytes that came are not those announced; those that are stored are not those kept.
    errors.CorruptBlobError: (400, None),
    errors.DamagedBlobError: (410, "DamagedFile"),
    errors.StorageError: (507, "Storage"),
    errors.BusyDatabaseError: (503, None),
    errors.UnreachableDatabaseError: (503, None),
}
"""The status of each class, and the code that clients tell errors apart by; a class without a row
has that of its parent, and whatever has none is a mistake of the server: 500."""

_OWN = {
    507: "This hub cannot store or read what that takes: its disk is full or refuses. Tell who "
    "runs it.",
    503: "The database of this hub is busy. Try again.",
    500: "This hub made a mistake. Tell who runs it, with the id of this request.",
}
"""What is told where the error is about the machine, whose paths are nobody's business."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a client is told of an error, in whatever form.

    Attributes:
        status: The HTTP status.
        message: A sentence or two.
        code: What clients tell errors apart by; None for nothing.
        headers: The headers that belong to it.
    """

    status: int
    message: str
    code: str | None
    headers: Mapping[str, str]


def answer_of(error: Exception, request_id: str) -> Response:
    """Return what a client is told of an error; what is the hub's own fault goes to its log."""
    told = tell(error, request_id)
    return JSONResponse({"error": told.message}, told.status, dict(told.headers))


def tell(error: Exception, request_id: str) -> Told:
    """Return what is told of an error; what is the hub's own fault goes to its log."""
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
    return Told(status, message, code, headers)


def refuse(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer that clients show as an error.

    Args:
        status: The HTTP status.
        message: A sentence; in the body whole, in a header cut and in ASCII.
        code: What clients tell errors apart by; default: nothing.
        headers: More headers; default: none.
    """
    return JSONResponse({"error": message}, status, {**(headers or {}), **_headers(message, code)})


def header_text(text: str) -> str:
    """Return `text` as the value of a header takes it: one line of ASCII, not long.

    A server drops the connection on anything else.
    """
    flat = " ".join("".join(c if " " <= c <= "~" else _plain(c) for c in text).split())
    return flat[:MOST_HEADER_BYTES].strip() or "-"


def _headers(message: str, code: str | None) -> dict[str, str]:
    told = {"X-Error-Message": header_text(message)}
    return told if code is None else {**told, "X-Error-Code": code}


def _plain(character: str) -> str:
    return " " if character.isspace() or not character.isprintable() else "?"


def _status_of(error: Exception) -> tuple[int, str | None]:
    kinds: tuple[type[Any], ...] = type(error).__mro__
    return next((STATUSES[kind] for kind in kinds if kind in STATUSES), (500, None))
