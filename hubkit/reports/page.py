"""Pages from templates: self-contained, without scripts, and safe whatever stands in them."""

from __future__ import annotations

import html
import re
from base64 import b64encode
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """The text of a template of this package; in HTML, values are escaped."""
    return _templates().get_template(template).render(values)


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("hubkit.reports"),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"picture": _picture, "cell": _cell}
    return found


def _picture(png: bytes) -> str:
    """A PNG file as an address that holds it."""
    return f"data:image/png;base64,{b64encode(png).decode()}"


_SPECIAL = re.compile(r"([\\`*\[\]|~])")


def _cell(text: str) -> str:
    """A text as it is, on one line of Markdown or in a cell of its tables."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))
