"""Bytes on their way out: whole files and ranges, none of which is sent unless it is intact.

The first time after a start that a file is sent whole, it is hashed on the way, and its last piece
is kept back until the digest is right. From then on it goes out as fast as the system can, for as
long as its file on the disk is the same.
"""

import asyncio
import hashlib
import os
import re
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from anyio import CapacityLimiter, to_thread
from cachetools import LRUCache
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.catalog.heal import heal_blob
from registry.errors import DamagedBlobError
from registry.server.errors import refuse
from registry.storage.blobs import BlobStore, verify_blob
from registry.storage.files import FileInfo
from registry.storage.folder_blobs import FolderBlobStore
from registry.store import Store

PIECE = 512 * 1024
"""Bytes read, hashed and sent at a time."""

AHEAD = 8
"""Pieces of all files that wait to be sent while more is verified; of each file, one may wait."""

AT_ONCE = 256 * 1024
"""Bytes up to which a file is read and verified before the first of them is sent."""

KEPT = 16 * 1024 * 1024
"""Bytes of such files that a process keeps in memory: those that were fetched last."""

READERS = 16
"""Threads that read for downloads; a slow client holds none of them while it is sent to."""

_MOST_VERIFIED = 100_000
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

State = tuple[int, int, int] | None
Raw = Sequence[tuple[bytes, bytes]]


class Intact:
    """Which blobs this process has found intact: small ones as they are, and of others the state
    of the file then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: LRUCache[str, State] = LRUCache(_MOST_VERIFIED)
        self._contents: LRUCache[str, bytes] = LRUCache(KEPT, getsizeof=len)
        self._working: dict[str, threading.Lock] = {}

    def holds(self, digest: str, state: State) -> bool:
        """Whether a blob was found intact, and its file has not changed since."""
        with self._lock:
            return digest in self._states and self._states[digest] == state

    def note(self, digest: str, state: State) -> None:
        """Note that a blob is intact."""
        with self._lock:
            self._states[digest] = state

    def content(self, digest: str) -> bytes | None:
        """Return the bytes of a small blob, if they are kept."""
        with self._lock:
            return self._contents.get(digest)

    def keep(self, digest: str, content: bytes) -> None:
        """Keep the bytes of a small blob, which are right."""
        with self._lock:
            self._contents[digest] = content

    def once(self, digest: str, state: State, verify: Callable[[], None]) -> None:
        """Call `verify` unless a blob is known to be intact; who comes meanwhile waits for it."""
        with self._lock:
            working = self._working.setdefault(digest, threading.Lock())
        try:
            with working:
                if not self.holds(digest, state):
                    verify()
                    self.note(digest, state)
        finally:
            with self._lock:
                self._working.pop(digest, None)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file: from `start` up to, not including, `end`."""

    start: int
    end: int


def parse_range(text: str | None, size: int) -> Span | None:
    """Return which bytes of a file a header ``Range`` asks for; None for all of them.

    What is no single range of bytes asks for all, as the HTTP specification allows (RFC 9110,
    section 14.2).

    Raises:
        ValueError: It asks for nothing that the file has.
    """
    found = None if text is None else _RANGE.fullmatch(text.strip())
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        span = Span(max(size - int(found[2]), 0), size)
    else:
        span = Span(int(found[1]), min(int(found[2]) + 1, size) if found[2] else size)
        if found[2] and int(found[2]) < int(found[1]):
            return None
    if span.start >= span.end:
        raise ValueError(f"bytes */{size}")
    return span


class Downloads:
    """Sends the blobs of a registry.

    Args:
        store: The registry.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._intact = Intact()
        self._readers = CapacityLimiter(READERS)
        self._ahead = 0

    def answer_at_once(self, info: FileInfo, headers: Raw) -> ASGIApp | None:
        """Return what sends a whole file that is known to be intact; None for any other.

        Costs one look at a large file's entry in its folder.

        Args:
            info: The file.
            headers: What describes it, with its length.
        """
        if info.size <= AT_ONCE:
            content = self._intact.content(info.sha256)
            return None if content is None else _Held(content, headers)
        blobs = self.store.blobs
        if not _is_folder(blobs):
            return None
        path = blobs.path(info.sha256)
        try:
            state = _state_of(os.stat(path))
        except OSError:
            return None
        if not self._intact.holds(info.sha256, state):
            return None
        return _Sending(self, None, Span(0, info.size), 200, headers, path)

    def answer(
        self, info: FileInfo, headers: Mapping[str, str], *, asked: str | None, label: str
    ) -> ASGIApp:
        """Return what sends a file, or the range of it that is asked for; call it in a thread.

        Args:
            info: The file.
            headers: What describes it.
            asked: The header ``Range`` of the request; None if it has none.
            label: What it is, for messages.

        Raises:
            DamagedBlobError: Its bytes are lost or altered, and cannot be fetched again.
            StorageError: They cannot be read.
        """
        described = {**headers, "Content-Length": str(info.size)}
        try:
            span = parse_range(asked, info.size)
        except ValueError as error:
            told = {"Content-Range": str(error), "Accept-Ranges": "bytes"}
            return refuse(416, f"The file has {info.size} bytes.", None, told)
        if span is not None:
            described["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{info.size}"
            described["Content-Length"] = str(span.end - span.start)
        status = 200 if span is None else 206
        blobs = self.store.blobs
        if info.size <= AT_ONCE:
            content = self._healing(info, label, partial(_read, blobs, info, label))
            self._intact.keep(info.sha256, content)
            part = content if span is None else content[span.start : span.end]
            return Response(part, status, described)
        stream, state = self._open(info, label)
        try:
            if not self._intact.holds(info.sha256, state):
                if span is None:
                    return _Verifying(self, stream, state, info, raw(described), label)
                # Of a part alone nobody could tell whether it is right.
                self._verify(info, state, label)
                stream.close()
                stream, state = self._open(info, label)  # which may have been fetched again
        except BaseException:
            stream.close()
            raise
        path = blobs.path(info.sha256) if span is None and _is_folder(blobs) else None
        whole = Span(0, info.size)
        return _Sending(self, stream, span or whole, status, raw(described), path)

    async def read(self, call: Callable[..., Any], *args: Any) -> Any:
        """Do something in one of the threads for downloads."""
        return await to_thread.run_sync(call, *args, limiter=self._readers)

    async def ahead(self, read: Callable[[], bytes]) -> AsyncGenerator[bytes, None]:
        """Yield what is read until there is no more, which an empty piece tells.

        A thread reads for as long as there is room for what waits to be taken, and again when half
        of the room is free. So it does not stop for each piece, and waits for no client.
        """
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        waiting: deque[bytes | Exception] = deque()

        def put(piece: bytes | Exception) -> None:
            waiting.append(piece)
            loop.call_soon_threadsafe(arrived.set)

        def fill() -> None:
            try:
                while len(waiting) < max(AHEAD // self._ahead, 1):
                    piece = read()
                    put(piece)
                    if not piece:
                        return
            except Exception as error:
                put(error)

        filling: asyncio.Task[None] | None = None
        self._ahead += 1
        try:
            while True:
                is_resting = filling is None or filling.done()
                if is_resting and len(waiting) <= AHEAD // self._ahead // 2:
                    filling = asyncio.create_task(self.read(fill))
                    filling.add_done_callback(lambda _: arrived.set())
                if not waiting:
                    await arrived.wait()
                    arrived.clear()
                    continue
                piece = waiting.popleft()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            if filling is not None:  # the thread may be reading still, of what is closed next
                await asyncio.gather(filling, return_exceptions=True)
            self._ahead -= 1

    def note(self, info: FileInfo, state: State) -> None:
        """Note that a blob is intact."""
        self._intact.note(info.sha256, state)

    def heal(self, info: FileInfo, label: str) -> None:
        """Set a damaged blob aside, and fetch it again if it came from elsewhere."""
        heal_blob(self.store, info.sha256, info.size, label)

    def _verify(self, info: FileInfo, state: State, label: str) -> None:
        verify = partial(verify_blob, self.store.blobs, info, label=label)
        self._intact.once(info.sha256, state, partial(self._healing, info, label, verify))

    def _open(self, info: FileInfo, label: str) -> tuple[BinaryIO, State]:
        stream: BinaryIO = self._healing(info, label, partial(_open, self.store.blobs, info, label))
        return stream, _state(stream)

    def _healing(self, info: FileInfo, label: str, read: Callable[[], Any]) -> Any:
        """Return what `read` returns; if the bytes are damaged, mend them and read again."""
        try:
            return read()
        except DamagedBlobError:
            self.heal(info, label)
            return read()


def _read(blobs: BlobStore, info: FileInfo, label: str) -> bytes:
    with blobs.open(info.sha256, label=label) as stream:
        content = stream.read(info.size + 1)
    if len(content) != info.size or hashlib.sha256(content).hexdigest() != info.sha256:
        raise DamagedBlobError(f"{label}: its bytes were altered where they are stored.", label)
    return content


def _open(blobs: BlobStore, info: FileInfo, label: str) -> BinaryIO:
    stream = blobs.open(info.sha256, label=label)
    state = _state(stream)
    if state is not None and state[2] != info.size:
        stream.close()
        raise DamagedBlobError(f"{label}: its bytes were altered where they are stored.", label)
    return stream


def _state(stream: BinaryIO) -> State:
    """Return what tells a file on the disk from another; None for object storage."""
    try:
        return _state_of(os.fstat(stream.fileno()))
    except OSError:
        return None


def _state_of(found: os.stat_result) -> State:
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_folder(blobs: BlobStore) -> TypeGuard[FolderBlobStore]:
    return isinstance(blobs, FolderBlobStore)


@dataclass(frozen=True, slots=True)
class _Held:
    """Sends bytes that are in memory."""

    content: bytes
    headers: Raw

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(_start(200, self.headers))
        await send({"type": "http.response.body", "body": self.content})


@dataclass(frozen=True, slots=True)
class _Sending:
    """Sends bytes that are known to be right; those of `path` all at once, if it is given.

    The stream may be opened when it is needed, of a path.
    """

    downloads: Downloads
    stream: BinaryIO | None
    span: Span
    status: int
    headers: Raw
    path: Path | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(_start(self.status, self.headers))
            if self.path is not None and "http.response.pathsend" in scope.get("extensions", {}):
                await send({"type": "http.response.pathsend", "path": str(self.path)})
            else:
                stream = self.stream or await self.downloads.read(open, self.path, "rb")
                try:
                    await _send_all(self._pieces(stream), receive, send)
                finally:
                    stream.close()
        finally:
            if self.stream is not None:
                self.stream.close()

    async def _pieces(self, stream: BinaryIO) -> AsyncGenerator[bytes, None]:
        left = self.span.end - self.span.start
        await self.downloads.read(stream.seek, self.span.start)
        while left:
            piece = await self.downloads.read(stream.read, min(PIECE, left))
            if not piece:
                raise DamagedBlobError("A file became shorter while it was sent.")
            left -= len(piece)
            yield piece


@dataclass(frozen=True, slots=True)
class _Verifying:
    """Sends bytes while it hashes them, the last of them only if all are right."""

    downloads: Downloads
    stream: BinaryIO
    state: State
    info: FileInfo
    headers: Raw
    label: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(_start(200, self.headers))
            await _send_all(self._pieces(), receive, send)
        finally:
            self.stream.close()

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        sha256 = hashlib.sha256()
        unread = unsent = self.info.size

        def read() -> bytes:
            nonlocal unread
            piece = self.stream.read(min(PIECE, unread))
            sha256.update(piece)
            unread -= len(piece)
            return piece

        async with aclosing(self.downloads.ahead(read)) as pieces:
            while unsent:
                piece = await anext(pieces)
                unsent -= len(piece)
                if not piece or (not unsent and sha256.hexdigest() != self.info.sha256):
                    # Who asks next is sent the right bytes, or told that they are lost.
                    await self.downloads.read(self.downloads.heal, self.info, self.label)
                    raise DamagedBlobError(
                        f"{self.label}: damaged bytes were not sent to their end."
                    )
                if not unsent:
                    self.downloads.note(self.info, self.state)
                yield piece


async def _send_all(pieces: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> None:
    """Send pieces, each while the next one is read, until they end or the client leaves."""
    leaving = asyncio.create_task(_wait_for_leave(receive))
    following = asyncio.create_task(_next(pieces))
    try:
        while (piece := await following) is not None and not leaving.done():
            following = asyncio.create_task(_next(pieces))
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not leaving.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        leaving.cancel()
        # A thread may be reading still, of what is closed next.
        await asyncio.gather(following, return_exceptions=True)
        await pieces.aclose()


async def _next(pieces: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(pieces, None)


async def _wait_for_leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def raw(headers: Mapping[str, str]) -> Raw:
    """Return headers as the server takes them."""
    return [(key.lower().encode(), value.encode("latin-1")) for key, value in headers.items()]


def _start(status: int, headers: Raw) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}
