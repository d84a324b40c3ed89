"""Large files on their way in, by the protocol of Xet, as clients send them that have hf_xet.

The client asks for a pass, sends xorbs, and then a shard, which says what the files are. What it
names in a commit afterwards are ordinary files. Whatever else clients ask for below the same
address is not there, which they take for an answer: 404.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.errors import (
    BusyDatabaseError,
    CorruptBlobError,
    RequestError,
    SignInError,
    TooLargeError,
)
from registry.server.asking import Asking
from registry.server.errors import answer_of
from registry.server.hub import Hub
from registry.server.receiving import Incoming, Taking, Uploads, drain, read_body
from registry.server.signing import PASS_VALID, Pass
from registry.server.xet import shard, xorb
from registry.server.xet.making import make_files
from registry.server.xet.scratch import Shelf, XorbWriter

AT_ONCE = 2.0
"""Seconds that a shard may take for an answer with a status. After them, the client gets lines that
say that the hub is working."""

EVERY = 5.0
"""Seconds between two such lines; clients give up after 300 seconds without one."""

_WORKING = {"type": "committing", "stage": "uploading"}
_LINES = [(b"content-type", b"application/x-ndjson")]


def give_pass(hub: Hub, ask: Asking) -> Response:
    """Return the address for uploads, and the pass."""
    shelf = hub.scratch.id_of(ask.account)
    text = hub.passes.sign(Pass(ask.account, ask.repository.id))
    url, ends = f"{ask.base}/_xet/{shelf}", int(time.time()) + PASS_VALID
    headers = {
        "X-Xet-Cas-Url": url,
        "X-Xet-Access-Token": text,
        "X-Xet-Token-Expiration": str(ends),
        "Cache-Control": "no-store",
    }
    return JSONResponse({"casUrl": url, "accessToken": text, "exp": ends}, headers=headers)


def take_xorb(hub: Hub, ask: Asking) -> ASGIApp:
    """Take a xorb. It is read even if there is one of this name, which it replaces."""
    shelf, _ = _admit(hub, ask)
    announced = ask.headers.get("content-length", "")
    if not (announced.isascii() and announced.isdigit()):
        raise RequestError("A xorb is sent with its length.")
    if len(announced) > 18 or int(announced) > xorb.MOST_BODY:
        raise TooLargeError(f"A xorb has at most {xorb.MOST_BODY} bytes.")
    hub.scratch.require_room(int(announced))

    def answer(size: int) -> Response:
        hub.scratch.count(size)
        return JSONResponse({"was_inserted": True})

    begin = partial(XorbWriter, shelf, ask.params["xorb"])
    return Taking(hub.uploads, int(announced), begin, answer, ask.id)


def take_shard(hub: Hub, ask: Asking) -> ASGIApp:
    """Make the files of a shard; if that takes long, send lines meanwhile."""
    return _shard_app(hub, ask, AT_ONCE)


def take_shard_silently(hub: Hub, ask: Asking) -> ASGIApp:
    """Make the files of a shard, for clients that wait for the answer."""
    return _shard_app(hub, ask, None)


def _shard_app(hub: Hub, ask: Asking, patience: float | None) -> ASGIApp:
    shelf, account_id = _admit(hub, ask)
    length = ask.headers.get("content-length")
    return _Making(hub.uploads, partial(_make, hub, shelf, account_id), patience, length, ask.id)


def _admit(hub: Hub, ask: Asking) -> tuple[Shelf, int]:
    """Return the shelf in the path, and the id of its account.

    Raises:
        SignInError: It has no pass.
        NoSuchPageError: The account of the pass has no such shelf, or not any more.
    """
    scheme, _, text = ask.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise SignInError("This needs the pass that the hub gave to upload with.")
    account_id = hub.passes.read(text.strip()).account_id
    return hub.scratch.find(account_id, ask.params["shelf"]), account_id


def _make(hub: Hub, shelf: Shelf, account_id: int, body: BinaryIO) -> None:
    """Make the files of a shard, which the account then possesses."""
    described = shard.Shard(body)
    try:
        infos = make_files(described, shelf, hub.catalog.blobs)
    except (RequestError, CorruptBlobError):
        # Uploaded bytes may be lost. The client would never send them again under this id.
        hub.scratch.renew(shelf)
        raise
    hub.history.remember_upload(account_id, *infos)


@dataclass(frozen=True, slots=True)
class _Making:
    """Reads a shard, makes its files, and answers with a status if that is quick, else in lines."""

    uploads: Uploads
    make: Callable[[BinaryIO], None]
    patience: float | None
    length: str | None
    request_id: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = Incoming(receive)
        try:
            body = await read_body(incoming, shard.MOST_BODY, self.length)
        except ClientDisconnect:
            raise
        except Exception as error:
            await drain(incoming)
            await answer_of(error, self.request_id)(scope, receive, send)
            return
        with body:
            making = asyncio.ensure_future(self.uploads.make(partial(self.make, body)))
            try:
                await self._answer(making, scope, receive, send)
            finally:
                # The work is finished even if the client left.
                await asyncio.gather(making, return_exceptions=True)

    async def _answer(
        self, making: asyncio.Future[None], scope: Scope, receive: Receive, send: Send
    ) -> None:
        done, _ = await asyncio.wait([making], timeout=self.patience)
        if done:
            await self._response(making)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": _LINES})
        while not done:
            await send({"type": "http.response.body", "body": _line(_WORKING), "more_body": True})
            done, _ = await asyncio.wait([making], timeout=EVERY)
        error = making.exception()
        last = {"type": "result"} if error is None else self._told(error)
        await send({"type": "http.response.body", "body": _line(last)})

    def _response(self, making: asyncio.Future[None]) -> Response:
        error = making.exception()
        if isinstance(error, Exception):
            return answer_of(error, self.request_id)
        if self.patience is None:
            return JSONResponse({"result": 1})
        return Response(_line({"type": "result"}), media_type="application/x-ndjson")

    def _told(self, error: BaseException) -> dict[str, str | bool]:
        if not isinstance(error, Exception):
            raise error
        message = json.loads(bytes(answer_of(error, self.request_id).body))["error"]
        retryable = isinstance(error, BusyDatabaseError)
        return {"type": "error", "message": message, "retryable": retryable}


def _line(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"
