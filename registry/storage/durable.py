"""Write files so that a crash leaves either the old content or the new."""

import errno
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from registry.errors import FullDiskError, StorageError
from registry.storage.place import Place

_CURES = {
    errno.ENOSPC: "Free some disk space and run it again.",
    errno.EDQUOT: "Free some of your disk quota and run it again.",
    errno.EFBIG: "Raise the file size limit (ulimit -f) and run it again.",
    errno.EACCES: "Check its owner and permissions.",
    errno.EPERM: "Check its owner and permissions.",
    errno.EROFS: "The file system is read-only; choose a folder on another one.",
}

T = TypeVar("T")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MOST_AT_ONCE = 16


@contextmanager
def storage_errors(action: str, path: Place | str) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that says "Cannot `action` `path`".

    Raises:
        FullDiskError: The disk or the quota is full.
        StorageError: With `path` as its subject and a cure that fits the errno.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        cure = _CURES.get(error.errno or 0, "Check the path and the disk, then run it again.")
        kind = FullDiskError if error.errno in _FULL else StorageError
        raise kind(f"Cannot {action} {path}: {reason}. {cure}", path) from error


@contextmanager
def scratch_file(folder: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Yield a new file in `folder`, and remove it afterwards unless `settle` moved it.

    Args:
        folder: Must be on the file system of the place the file will settle in.
        mode: Permissions, before the umask; default: only the owner may read it.
    """
    path = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def flush(file: BinaryIO) -> None:
    """Return once the bytes of `file` are on the disk."""
    # A failed fsync may have dropped the dirty pages, so a second one would lie: never retry.
    file.flush()
    os.fsync(file.fileno())


def settle(file: BinaryIO, target: Path) -> None:
    """Make a flushed scratch file appear at `target`, whole, and stay there after a crash."""
    os.replace(file.name, target)
    fsync_folder(target.parent)


def fsync_folder(folder: Path) -> None:
    """Return once the names in `folder` are on the disk."""
    if os.name == "nt":  # a folder cannot be opened there, and NTFS journals its names
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Create `folder` and its missing parents; the new names are on the disk on return."""
    at_once([partial(fsync_folder, changed) for changed in new_folders(folder)])


def new_folders(folder: Path) -> list[Path]:
    """Create `folder` and its missing parents; return which must be fsynced for it."""
    if folder.is_dir():
        return []
    changed = new_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    return [*changed, folder.parent]


def at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Make independent calls, each of which mostly waits for the disk, at the same time.

    A disk needs for several fsyncs at once about as long as for one. If one fails, its error is
    raised when all have ended.
    """
    if len(calls) < 2:
        for call in calls:
            call()
        return
    others = [_threads().submit(call) for call in calls[1:]]
    try:
        calls[0]()
    finally:
        wait(others)
    for other in others:
        other.result()


def in_background(call: Callable[[], T]) -> "Future[T]":
    """Run a call in another thread. It must not wait for another one that was started like this."""
    return _threads().submit(call)


@cache
def _threads() -> ThreadPoolExecutor:
    # Kept: to start a thread takes as long as a write to a good disk.
    return ThreadPoolExecutor(max_workers=_MOST_AT_ONCE, thread_name_prefix="hubkit-disk")


if hasattr(os, "register_at_fork"):  # a forked process has none of these threads
    os.register_at_fork(after_in_child=_threads.cache_clear)


def write_file(target: Path, content: bytes) -> None:
    """Replace `target` by `content`: a reader sees all of the old bytes or all of the new.

    Raises:
        StorageError: The file system refused; `target` is as it was.
    """
    with storage_errors("write", target), scratch_file(target.parent, mode=0o666) as file:
        file.write(content)
        flush(file)
        settle(file, target)
