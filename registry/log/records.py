"""A store of records: the log's entries as files, from which the database can be made again.

`registry.log.folder_records` keeps them beside the blobs in a folder, `registry.log.object_records`
in object storage; `registry.store` chooses.

Records are kept apart from the blobs: anybody can publish a file that looks like an entry, and it
must not count as one.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from registry.storage.files import is_digest

MAX_BYTES = 1024 * 1024
"""The longest entry that is read, several times the longest message."""

_PER_FOLDER = 1000_000


class RecordStore(Protocol):
    """The records of one registry.

    A change writes its record before its commit (`put`), so that each committed change has one. The
    file's name contains the hash of its content. If two processes take one number, because one lost
    its lock, they write two files. Such a record is pending. After the commit it gets its final
    name (`settle`): so a record with a final name is committed.

    Every method raises:
        StorageError: The storage cannot be reached, read or written.
    """

    def location(self, sequence: int | None = None) -> str:
        """Return the path or URL of a record; without a number, of the place of all."""

    def put(self, sequence: int, content: bytes) -> None:
        """Write a pending record: it counts if the transaction commits. Durable on return."""

    def settle(self, sequence: int, content: bytes, previous: str) -> None:
        """Give a pending record its final name: its change is committed.

        The pending one stays until the next entry is settled: nothing else has the hash of the last
        record.

        Args:
            sequence: The number of the record.
            content: Its content.
            previous: The hash of the record before it.
        """

    def write(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Write records of entries that are committed, in any order; durable on return."""

    def has(self, sequence: int) -> bool:
        """Whether there is a record of this entry."""

    def get(self, sequence: int, pending: str | None = None) -> bytes | None:
        """Return a record, at most `MAX_BYTES` of it, or None if there is none.

        Args:
            sequence: The number of the record.
            pending: The hash of a pending record; default: the settled one.
        """

    def sequences(self) -> Iterator[int]:
        """Yield the numbers of all records, lowest first."""

    def pending(self) -> list[tuple[int, str]]:
        """Return number and hash of each pending record, in order."""

    def remove_pending(self, sequence: int, digest: str) -> None:
        """Remove a pending record."""


def record_name(sequence: int) -> str:
    """Return the name of a record below ``records/``; names sort as numbers do."""
    return f"{sequence // _PER_FOLDER:03d}/{sequence:09d}.json"


def parse_pending(name: str) -> tuple[int, str] | None:
    """Read a name such as ``000000012-<hash>``; None if it is another."""
    number, _, digest = name.partition("-")
    return (int(number), digest) if number.isdecimal() and is_digest(digest) else None
