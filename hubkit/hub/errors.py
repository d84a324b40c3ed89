"""Failures of a hub and of the connection to it, as errors of hubkit's one tree: two tables."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
from huggingface_hub import is_offline_mode

from hubkit.hub.address import Hub
from hubkit.hub.answers import said
from registry.errors import (
    HubkitError,
    RemoteAccessError,
    RemoteAnswerError,
    RemoteError,
    RemoteNotFoundError,
    RemoteUnreachableError,
)


def require_online(hub: Hub) -> None:
    """Make sure that a hub may be asked.

    Raises:
        RemoteUnreachableError: HF_HUB_OFFLINE is set.
    """
    if is_offline_mode():
        raise RemoteUnreachableError(
            f"HF_HUB_OFFLINE is set, so {hub.url} is not asked. Unset it and run it again.", hub.url
        )


# --- no answer, or one that cannot be read -------------------------------------------------------

FAILURES: tuple[tuple[type[Exception], type[RemoteError], str], ...] = (
    (
        httpx2.ConnectTimeout,
        RemoteUnreachableError,
        "{what} cannot be reached: {why}. Check the address and the connection, and run it again.",
    ),
    (
        httpx2.ConnectError,
        RemoteUnreachableError,
        "{what} cannot be reached: {why}. Check the address and the connection, and run it again.",
    ),
    (
        httpx2.ProxyError,
        RemoteUnreachableError,
        "The proxy on the way to {what} refuses: {why}. Check HTTPS_PROXY and HTTP_PROXY.",
    ),
    (
        httpx2.UnsupportedProtocol,
        RemoteUnreachableError,
        "{what} cannot be reached: {why}. Expected an address with http:// or https://.",
    ),
    (
        httpx2.TimeoutException,
        RemoteUnreachableError,
        "{what} stopped answering: {why}. Check the connection, and run it again to resume.",
    ),
    (
        httpx2.LocalProtocolError,
        RemoteError,
        "{what} cannot be asked this: {why}.",
    ),
    (
        httpx2.TransportError,
        RemoteUnreachableError,
        "The connection to {what} broke off: {why}. Check it, and run it again to resume.",
    ),
    (
        httpx2.InvalidURL,
        RemoteAnswerError,
        "{what} names a malformed address: {why}. Check that it is a hub.",
    ),
    (
        httpx2.HTTPError,
        RemoteAnswerError,
        "{what} answers what cannot be read: {why}. Check that it is a hub.",
    ),
    (
        httpx2.StreamError,
        RemoteError,
        "The answer of {what} was read twice: {why}.",
    ),
    (
        httpx2.CookieConflict,
        RemoteAnswerError,
        "{what} answers what cannot be read: {why}. Check that it is a hub.",
    ),
)
"""The client's exceptions, and the class and message that each becomes; the most specific first."""


@contextmanager
def remote_errors(what: str) -> Iterator[None]:
    """Turn what the client raises in the block into an error that says what to do.

    Args:
        what: The hub's or the repository's URL.

    Raises:
        RemoteUnreachableError: There is no answer, or the connection breaks off.
        RemoteAnswerError: The answer is not HTTP.
        RemoteError: The request cannot be made.
    """
    try:
        yield
    except HubkitError:
        raise
    except Exception as error:
        for kind, ours, text in FAILURES:
            if isinstance(error, kind):
                why = said(str(error)) or type(error).__name__
                raise ours(text.format(what=what, why=why), what) from error
        raise


# --- an answer that says no ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that reports a failure.

    Attributes:
        hub: Who answered.
        what: The hub's or the repository's URL.
        status: The status of HTTP.
        code: The hub's code for the reason; empty if it has none.
        message: The text of the hub, as one printable line; may be empty.
        token_sent: Whether it was shown a token.
        writes: Whether something was to be changed.
    """

    hub: Hub
    what: str
    status: int
    code: str
    message: str
    token_sent: bool
    writes: bool

    @property
    def why(self) -> str:
        """The status, and what the hub says."""
        return f"status {self.status}{f' ({self.message})' if self.message else ''}"


Maker = tuple[type[RemoteError], str]


def _gated(refused: Refused) -> Maker:
    return RemoteAccessError, (
        "{what} is gated: its owner decides who may read it. Ask for access on its page"
        f"{'' if refused.token_sent else ', then come with your token'}."
    )


def _no_repository(refused: Refused) -> Maker:
    if refused.token_sent:
        return RemoteNotFoundError, (
            "There is no repository {what}, or it is private and the token that was sent does not "
            "open it. Check the name, or come with the token of someone who may read it."
        )
    return RemoteNotFoundError, (
        "There is no repository {what}, or it is private and was asked for without a token. Check "
        "the name."
    )


def _unknown(refused: Refused) -> Maker:
    if refused.token_sent:
        return RemoteAccessError, "{what} does not know the token that was sent: {why}."
    return RemoteAccessError, "{what} does not know you, as no token was sent: {why}."


def _forbidden(refused: Refused) -> Maker:
    if not refused.token_sent:
        return _unknown(refused)
    return RemoteAccessError, (
        "{what} refuses: {why}. The token that was sent has no right to "
        f"{'write to' if refused.writes else 'read'} it. Ask the owner for the right."
    )


REFUSALS: tuple[tuple[str | Container[int], Callable[[Refused], Maker]], ...] = (
    ("GatedRepo", _gated),
    ("RevisionNotFound", lambda _: (RemoteNotFoundError, "{what} has no such revision: {why}.")),
    ("EntryNotFound", lambda _: (RemoteNotFoundError, "{what} lacks a file: {why}.")),
    ("RepoNotFound", _no_repository),
    (
        "NotHosted",
        lambda _: (
            RemoteNotFoundError,
            "There is no repository {what}: this hub has no owner of that name. Check the name.",
        ),
    ),
    ((401,), _unknown),
    ((403,), _forbidden),
    (
        (404,),
        lambda _: (RemoteNotFoundError, "{what} does not have what was asked for: {why}."),
    ),
    (
        (412,),
        lambda _: (
            RemoteError,
            "{what} was changed by someone else in the meantime; nothing was published. Run it "
            "again.",
        ),
    ),
    ((501,), lambda _: (RemoteError, "{what} does not do this: {why}.")),
    (
        range(500, 600),
        lambda _: (RemoteUnreachableError, "{what} failed with {why}. Run it again later."),
    ),
    (
        range(300, 400),
        lambda _: (
            RemoteAnswerError,
            "{what} redirected the request to an address that refused it: {why}.",
        ),
    ),
    (range(1000), lambda _: (RemoteError, "{what} refuses with {why}.")),
)
"""By the code that a hub gives its reason, else by status: what becomes of it, the first that fits.

Each message may name ``{what}`` and ``{why}``.
"""


def refusal(refused: Refused) -> RemoteError:
    """Return the error that an answer amounts to."""
    make = next(
        make
        for key, make in REFUSALS
        if (refused.code == key if isinstance(key, str) else refused.status in key)
    )
    kind, text = make(refused)
    return kind(
        text.format(what=refused.what, why=refused.why),
        refused.what,
        hub=refused.hub.url,
        token_sent=refused.token_sent,
        status=refused.status,
    )
