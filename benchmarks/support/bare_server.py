"""What `benchmarks/server.py` compares with: FileResponse, and a handler that only answers."""

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))
_NOTHING = Response()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    request = Request(scope)
    answer: ASGIApp = _NOTHING
    if request.url.path == "/small.bin":
        answer = FileResponse(_FOLDER / "small.bin")
    await answer(scope, receive, send)
