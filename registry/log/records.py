"""What a store of records offers: the log's entries as files, to make the database anew from.

`registry.log.folder_records` keeps them beside the blobs in a folder, `registry.log.object_records`
in object storage; `registry.store` chooses.

Records lie apart from the blobs because blobs hold whatever people publish: a file that looks like
an entry must never pass for one.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from registry.storage.files import is_digest

MAX_BYTES = 1024 * 1024
"""The longest entry read back, several times what the longest message needs."""

_PER_FOLDER = 1000_000


class RecordStore(Protocol):
    """The records of one registry.

    A change writes its record before its commit (`put`), so that nothing that is committed can lack
    one, and under a name with the hash of its content: whoever takes the same number, because one
    of the two lost its lock, writes another file. After the commit the record gets the name by
    which everybody finds it (`settle`): so what has that name is committed.

    Every method raises:
        StorageError: The storage cannot be reached, read or written.
    """

    def location(self, sequence: int | None = None) -> str:
        """Return the path or URL of a record; without a number, of the place of all."""

    def put(self, sequence: int, content: bytes) -> None:
        """Write what is the record if the transaction is committed; durable on return."""

    def settle(self, sequence: int, content: bytes, previous: str) -> None:
        """Make what was put the record, as it is committed now.

        What was put stays until the next entry is settled: nothing else has the hash of the last
        record.

        Args:
            sequence: Which record.
            content: What was put.
            previous: The hash of the record before it.
        """

    def write(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Write records of entries that are committed, in any order; durable on return."""

    def has(self, sequence: int) -> bool:
        """Whether there is a record of this entry."""

    def get(self, sequence: int, pending: str | None = None) -> bytes | None:
        """Return a record, at most `MAX_BYTES` of it, or None if there is none.

        Args:
            sequence: Which record.
            pending: The hash of what was put; default: what was settled is asked for.
        """

    def sequences(self) -> Iterator[int]:
        """Yield the numbers of all records, lowest first."""

    def pending(self) -> list[tuple[int, str]]:
        """Return number and hash of what was put, and not removed yet, in order."""

    def remove_pending(self, sequence: int, digest: str) -> None:
        """Remove what was put."""


def record_name(sequence: int) -> str:
    """Return what a record is called below ``records/``; names sort as numbers do."""
    return f"{sequence // _PER_FOLDER:03d}/{sequence:09d}.json"


def parse_pending(name: str) -> tuple[int, str] | None:
    """Read ``000000012-<hash>``; None if it is something else."""
    number, _, digest = name.partition("-")
    return (int(number), digest) if number.isdecimal() and is_digest(digest) else None
