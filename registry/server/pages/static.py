"""The files that all pages use."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.responses import Response

from registry.errors import NoSuchPageError
from registry.server.asking import Asking
from registry.server.hub import Hub

KINDS = {
    "icon.svg": "image/svg+xml",
    "script.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
}
"""The files, with their types."""

_FOLDER = Path(__file__).parents[1] / "static"


@dataclass(frozen=True, slots=True)
class _File:
    """A file with its ETag, which differs between versions of hubkit."""

    content: bytes
    etag: str


def static(hub: Hub, ask: Asking) -> Response:
    """Send a file that all pages use."""
    name = ask.params["file"]
    if name not in KINDS:
        raise NoSuchPageError("This hub has no such page.")
    file = _read(name)
    headers = {"ETag": file.etag, "Cache-Control": "public, max-age=300"}
    if file.etag in ask.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, 200, {**headers, "Content-Type": KINDS[name]})


@cache
def _read(name: str) -> _File:
    content = (_FOLDER / name).read_bytes()
    return _File(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
