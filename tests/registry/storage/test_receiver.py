"""Bytes that are pushed into a store of blobs, in a folder and in object storage."""

import os
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from registry.errors import CorruptBlobError, StorageError
from registry.storage.blobs import BlobStore, read_blob, verify_blob
from registry.storage.files import CHUNK, FileInfo
from registry.storage.folder_blobs import FolderBlobStore
from registry.storage.object_blobs import PART, ObjectBlobStore
from registry.storage.receiver import Receiver
from tests.support.object_storage import BUCKET, endpoint, s3, s3_client
from tests.support.trees import files_in, info_of

__all__ = ["endpoint", "s3", "s3_client"]

CONTENT = b"weights" * 1000
INFO = info_of(CONTENT)


@pytest.fixture(params=["folder", "object storage"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return FolderBlobStore(tmp_path)
    request.getfixturevalue("s3")
    return ObjectBlobStore(f"s3://{BUCKET}/team", tmp_path / "tmp")


def push(receiver: Receiver, content: bytes, step: int) -> None:
    for start in range(0, len(content), step):
        receiver.write(content[start : start + step])


def require_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    assert blobs.prefixes() == set()
    assert files_in(tmp_path) == {}


@pytest.mark.parametrize(
    ("size", "step"),
    [(0, 1), (1, 1), (7000, 999), (CHUNK + 1, 300_000), (PART + 5, 1 << 20), (PART + 5, PART + 5)],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_what_is_pushed_is_a_blob_when_it_is_finished(
    blobs: BlobStore, tmp_path: Path, size: int, step: int, is_known: bool
) -> None:
    content = os.urandom(size)
    info = info_of(content)
    receiver = blobs.receive(info if is_known else None, "bob/film: w.bin")
    push(receiver, content, step)
    assert blobs.size(info.sha256) is None
    assert receiver.finish() == info
    verify_blob(blobs, info)
    receiver.give_up()  # changes nothing
    verify_blob(blobs, info)
    assert not [*(tmp_path / "tmp").iterdir()]


@pytest.mark.parametrize("step", [1000, 10**6])
def test_one_byte_too_many_is_refused_at_once(blobs: BlobStore, tmp_path: Path, step: int) -> None:
    receiver = blobs.receive(INFO, "bob/film: w.bin")
    with pytest.raises(CorruptBlobError, match=r"^bob/film: w\.bin: expected 7000 .* more bytes"):
        push(receiver, CONTENT + b"x", step)
    require_nothing(blobs, tmp_path)
    for more in (receiver.finish, lambda: receiver.write(b"")):
        with pytest.raises(ValueError, match="no bytes are taken"):
            more()
    require_nothing(blobs, tmp_path)


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], b"x" + CONTENT[1:]])
def test_other_bytes_than_expected_are_not_stored(
    blobs: BlobStore, tmp_path: Path, content: bytes
) -> None:
    receiver = blobs.receive(INFO, "bob/film: w.bin")
    push(receiver, content, 1000)
    with pytest.raises(CorruptBlobError, match=r"^bob/film: w\.bin: expected .* Nothing was"):
        receiver.finish()
    require_nothing(blobs, tmp_path)
    with pytest.raises(ValueError, match="no bytes are taken"):
        receiver.finish()


def test_what_is_given_up_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    receiver = blobs.receive(INFO, "w.bin")
    push(receiver, CONTENT, 1000)
    receiver.give_up()
    receiver.give_up()
    require_nothing(blobs, tmp_path)
    blobs.receive(INFO, "w.bin").give_up()
    require_nothing(blobs, tmp_path)


def test_bytes_that_are_there_already_are_hashed_all_the_same(blobs: BlobStore) -> None:
    for content in (CONTENT, CONTENT):
        receiver = blobs.receive(INFO, "w.bin")
        receiver.write(content)
        assert receiver.finish() == INFO
    wrong = blobs.receive(INFO, "w.bin")
    wrong.write(bytes(INFO.size))
    with pytest.raises(CorruptBlobError, match="expected 7000 bytes"):
        wrong.finish()
    assert read_blob(blobs, INFO.sha256, most=INFO.size) == CONTENT


def test_several_arrive_at_once_and_no_thread_waits_for_them(blobs: BlobStore) -> None:
    contents = [os.urandom(CHUNK + number) for number in range(40)]
    before = {thread.name for thread in threading.enumerate()}
    receivers = [blobs.receive(info_of(content), "w.bin") for content in contents]
    for start in range(0, CHUNK, CHUNK // 2):
        for content, receiver in zip(contents, receivers, strict=True):
            receiver.write(content[start : start + CHUNK // 2])
    after = {thread.name for thread in threading.enumerate()} - before
    assert all(name.startswith("hubkit-disk") for name in after)
    for content, receiver in zip(contents, receivers, strict=True):
        receiver.write(content[CHUNK:])
        assert receiver.finish() == info_of(content)


def test_calls_come_from_any_thread(blobs: BlobStore) -> None:
    receiver = blobs.receive(INFO, "w.bin")
    found: list[FileInfo] = []
    calls: Sequence[Callable[[], None]] = [
        lambda: receiver.write(CONTENT[:3000]),
        lambda: receiver.write(CONTENT[3000:]),
        lambda: found.append(receiver.finish()),
    ]
    for call in calls:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert found == [INFO]


def test_memory_does_not_grow_with_what_is_pushed(blobs: BlobStore) -> None:
    chunk = bytes(1 << 20)
    receiver = blobs.receive(None, "w.bin")
    tracemalloc.start()
    try:
        for _ in range(40):
            receiver.write(bytes(chunk))
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    receiver.give_up()


def test_a_scratch_file_that_cannot_be_made_is_an_error(tmp_path: Path, s3: object) -> None:
    (tmp_path / "tmp").write_text("no folder")
    for blobs in (FolderBlobStore(tmp_path), ObjectBlobStore(f"s3://{BUCKET}", tmp_path / "tmp")):
        with pytest.raises(StorageError, match="Cannot "):
            blobs.receive(INFO, "w.bin")


def test_a_storage_that_is_not_there_takes_nothing(s3: object, tmp_path: Path) -> None:
    receiver = ObjectBlobStore("s3://nowhere/team", tmp_path / "tmp").receive(INFO, "w.bin")
    receiver.write(CONTENT)
    with pytest.raises(StorageError, match=r"Cannot store w\.bin in s3://nowhere/team: "):
        receiver.finish()
    assert files_in(tmp_path) == {}
