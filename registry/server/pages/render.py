"""How a page is made, and the parts that all pages share.

To add one:

1. Write a handler in this folder. It takes ``(hub, ask)``, asks for what may be seen with
   `reader_of`, `find_repository` or `require`, and returns
   ``page(ask, "name.html", answer=42)``. A repository that the path names is in
   ``ask.repository``; the reader may see it. To fail, raise an error of the tree:
   `registry.server.pages.errors` makes a page of it.
2. Write ``templates/name.html``. It starts with ``{% extends "frame.html" %}`` and fills the blocks
   ``title`` and ``main``; ``main`` starts with the page's one ``h1``. ``parts.html`` has macros for
   what occurs often: a line to copy, a table, a list of repositories.
3. Add ``Route("GET", pattern, Need.READ, module.handler, page=True)`` to `PAGES` in
   `registry.server.table`, and a row to docs/protocol.md.

Each template has, beside the values of its handler: ``hub`` (the URL of the hub, for lines to
copy), ``user`` (who is signed in, or None), ``here`` (the path of the request), ``login`` (where to
sign in and come back), the function ``link`` and the filters ``size``, ``when``, ``short`` and
``number``. Whatever a template writes is escaped, and what
would turn it around is shown as a number. A link to a name that people chose is made with
``link``, and the name itself stands in ``<bdi>``.

Nothing of a page may run or be loaded from elsewhere, and no ``style=`` and no script stand in it:
what it looks like is in ``static/style.css``.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from registry.server.asking import Asking

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""The ``Content-Security-Policy`` of a page."""

_NAVIGATION = (
    ("/", "Models"),
    ("/datasets", "Datasets"),
    ("/spaces", "Spaces"),
    ("/bases", "Base models"),
    ("/leaderboards", "Leaderboards"),
)
_SHORT = 12
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def page(
    ask: Asking,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """Return a page.

    Args:
        ask: The request.
        template: The name of a file in ``templates``.
        status: The HTTP status; default: 200.
        headers: More headers; default: none.
        values: The values for the template.
    """
    asked = f"{ask.path}?{ask.query}" if ask.query else ask.path
    text = _TEMPLATES.get_template(template).render(
        hub=ask.base,
        user=None if ask.caller is None else ask.caller.account.name,
        here=ask.path,
        login=link("login", next=asked),
        **values,
    )
    own = {
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        # A browser must not keep the private pages of a reader on its disk.
        "Cache-Control": "private, no-cache" if ask.caller is None else "no-store",
    }
    return HTMLResponse(text, status, {**own, **(headers or {})})


def link(*segments: str, **query: str | None) -> str:
    """Return a path of this hub.

    Args:
        segments: Its segments; each is escaped, even a slash in it.
        query: The parameters; None leaves one out.
    """
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, quote_via=quote)}" if given else path


def path_of_base(name: str) -> str:
    """Return the path of the page of a base model."""
    return link("bases", *name.split("/"))


def size(count: int) -> str:
    """Return a number of bytes for people, such as ``1.5 MB``."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def when(at: datetime) -> Markup:
    """Return a time as an element that shows its day, in UTC."""
    utc = at.astimezone(UTC)
    exact = utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    shown = utc.strftime("%Y-%m-%d %H:%M UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, shown, exact[:10])


def short(digest: str) -> str:
    """Return the first digits of a digest, or of the id of a commit."""
    return digest[:_SHORT]


def number(value: float) -> str:
    """Return a number for people: whole ones in groups, others with four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _visible(value: Any) -> Any:
    """Return a text with the numbers of characters that change the direction of others.

    ``<bdi>`` keeps them from turning what stands beside a name, not the name itself: a file could
    seem to end in another way than it does.
    """
    if type(value) is not str:  # HTML stays
        return value
    return _TURNING.sub(lambda found: f"[U+{ord(found[0]):04X}]", value)


def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals.update(link=link, navigation=_NAVIGATION)
    made.filters.update(size=size, when=when, short=short, number=number)
    return made


_TEMPLATES = _templates()
