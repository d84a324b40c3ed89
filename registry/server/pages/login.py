"""Sign in with a browser: it asks for a token once, and then sends it with each request.

Pages only read, and a token that comes this way is good for nothing else, so no other page can make
a browser change anything.
"""

from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from registry.server.asking import Asking
from registry.server.hub import Hub

_AS_THEY_ARE = "/%?=&:@!$'()*+,;~-._"


def login(hub: Hub, ask: Asking) -> Response:
    """Ask for a token as the password of any name, then lead back to the page before."""
    return RedirectResponse(_safe(ask.value("next")), 303, {"Cache-Control": "no-store"})


def _safe(target: str | None) -> str:
    r"""Return the page to go to: a path of this hub, else the front page.

    Browsers take ``//`` and ``/\`` for the start of another host.
    """
    if target is None or not target.startswith("/") or target[1:2] in ("/", "\\"):
        return "/"
    return quote(target, safe=_AS_THEY_ARE)
