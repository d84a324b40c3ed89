"""A hub that does what hubkit's never does: it refuses, breaks off, and says what is not so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from registry.server.errors import refuse
from tests.support.hub import Asked, Hub


class MisbehavingHub(Hub):
    """The hub, with something in front of it that a test tells to misbehave.

    Attributes:
        before: Called with each request before it is answered.
        refusals: Part of a path, and the status, maybe with a code, that requests for it get.
        corrupt: Names of files that are sent with other bytes of the same length.
        cut: Names of files that stop in the middle, and how often still.
        lies: Part of a path, and what makes another answer of that in JSON.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.before: Callable[[Asked], object] = lambda asked: None
        self.refusals: dict[str, int | tuple[int, str]] = {}
        self.corrupt: set[str] = set()
        self.cut: dict[str, int] = {}
        self.lies: dict[str, Callable[[Any], Any]] = {}

    async def answer(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        self.before(asked)
        status = _of_path(self.refusals, asked.path)
        if status is not None:
            number, code = status if isinstance(status, tuple) else (status, None)
            await refuse(number, f"told to answer {number}", code)(scope, receive, send)
            return
        name = asked.path.rpartition("/")[2]
        if self.cut.get(name):
            self.cut[name] -= 1
            send = _changed(send, lambda body: body[: len(body) // 2], breaks=True)
        if name in self.corrupt:
            send = _changed(send, lambda body: bytes(255 - byte for byte in body))
        lie = _of_path(self.lies, asked.path)
        if lie is not None:
            send = _changed(send, lambda body: json.dumps(lie(json.loads(body))).encode())
        await super().answer(asked, scope, receive, send)

    def know_no_versions(self) -> None:
        """Keep files and nothing else, as the hubs of others do: no commit is a version."""
        committer = self.served.committer
        read = committer._read
        committer._read = lambda of, tree, _: read(of, tree, None)  # type: ignore[method-assign]


def about(path: str, lie: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make a lie about a listing of one about a file in it; None leaves the file out."""

    def listed(entries: Any) -> list[Any]:
        told = [lie(one) if one["path"] == path else one for one in entries]
        return [one for one in told if one is not None]

    return listed


def _of_path(told: Mapping[str, Any], path: str) -> Any:
    return next((what for part, what in told.items() if part in path), None)


def _changed(send: Send, change: Callable[[bytes], bytes], *, breaks: bool = False) -> Send:
    """Send another body; one that breaks off is announced as the whole one."""
    start: Message = {}
    body = bytearray()

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body"):
            return
        content = change(bytes(body))
        length = len(body) if breaks else len(content)
        headers = [one for one in start["headers"] if one[0].lower() != b"content-length"]
        start["headers"] = [*headers, (b"content-length", str(length).encode())]
        await send(start)
        await send({"type": "http.response.body", "body": content, "more_body": breaks})
        if breaks:
            raise ConnectionAbortedError("told to stop half-way")

    return collect
