from __future__ import annotations

import asyncio
import hashlib
import io
import os
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from registry import Catalog
from registry.errors import DamagedBlobError
from registry.server import serving
from registry.server.serving import AT_ONCE, PIECE, Downloads, Span, parse_range, raw
from registry.storage.files import FileInfo
from registry.storage.folder_blobs import FolderBlobStore

SMALL = b"0123456789"
LARGE = os.urandom(3 * PIECE + 17)


class Sent:
    """What an answer sends to a client."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.error: BaseException | None = None

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        return {key.decode(): value.decode() for key, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def path(self) -> str | None:
        return next((m["path"] for m in self.messages if m["type"].endswith("pathsend")), None)

    @property
    def is_whole(self) -> bool:
        last = self.messages[-1]
        return last["type"].endswith("pathsend") or not last.get("more_body", False)


def fetch(
    downloads: Downloads,
    info: FileInfo,
    asked: str | None = None,
    *,
    pathsend: bool = False,
    at_once: bool = False,
) -> Sent:
    sent = Sent()
    scope = {"type": "http", "method": "GET", "extensions": {}}
    if pathsend:
        scope["extensions"] = {"http.response.pathsend": {}}

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.messages.append(message)

    async def run() -> None:
        headers = {"ETag": '"x"'}
        answer = (
            downloads.answer_at_once(info, raw({**headers, "Content-Length": str(info.size)}))
            if at_once
            else downloads.answer(info, headers, asked=asked, label="file")
        )
        assert answer is not None
        try:
            await answer(scope, receive, send)
        except DamagedBlobError as error:
            sent.error = error

    asyncio.run(run())
    return sent


@pytest.fixture
def downloads(catalog: Catalog) -> Downloads:
    return Downloads(catalog.store)


def put(catalog: Catalog, content: bytes) -> FileInfo:
    return catalog.blobs.put(io.BytesIO(content))


def damage(catalog: Catalog, info: FileInfo, at: int) -> None:
    assert isinstance(catalog.blobs, FolderBlobStore)
    path = catalog.blobs.path(info.sha256)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


pytestmark = pytest.mark.sqlite


@pytest.mark.parametrize("content", [b"", SMALL, LARGE, LARGE[:AT_ONCE], LARGE[: 2 * PIECE]])
def test_a_whole_file_arrives_each_time(
    catalog: Catalog, downloads: Downloads, content: bytes
) -> None:
    info = put(catalog, content)
    for _ in range(2):
        sent = fetch(downloads, info)
        assert (sent.status, sent.body, sent.is_whole) == (200, content, True)
        assert sent.headers["content-length"] == str(len(content))


@pytest.mark.parametrize("content", [SMALL, LARGE])
@pytest.mark.parametrize("first", [True, False])
def test_ranges_are_those_bytes_before_and_after_the_first_whole_read(
    catalog: Catalog, downloads: Downloads, content: bytes, first: bool
) -> None:
    info, size = put(catalog, content), len(content)
    if not first:
        fetch(downloads, info)
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        (f"bytes={size - 3}-", size - 3, size),
        ("bytes=-4", size - 4, size),
        (f"bytes=2-{size + 50}", 2, size),
        ("bytes=0-", 0, size),
    ):
        sent = fetch(downloads, info, asked)
        assert (sent.status, sent.body) == (206, content[start:end]), asked
        assert sent.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert sent.headers["content-length"] == str(end - start)
    sent = fetch(downloads, info, f"bytes={size}-")
    assert (sent.status, sent.headers["content-range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize(
    "asked", [None, "", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,4-5", "lines=1-2", "bytes=5-3"]
)
def test_what_is_no_single_range_asks_for_all(asked: str | None) -> None:
    assert parse_range(asked, 10) is None


def test_a_range_of_an_endless_number_asks_for_all() -> None:
    assert parse_range(f"bytes={'9' * 5000}-", 10) is None
    assert parse_range("bytes=-5000", 10) == Span(0, 10)


@pytest.mark.parametrize("at", [0, PIECE, len(LARGE) - 1])
def test_the_end_of_a_damaged_file_is_withheld(
    catalog: Catalog, downloads: Downloads, at: int
) -> None:
    info = put(catalog, LARGE)
    damage(catalog, info, at)
    sent = fetch(downloads, info)
    assert sent.error is not None
    assert not sent.is_whole
    assert len(sent.body) <= 3 * PIECE
    # From now on it is known to be lost.
    with pytest.raises(DamagedBlobError):
        fetch(downloads, info)


@pytest.mark.parametrize("content", [SMALL, LARGE])
def test_no_byte_of_a_damaged_file_is_sent_as_a_range(
    catalog: Catalog, downloads: Downloads, content: bytes
) -> None:
    info = put(catalog, content)
    damage(catalog, info, 0)
    with pytest.raises(DamagedBlobError):
        fetch(downloads, info, "bytes=5-9")


def test_damage_after_the_first_read_is_found_by_the_state_of_the_file(
    catalog: Catalog, downloads: Downloads
) -> None:
    info = put(catalog, LARGE)
    assert fetch(downloads, info).is_whole
    damage(catalog, info, 0)
    assert fetch(downloads, info).error is not None


def test_a_file_goes_to_the_system_whole_once_it_is_known_to_be_intact(
    catalog: Catalog, downloads: Downloads
) -> None:
    info = put(catalog, LARGE)
    assert fetch(downloads, info, pathsend=True).path is None
    path = fetch(downloads, info, pathsend=True).path
    assert path is not None
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == info.sha256
    sent = fetch(downloads, info, "bytes=1-2", pathsend=True)
    assert (sent.path, sent.body) == (None, LARGE[1:3])


@pytest.mark.parametrize("pathsend", [True, False])
def test_only_a_file_that_is_known_to_be_intact_is_answered_without_reading_it(
    catalog: Catalog, downloads: Downloads, pathsend: bool
) -> None:
    info = put(catalog, LARGE)
    assert downloads.answer_at_once(info, []) is None
    fetch(downloads, info)
    sent = fetch(downloads, info, at_once=True, pathsend=pathsend)
    assert sent.headers["content-length"] == str(len(LARGE))
    assert (sent.body, sent.path is None) == (b"" if pathsend else LARGE, not pathsend)
    damage(catalog, info, 0)
    assert downloads.answer_at_once(info, []) is None
    catalog.blobs.path(info.sha256).unlink()  # type: ignore[attr-defined]
    assert downloads.answer_at_once(info, []) is None


def test_the_last_small_files_are_kept_in_memory(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "KEPT", 25)
    downloads = Downloads(catalog.store)
    infos = [put(catalog, f"{number:010}".encode()) for number in range(3)]
    assert downloads.answer_at_once(infos[0], []) is None
    for info in infos:
        fetch(downloads, info)
    assert downloads.answer_at_once(infos[0], []) is None
    sent = fetch(downloads, infos[2], at_once=True)
    assert (sent.body, sent.headers["content-length"]) == (b"0000000002", "10")


def test_a_small_file_that_was_damaged_is_not_kept(catalog: Catalog, downloads: Downloads) -> None:
    info = put(catalog, SMALL)
    damage(catalog, info, 0)
    with pytest.raises(DamagedBlobError):
        fetch(downloads, info)
    assert downloads.answer_at_once(info, []) is None


def test_a_client_that_leaves_ends_the_reading(catalog: Catalog, downloads: Downloads) -> None:
    info = put(catalog, LARGE)
    pieces: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pieces.append(message)
        await asyncio.sleep(0.01)

    async def run() -> None:
        answer = downloads.answer(info, {}, asked=None, label="file")
        await answer({"type": "http", "extensions": {}}, receive, send)

    asyncio.run(run())
    assert sum(len(message.get("body", b"")) for message in pieces) < len(LARGE)


def taken(
    downloads: Downloads, pieces: list[bytes | Exception], pause: float = 0.0
) -> tuple[list[bytes], list[int]]:
    """What is taken of some pieces, and how many were read before each was, at most."""
    left, got, ahead = [*pieces], list[bytes](), list[int]()

    def read() -> bytes:
        piece = left.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def run() -> None:
        async with aclosing(downloads.ahead(read)) as found:
            async for piece in found:
                if not piece:
                    return
                await asyncio.sleep(pause)
                got.append(piece)
                ahead.append(len(pieces) - len(left) - len(got))

    asyncio.run(asyncio.wait_for(run(), 30))
    return got, ahead


@pytest.mark.parametrize("count", [0, 1, 2, serving.AHEAD, 100])
def test_pieces_that_are_read_ahead_come_in_order_and_are_bounded(
    downloads: Downloads, count: int
) -> None:
    pieces: list[bytes | Exception] = [str(number).encode() for number in range(1, count + 1)]
    for pause in (0.0, 0.002):
        got, ahead = taken(downloads, [*pieces, b""], pause)
        assert got == pieces
        assert max(ahead, default=0) <= serving.AHEAD
    if count == 100:
        assert max(ahead) > 1, "nothing was read ahead"


def test_what_fails_ahead_is_raised_after_what_was_read_before(downloads: Downloads) -> None:
    with pytest.raises(OSError, match="broken"):
        taken(downloads, [b"1", OSError("broken")])
    assert taken(downloads, [b"1", b""])[0] == [b"1"]


def test_many_who_read_ahead_share_the_room_for_it(downloads: Downloads) -> None:
    reads = [0] * serving.AHEAD

    def read(which: int) -> bytes:
        reads[which] += 1
        return b"piece"

    async def run() -> None:
        async with AsyncExitStack() as stack:
            found = [
                await stack.enter_async_context(aclosing(downloads.ahead(partial(read, which))))
                for which in range(len(reads))
            ]
            for one in found:
                await anext(one)
            before = [*reads]
            await asyncio.sleep(0.1)
            # All are open now: each may have one that waits, beside the one that was taken.
            for one in found[1:]:
                await anext(one)
            await asyncio.sleep(0.1)
            assert all(now - then <= 2 for now, then in zip(reads[1:], before[1:], strict=True))

    asyncio.run(run())


def test_a_slow_client_holds_no_thread(downloads: Downloads) -> None:
    async def run() -> None:
        async with aclosing(downloads.ahead(lambda: b"piece")) as found:
            await anext(found)
            async with asyncio.timeout(10):
                while downloads._readers.borrowed_tokens:
                    await asyncio.sleep(0.01)

    asyncio.run(run())
