"""Bytes on their way in: bodies that are read as a value, and files that go to the blobs.

No thread waits for a client: what it has sent so far is written in a thread whenever it is enough.
"""

import asyncio
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.errors import CorruptBlobError, RequestError, TooLargeError
from registry.server.errors import answer_of
from registry.server.signing import VALID, Upload
from registry.storage.durable import (
    flush,
    make_folders,
    scratch_file,
    settle,
    storage_errors,
)
from registry.storage.files import CHUNK, FileInfo
from registry.storage.receiver import Receiver as BlobReceiver
from registry.store import Store

PIECE = 256 * 1024
"""Bytes of an upload that are held until they are written; as many again are being written."""

IN_MEMORY = 1024 * 1024
"""Bytes of a body that are held in memory; the rest goes to a file."""

WRITERS = 16
"""Threads that write for uploads."""

MAKERS = 4
"""Threads that make files of what came in pieces by Xet."""

PATIENCE = 300.0
"""Seconds that a client may send nothing for."""

PARTS_NAME = "uploads"
"""The folder for parts of files that come in several requests, in a registry's."""

_DRAINED = 8 * 1024 * 1024
_DRAINING = 10.0


Told = TypeVar("Told")
Made = TypeVar("Made", covariant=True)


class Receiver(Protocol[Made]):
    """What bytes are pushed to; see `registry.storage.receiver.Receiver`."""

    def write(self, piece: bytes) -> None:
        """Take some bytes."""

    def finish(self) -> Made:
        """Keep them; return what they are."""

    def give_up(self) -> None:
        """Keep none of them."""


class Incoming:
    """What a client sends, and whether it has come to its end.

    Args:
        receive: Gives it.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.has_ended = False

    async def __call__(self) -> Message:
        """Return what the client sends next."""
        message = await self._receive()
        self.has_ended = not message.get("more_body", False)
        return message


async def read_body(receive: Receive, most: int, announced: str | None) -> BinaryIO:
    """Return the body of a request, as a file at its start.

    Args:
        receive: Gives what the client sends.
        most: Bytes that it may have.
        announced: Its header ``Content-Length``; None if it has none.

    Raises:
        TooLargeError: It is larger.
        ClientDisconnect: It did not come to its end.
        StorageError: There is no room for it.
    """
    too_large = TooLargeError(f"The body is larger than {most} bytes.")
    if announced is not None and not (announced.isdecimal() and int(announced[:18]) <= most):
        raise too_large
    spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=IN_MEMORY))  # noqa: SIM115
    size = 0
    try:
        async for piece in pieces_of(receive, PIECE):
            size += len(piece)
            if size > most:
                raise too_large
            with storage_errors("write", "the body of a request"):
                if size <= IN_MEMORY:
                    spool.write(piece)
                else:
                    await to_thread.run_sync(spool.write, piece)
        with storage_errors("write", "the body of a request"):
            spool.seek(0)  # which writes what is held
    except BaseException:
        with suppress(OSError):
            spool.close()
        raise
    return spool


async def pieces_of(receive: Receive, size: int) -> AsyncIterator[bytes]:
    """Yield a body in pieces of `size` bytes or somewhat more, the last one shorter.

    Raises:
        ClientDisconnect: It did not come to its end, or not for long.
    """
    held = bytearray()  # in one piece, however small the client's are
    more = True
    while more:
        try:
            message = await asyncio.wait_for(receive(), PATIENCE)
        except TimeoutError as error:
            raise ClientDisconnect from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body = message.get("body", b"")
        more = message.get("more_body", False)
        if not held and len(body) >= size:  # as the server mostly has them: no byte is copied
            yield body
            continue
        held += body
        if len(held) >= size:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


async def drain(incoming: Incoming) -> None:
    """Read what the client still sends, if it is not much: it may look for no answer before."""
    size = 0
    if incoming.has_ended:
        return
    with suppress(ClientDisconnect, TimeoutError):
        async with asyncio.timeout(_DRAINING):
            async for piece in pieces_of(incoming, PIECE):
                size += len(piece)
                if size > _DRAINED:
                    return


class Uploads:
    """Takes files in.

    Args:
        store: The registry that they go to.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._parts = store.home / PARTS_NAME
        self._writers = CapacityLimiter(WRITERS)
        self._makers = CapacityLimiter(MAKERS)

    def file(self, upload: Upload, then: Callable[[FileInfo], None], request_id: str) -> ASGIApp:
        """Return what takes a whole file, and calls `then` when it is kept, and answers."""
        label = f"an upload of {upload.sha256[:12]}"
        begin = partial(self.store.blobs.receive, upload.info, label)

        def answer(info: FileInfo) -> Response:
            then(info)
            return Response(status_code=200)

        return Taking(self, upload.length, begin, answer, request_id)

    def part(self, upload: Upload, request_id: str) -> ASGIApp:
        """Return what takes a part of a file, and answers with the tag that names it."""

        place = self._folder(upload) / str(upload.part)

        def begin() -> Receiver[FileInfo]:
            with storage_errors("write", place):
                make_folders(place.parent)
            scratch = scratch_file(place.parent)
            return BlobReceiver(scratch, put, None, "a part of an upload", place.parent)

        def put(info: FileInfo, file: BinaryIO) -> None:
            flush(file)
            settle(file, place)

        def answer(info: FileInfo) -> Response:
            return Response(status_code=200, headers={"ETag": f'"{info.sha256}"'})

        return Taking(self, upload.length, begin, answer, request_id)

    def complete(self, upload: Upload) -> FileInfo:
        """Make a file of its parts. If that fails, they are gone: the client sends them again.

        Raises:
            RequestError: One has not come.
            CorruptBlobError: Together they are not the file that was announced.
        """
        folder = self._folder(upload)
        paths = [folder / str(number) for number in range(1, upload.parts + 1)]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise RequestError(f"Part {missing[0]} of {upload.parts} has not come.")
        receiver = self.store.blobs.receive(upload.info, f"an upload of {upload.sha256[:12]}")
        try:
            for path in paths:
                with storage_errors("read", path), path.open("rb") as file:
                    while piece := file.read(CHUNK):
                        receiver.write(piece)
            info = receiver.finish()
        except BaseException:
            receiver.give_up()
            self.remove_parts(upload)
            raise
        return info

    def remove_parts(self, upload: Upload) -> None:
        """Remove the parts of a file, if there are any."""
        shutil.rmtree(self._folder(upload), ignore_errors=True)

    def sweep(self) -> None:
        """Remove the parts of files that can no longer be completed."""
        with suppress(OSError):
            for folder in self._parts.iterdir():
                if time.time() - folder.stat().st_mtime > 2 * VALID:
                    shutil.rmtree(folder, ignore_errors=True)

    async def write(self, call: Callable[..., Any], *args: Any) -> Any:
        """Do something in one of the threads for uploads."""
        return await to_thread.run_sync(call, *args, limiter=self._writers)

    async def make(self, call: Callable[[], None]) -> None:
        """Do something that takes long in one of the threads for that."""
        await to_thread.run_sync(call, limiter=self._makers)

    def _folder(self, upload: Upload) -> Path:
        whose = f"{upload.account_id} {upload.repository_id} {upload.sha256} {upload.size}"
        return self._parts / hashlib.sha256(f"{whose} {upload.part_size}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Taking(Generic[Told]):
    """Takes the body of a request in, of a length that is known, and answers.

    Attributes:
        uploads: Has the threads for it.
        length: Bytes of the body.
        begin: Makes what they are pushed to.
        answer: Says what the client is told, of what came out.
        request_id: What the request is called in the hub's log.
    """

    uploads: Uploads
    length: int
    begin: Callable[[], Receiver[Told]]
    answer: Callable[[Told], Response]
    request_id: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        incoming = Incoming(receive)
        try:
            response = await self._take(incoming)
        except ClientDisconnect:
            raise
        except Exception as error:
            await drain(incoming)
            response = answer_of(error, self.request_id)
        await response(scope, receive, send)

    async def _take(self, receive: Receive) -> Response:
        write = self.uploads.write
        receiver: Receiver[Told] = await write(self.begin)
        writing: asyncio.Task[Any] | None = None
        size = 0
        try:
            async for piece in pieces_of(receive, PIECE):
                size += len(piece)
                if size > self.length:
                    raise CorruptBlobError(f"More than the {self.length} bytes announced came.")
                if writing is not None:
                    await writing
                writing = asyncio.create_task(write(receiver.write, piece))
            if writing is not None:
                await writing
            if size != self.length:
                raise CorruptBlobError(f"Of {self.length} bytes, {size} came.")
            info = await write(receiver.finish)
        except BaseException:
            if writing is not None:
                await asyncio.gather(writing, return_exceptions=True)
            await asyncio.shield(write(receiver.give_up))
            raise
        response: Response = await write(self.answer, info)
        return response
