"""Bytes that a store of blobs takes as they come, such as the body of a request."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from registry.storage.durable import storage_errors
from registry.storage.files import FileInfo, HashedWriter, require_same

NOTHING_STORED = " Nothing was stored: copy, pull or write the file again."


class Receiver:
    """Bytes on their way into a store of blobs, as `BlobStore.receive` returns it.

    They are hashed while they are written to a scratch file. No thread waits for the next of them:
    the calls may come from any thread, one at a time. After an error, `finish`
    or `give_up`, no bytes are kept or taken any more.

    Args:
        scratch: Makes the scratch file, and removes it unless it was moved.
        settle: Makes the bytes of the scratch file a blob, durably.
        expected: The size and digest of the bytes; None for any.
        label: Their name, for messages.
        where: The place that is written to, for messages.

    Raises:
        StorageError: The disk is full or not writable.
    """

    def __init__(
        self,
        scratch: AbstractContextManager[BinaryIO],
        settle: Callable[[FileInfo, BinaryIO], object],
        expected: FileInfo | None,
        label: str,
        where: Path,
    ) -> None:
        """Make the scratch file."""
        self._settle, self._expected = settle, expected
        self._label, self._where = label, where
        self._scratch = ExitStack()
        with self._storing():
            self._file = self._scratch.enter_context(scratch)
        self._writer = HashedWriter(self._file)

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; chunks of a mebibyte are quick.

        Raises:
            CorruptBlobError: They are more than expected.
            StorageError: The disk is full or not writable.
        """
        with self._or_nothing():
            size, expected = self._writer.size + len(chunk), self._expected
            if expected is not None and size > expected.size:
                found = FileInfo(sha256=expected.sha256, size=size)
                require_same(self._label, expected, found, NOTHING_STORED)
            self._writer.write(chunk)

    def finish(self) -> FileInfo:
        """Store the bytes once, and return their size and digest, as `BlobStore.put`.

        Raises:
            CorruptBlobError: They are not the expected ones.
            StorageError: The disk is full or not writable.
        """
        with self._or_nothing():
            found = self._writer.finish()
            if self._expected is not None:
                require_same(self._label, self._expected, found, NOTHING_STORED)
            self._settle(found, self._file)
        self._scratch.close()
        return found

    def give_up(self) -> None:
        """Remove the scratch file, unless it was finished."""
        self._writer.stop()
        with suppress(OSError):  # bytes that cannot be written are not needed
            self._scratch.close()

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        if self._file.closed:
            raise ValueError(f"{self._label}: no bytes are taken after the end.")
        try:
            with self._storing():
                yield
        except BaseException:
            self.give_up()
            raise

    def _storing(self) -> AbstractContextManager[None]:
        return storage_errors(f"store {self._label} in", self._where)
