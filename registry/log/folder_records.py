"""Records in a folder.

records/000/000000012.json            entry 12, whole, read-only, committed
records/000/000000012-<hash>.new      the same before its commit; kept until entry 13 is committed
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from registry.log.records import MAX_BYTES, parse_pending, record_name
from registry.storage.durable import (
    at_once,
    flush,
    fsync_folder,
    make_folders,
    scratch_file,
    settle,
    storage_errors,
)
from registry.storage.files import open_file
from registry.storage.folder_blobs import SCRATCH_NAME

_NEW = ".new"


class FolderRecordStore:
    """The records of one registry, in its folder; `RecordStore` says what each method is for.

    Args:
        root: Folder that holds ``records/``, which is made when first needed.
    """

    def __init__(self, root: Path) -> None:
        """Touch nothing on disk yet."""
        self.root = root / "records"
        self._scratch = root / SCRATCH_NAME

    def path(self, sequence: int, pending: str | None = None) -> Path:
        """Return where a record is, or would be."""
        path = self.root / record_name(sequence)
        return path if pending is None else path.with_name(f"{path.stem}-{pending}{_NEW}")

    def location(self, sequence: int | None = None) -> str:
        """Return the path of a record; without a number, of the folder of all."""
        return str(self.root if sequence is None else self.path(sequence))

    def put(self, sequence: int, content: bytes) -> None:
        """Write a pending record.

        Other processes wait for the write lock, so this waits for the disk only once: bytes and
        name are flushed together. A power cut may leave an empty file, which counts as none.
        """
        target = self.path(sequence, hashlib.sha256(content).hexdigest())
        with storage_errors("write", target):
            make_folders(target.parent)
            target.unlink(missing_ok=True)  # half-written, from a change that was never made
            try:
                with open(target, "xb", opener=_read_only) as file:
                    file.write(content)
                    at_once([partial(flush, file), partial(fsync_folder, target.parent)])
            except BaseException:
                with suppress(OSError):
                    target.unlink(missing_ok=True)
                raise

    def settle(self, sequence: int, content: bytes, previous: str) -> None:
        """Give a pending record its final name.

        The name need not be on the disk at once: the pending record is, and the next `put` waits
        for the disk before the next `settle` removes it.
        """
        target = self.path(sequence)
        with storage_errors("write", target):
            put = self.path(sequence, hashlib.sha256(content).hexdigest())
            if self.get(sequence) != content:
                # Nothing is removed first: another process may just have settled it, and removed
                # the pending one.
                try:
                    os.link(put, target)
                except OSError:  # a damaged file is there, or the file system has no links
                    os.replace(put, target)
            if sequence > 1:
                self.path(sequence - 1, previous).unlink(missing_ok=True)

    def write(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Write records of committed entries, each in place of an old one at once."""
        for sequence, content in entries:
            target = self.path(sequence)
            with storage_errors("write", target):
                make_folders(target.parent)
                make_folders(self._scratch)
                with scratch_file(self._scratch, mode=0o444) as file:
                    file.write(content)
                    flush(file)
                    settle(file, target)

    def has(self, sequence: int) -> bool:
        """Whether there is a record of this entry."""
        path = self.path(sequence)
        with storage_errors("look at", path):
            try:
                return path.stat().st_size > 0
            except (FileNotFoundError, NotADirectoryError):
                return False

    def get(self, sequence: int, pending: str | None = None) -> bytes | None:
        """Return a record, or None if there is none."""
        path = self.path(sequence, pending)
        with storage_errors("read", path):
            try:
                with open_file(path) as file:
                    return file.read(MAX_BYTES) or None
            except FileNotFoundError:
                return None

    def sequences(self) -> Iterator[int]:
        """Yield the numbers of all records, lowest first."""
        with storage_errors("read", self.root):
            for folder in self._folders():
                names = sorted(path.stem for path in folder.glob("*.json"))
                numbers = [int(name) for name in names if name.isdecimal()]
                yield from numbers[:-1]
                yield from (last for last in numbers[-1:] if self.has(last))

    def pending(self) -> list[tuple[int, str]]:
        """Return number and hash of each pending record."""
        with storage_errors("read", self.root):
            names = [path.stem for folder in self._folders() for path in folder.glob(f"*{_NEW}")]
        return sorted(found for name in names if (found := parse_pending(name)))

    def remove_pending(self, sequence: int, digest: str) -> None:
        """Remove a pending record."""
        path = self.path(sequence, digest)
        with storage_errors("remove", path):
            path.unlink(missing_ok=True)

    def _folders(self) -> list[Path]:
        return sorted(self.root.iterdir()) if self.root.is_dir() else []


def _read_only(name: str, flags: int) -> int:
    return os.open(name, flags, 0o444)
