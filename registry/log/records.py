"""What a store of records offers: the log's entries as files, to make the database anew from.

`registry.log.folder_records` keeps them beside the blobs in a folder, `registry.log.object_records`
in object storage; `registry.log.open` chooses.

Records lie apart from the blobs because blobs hold whatever people publish: a file that looks like
an entry must never pass for one.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

MAX_BYTES = 1024 * 1024
"""The longest entry read back, several times what the longest message needs."""

_PER_FOLDER = 1000_000


class RecordStore(Protocol):
    """The records of one registry.

    Every method raises:
        StorageError: The storage cannot be reached, read or written.
    """

    def location(self, sequence: int | None = None) -> str:
        """Return the path or URL of a record; without a number, of the place of all."""

    def put(self, sequence: int, content: bytes) -> None:
        """Write a record, which is durable on return.

        It replaces what a transaction that was never committed left under the same number.
        """

    def put_all(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """As `put`, for many records, in any order."""

    def has(self, sequence: int) -> bool:
        """Whether there is a record of this entry."""

    def get(self, sequence: int) -> bytes | None:
        """Return a record, at most `MAX_BYTES` of it, or None if there is none."""

    def sequences(self) -> Iterator[int]:
        """Yield the numbers of all records, lowest first."""


def record_name(sequence: int) -> str:
    """Return what a record is called below ``records/``; names sort as numbers do."""
    return f"{sequence // _PER_FOLDER:03d}/{sequence:09d}.json"
