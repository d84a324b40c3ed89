"""The files that all pages use."""

from __future__ import annotations

import re

import pytest

from registry.server.pages.static import KINDS
from tests.support.asgi import Ask

pytestmark = pytest.mark.once


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_file_is_sent_once_and_kept(asks: Ask, name: str, kind: str) -> None:
    first = asks("GET", f"/static/{name}")
    assert (first.status, first.headers["content-type"]) == (200, kind)
    assert first.headers["cache-control"] == "public, max-age=300"
    assert first.headers["content-length"] == str(len(first.body))
    assert first.body
    again = asks("GET", f"/static/{name}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "name", ["frame.html", "..%2Ftable.py", "%2E%2E%2Ftable.py", "style.css%00", "STYLE.CSS", ""]
)
def test_nothing_else_is_sent(asks: Ask, name: str) -> None:
    assert asks("GET", f"/static/{name}").status in (400, 404)


def test_the_style_loads_nothing(asks: Ask) -> None:
    style = asks("GET", "/static/style.css").body.decode()
    assert not re.findall(r"url\(|@import|https?:", style)
    assert "prefers-color-scheme: dark" in style
