import errno
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import FileInfo
from registry.errors import CorruptBlobError, InvalidNameError, StorageError
from registry.storage import durable
from registry.storage.blobs import copy_blob, read_blob, verify_blob
from registry.storage.folder_blobs import FolderBlobStore

CONTENT = b"0123456789" * 1000
INFO = FileInfo(sha256=hashlib.sha256(CONTENT).hexdigest(), size=len(CONTENT))
OTHER = FileInfo(sha256="0" * 64, size=len(CONTENT))


@pytest.fixture
def store(tmp_path: Path) -> FolderBlobStore:
    return FolderBlobStore(tmp_path / "store")


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def damage(store: FolderBlobStore, content: bytes) -> None:
    path = store.path(INFO.sha256)
    path.chmod(0o600)
    path.write_bytes(content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(content=st.binary(max_size=3000))
def test_what_was_put_is_read_back(store: FolderBlobStore, content: bytes) -> None:
    info = store.put(io.BytesIO(content))
    assert info == FileInfo(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    with store.open(info.sha256) as stream:
        assert stream.read() == content
    verify_blob(store, info)


def test_a_blob_is_stored_under_its_digest_read_only_and_once(
    store: FolderBlobStore, tmp_path: Path
) -> None:
    store.put(io.BytesIO(CONTENT))
    first = store.path(INFO.sha256).stat()
    store.put(io.BytesIO(CONTENT))
    store.put(io.BytesIO(b"never read"), INFO)
    digest = INFO.sha256
    path = tmp_path / "store" / "blobs" / "sha256" / digest[:2] / digest[2:4] / digest
    assert files(tmp_path) == [path]
    assert path.stat().st_ino == first.st_ino
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_truncated_blob_is_replaced_by_the_next_put(store: FolderBlobStore) -> None:
    store.put(io.BytesIO(CONTENT))
    damage(store, CONTENT[:-1])
    store.put(io.BytesIO(CONTENT), INFO)
    verify_blob(store, INFO)


@pytest.mark.parametrize("digest", ["", "..", "../../etc/passwd", "A" * 64, "a" * 63])
def test_only_a_digest_is_a_place_in_the_store(store: FolderBlobStore, digest: str) -> None:
    with pytest.raises(InvalidNameError):
        store.path(digest)


@pytest.mark.parametrize(
    "expected",
    [OTHER, INFO.model_copy(update={"size": 1}), INFO.model_copy(update={"size": 10**6})],
)
def test_bytes_that_are_not_the_expected_ones_are_not_stored(
    store: FolderBlobStore, tmp_path: Path, expected: FileInfo
) -> None:
    with pytest.raises(CorruptBlobError, match=rf"a@1: w\.bin: expected {expected.size} bytes"):
        store.put(io.BytesIO(CONTENT), expected, label="a@1: w.bin")
    assert files(tmp_path) == []


def test_an_endless_stream_is_read_one_byte_too_far(store: FolderBlobStore) -> None:
    class Endless(io.RawIOBase):
        given_out = 0

        def read(self, size: int = -1) -> bytes:
            assert size >= 0
            self.given_out += size
            return b"x" * size

    stream: Any = Endless()
    with pytest.raises(CorruptBlobError, match="found more bytes"):
        store.put(stream, INFO)
    assert stream.given_out == INFO.size + 1


@pytest.mark.parametrize("damaged", [CONTENT[:-1], b"X" + CONTENT[1:], CONTENT + b"X", b""])
def test_a_truncated_or_altered_blob_never_leaves_the_store(
    store: FolderBlobStore, tmp_path: Path, damaged: bytes
) -> None:
    store.put(io.BytesIO(CONTENT))
    damage(store, damaged)
    destination = tmp_path / "out.bin"
    destination.write_bytes(b"as it was")
    for read in (
        lambda: copy_blob(store, INFO, destination, label="a@1: w.bin"),
        lambda: verify_blob(store, INFO, label="a@1: w.bin"),
        lambda: read_blob(store, INFO.sha256, most=10**6, label="a@1: w.bin"),
    ):
        with pytest.raises(
            CorruptBlobError, match=r"a@1: w\.bin: expected .* found .* Publish or pull"
        ):
            read()
    assert destination.read_bytes() == b"as it was"
    assert files(tmp_path) == sorted([destination, store.path(INFO.sha256)])


def test_a_missing_blob_is_a_corrupt_one(store: FolderBlobStore, tmp_path: Path) -> None:
    with pytest.raises(CorruptBlobError, match="found nothing"):
        copy_blob(store, INFO, tmp_path / "out.bin")


def test_read_stops_at_its_bound(store: FolderBlobStore) -> None:
    store.put(io.BytesIO(CONTENT))
    assert read_blob(store, INFO.sha256, most=INFO.size) == CONTENT
    with pytest.raises(CorruptBlobError):
        read_blob(store, INFO.sha256, most=INFO.size - 1)


class FullDisk:
    """Makes the n-th of a kind of system call fail with ENOSPC."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
        self.left = nth
        for name in ("open", "fsync", "replace", "mkdir", "chmod"):
            monkeypatch.setattr(os, name, self.failing(getattr(os, name)))
        monkeypatch.setattr(durable, "open", self.open, raising=False)

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return call(*args, **kwargs)

        return wrapper

    def open(self, path: Path, mode: str, opener: Any) -> Any:
        disk = self

        class File(io.FileIO):
            def write(self, content: Any) -> int:
                disk.step()
                return super().write(content)

        return io.BufferedWriter(File(path, mode.replace("b", ""), opener=opener))


def put(store: FolderBlobStore) -> None:
    store.put(io.BytesIO(CONTENT), INFO, label="a@1: w.bin")


def receive(store: FolderBlobStore) -> None:
    receiver = store.receive(INFO, "a@1: w.bin")
    for start in range(0, len(CONTENT), 1000):
        receiver.write(CONTENT[start : start + 1000])
    receiver.finish()


Storing = Callable[[FolderBlobStore], None]


@pytest.mark.parametrize("nth", range(1, 27))
@pytest.mark.parametrize("storing", [put, receive])
def test_a_full_disk_at_any_step_stores_nothing_wrong_and_leaves_no_scratch_file(
    store: FolderBlobStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    storing: Storing,
    nth: int,
) -> None:
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, nth)
        error = None
        try:
            storing(store)
        except StorageError as caught:
            error = caught
    assert (error is not None) == (disk.left <= 0)
    if error:
        assert str(error).startswith("Cannot store a@1: w.bin in ")
        assert str(error).endswith("Free some disk space and run it again.")
    # After the rename the whole blob may be there although the last fsync failed.
    assert files(tmp_path) in ([], [store.path(INFO.sha256)])
    store.put(io.BytesIO(CONTENT), INFO)
    verify_blob(store, INFO)


@pytest.mark.parametrize("storing", [put, receive])
def test_the_full_disk_test_reaches_past_the_last_step(
    store: FolderBlobStore, monkeypatch: pytest.MonkeyPatch, storing: Storing
) -> None:
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, 1000)
        storing(store)
    assert 20 <= 1000 - disk.left < 27


def test_a_copy_to_a_full_disk_leaves_the_destination_as_it_was(
    store: FolderBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(io.BytesIO(CONTENT))
    destination = tmp_path / "out.bin"
    with monkeypatch.context() as patch:
        FullDisk(patch, 2)
        with pytest.raises(StorageError, match=r"Cannot write .*out\.bin: No space left"):
            copy_blob(store, INFO, destination)
    assert files(tmp_path) == [store.path(INFO.sha256)]


def test_a_damaged_blob_is_replaced_when_its_bytes_come_again(store: FolderBlobStore) -> None:
    content = b"the right bytes"
    info = store.put(io.BytesIO(content))
    path = store.path(info.sha256)
    path.chmod(0o600)
    path.write_bytes(b"the wrong bytes")
    assert not store.holds(info)
    assert store.put(io.BytesIO(content), info) == info
    assert path.read_bytes() == content


def test_the_size_of_what_is_in_the_trash_is_told_and_nothing_moves(store: FolderBlobStore) -> None:
    store.put(io.BytesIO(CONTENT), INFO)
    store.discard([INFO.sha256])
    (trashed,) = files(store.root.parents[1])
    assert store.size(INFO.sha256) == INFO.size
    assert files(store.root.parents[1]) == [trashed]
    assert store.ensure_in_place(INFO.sha256) == INFO.size
    assert files(store.root.parents[1]) == [store.path(INFO.sha256)]


def test_a_blob_that_is_nowhere_has_no_size(store: FolderBlobStore) -> None:
    store.put(io.BytesIO(CONTENT), INFO)
    store.discard([INFO.sha256])
    store.remove(store.trash())
    assert (store.size(INFO.sha256), store.ensure_in_place(INFO.sha256)) == (None, None)
