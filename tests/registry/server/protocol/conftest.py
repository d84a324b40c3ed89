"""Repositories that clients make."""

from __future__ import annotations

from typing import Any

from tests.support.asgi import Answer, Ask


def create(asks: Ask, name: str, *, by: str | None, **more: Any) -> Answer:
    owner, _, rest = name.rpartition("/")
    body = {"name": rest, "organization": owner or None, **more}
    return asks("POST", "/api/repos/create", by=by, body=body)
