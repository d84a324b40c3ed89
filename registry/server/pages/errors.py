"""An error as a page: the status and the words of the API, for people."""

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response

from registry.errors import HiddenFromStrangersError, NotHostedError, SignInError
from registry.server.asking import Asking
from registry.server.errors import tell
from registry.server.pages.render import page

CHALLENGE = 'Basic realm="hubkit", charset="UTF-8"'
"""The header that makes a browser ask for a name and a password."""

_TITLES = {
    307: "It has another name",
    400: "This address is malformed",
    401: "Sign in",
    403: "You may not do this",
    404: "There is nothing here",
    405: "This page cannot take that",
    410: "This file is damaged",
    413: "That is too large",
    421: "This is not the address of the hub",
    501: "This hub does not do that",
    503: "The hub is busy",
    507: "The disk of the hub is full",
}
_OTHER = "Something went wrong"


def names_html(headers: Headers) -> bool:
    """Whether a browser sent the request: it accepts HTML."""
    return "text/html" in headers.get("accept", "").lower()


def page_of(ask: Asking, error: Exception) -> Response:
    """Return the page of an error, or a redirection to the right page.

    A browser asks for a name and a password only where nothing is shown without one. What a
    visitor may not see is answered as what is not there.

    Args:
        ask: The request that failed.
        error: Why.
    """
    failure = tell(error, ask.id)
    is_absent = isinstance(error, HiddenFromStrangersError | NotHostedError)
    status = 404 if is_absent else failure.status
    meant = ask.path.rstrip("/")
    # Browsers take two slashes, or a slash and a backslash, for the start of another host.
    if status == 404 and meant not in ("", ask.path) and meant[1] not in "/\\":
        return RedirectResponse(f"{meant}?{ask.query}" if ask.query else meant, 308)
    headers = {**failure.headers}
    headers.pop("WWW-Authenticate", None)
    if isinstance(error, SignInError):
        headers["WWW-Authenticate"] = CHALLENGE
    return page(
        ask,
        "error.html",
        status=status,
        headers=headers,
        title=_TITLES.get(status, _OTHER),
        status_shown=status,
        message=failure.message,
        request_id=ask.id if status >= 500 else None,
    )
