"""Records in a folder.

records/000/000000012.json    entry 12, whole, read-only
"""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from registry.log.records import MAX_BYTES, record_name
from registry.storage.durable import at_once, flush, fsync_folder, make_folders, storage_errors


class FolderRecordStore:
    """The records of one registry, in its folder; `RecordStore` says what each method is for.

    Args:
        root: Folder that holds ``records/``, which is made when first needed.
    """

    def __init__(self, root: Path) -> None:
        """Touch nothing on disk yet."""
        self.root = root / "records"

    def path(self, sequence: int) -> Path:
        """Return where the file of an entry is, or would be."""
        return self.root / record_name(sequence)

    def location(self, sequence: int | None = None) -> str:
        """Return where people find an entry, or would; without a number, where all of them are."""
        return str(self.root if sequence is None else self.path(sequence))

    def put(self, sequence: int, content: bytes) -> None:
        """Write an entry's file; it is on the disk on return.

        It replaces what a transaction that was never committed left under the same number. Others
        wait for the write lock meanwhile, so the disk is waited for once: bytes and name go there
        together, and a power cut in between may leave an empty file, which counts as none.

        Raises:
            StorageError: The disk is full or not writable; there is no file.
        """
        target = self.path(sequence)
        with storage_errors("write", target):
            make_folders(target.parent)
            target.unlink(missing_ok=True)
            try:
                with open(target, "xb", opener=_read_only) as file:
                    file.write(content)
                    at_once([partial(flush, file), partial(fsync_folder, target.parent)])
            except BaseException:
                target.unlink(missing_ok=True)
                raise

    def put_all(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """As `put`, for many entries, in any order."""
        for sequence, content in entries:
            self.put(sequence, content)

    def has(self, sequence: int) -> bool:
        """Whether there is a file of this entry.

        Raises:
            StorageError: It cannot be looked at.
        """
        path = self.path(sequence)
        with storage_errors("look at", path):
            try:
                return path.stat().st_size > 0
            except (FileNotFoundError, NotADirectoryError):
                return False

    def get(self, sequence: int) -> bytes | None:
        """Return the file of an entry, at most `MAX_BYTES` of it, or None if there is none.

        Raises:
            StorageError: It cannot be read.
        """
        path = self.path(sequence)
        with storage_errors("read", path):
            try:
                with path.open("rb") as file:
                    return file.read(MAX_BYTES) or None
            except FileNotFoundError:
                return None

    def sequences(self) -> Iterator[int]:
        """Yield the numbers of all files, lowest first.

        Raises:
            StorageError: The folder cannot be read.
        """
        if not self.root.is_dir():
            return
        with storage_errors("read", self.root):
            for folder in sorted(self.root.iterdir()):
                names = sorted(path.stem for path in folder.glob("*.json"))
                numbers = [int(name) for name in names if name.isdecimal()]
                yield from numbers[:-1]
                yield from (last for last in numbers[-1:] if self.has(last))


def _read_only(name: str, flags: int) -> int:
    return os.open(name, flags, 0o444)
