"""Records in object storage, where all machines that share a registry find them.

<url>/records/000/000000012.json     entry 12, whole, committed
<url>/records/new/000000012-<hash>   the same before its commit; kept until entry 13 is committed
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from registry.log.records import MAX_BYTES, parse_pending, record_name
from registry.storage.bucket import Bucket
from registry.storage.durable import at_once

_NEW = "records/new"


class ObjectRecordStore:
    """The records of one registry, in object storage; `RecordStore` says what each method is for.

    Args:
        url: The parent of ``records/``: ``s3://bucket/folder``, ``gs://...`` or ``az://...``.

    Raises:
        StorageError: `url` is malformed, or the client is not installed.
    """

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self._bucket = Bucket(url)

    def location(self, sequence: int | None = None) -> str:
        """Return the URL of a record; without a number, of the place of all."""
        return self._bucket.location("records" if sequence is None else _key(sequence))

    def put(self, sequence: int, content: bytes) -> None:
        """Write a pending record."""
        self._put(_key(sequence, hashlib.sha256(content).hexdigest()), content)

    def settle(self, sequence: int, content: bytes, previous: str) -> None:
        """Give a pending record its final name."""
        self._put(_key(sequence), content)
        if sequence > 1:
            self.remove_pending(sequence - 1, previous)

    def write(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Write several records at once: each mostly waits for the network."""
        at_once([partial(self._put, _key(sequence), content) for sequence, content in entries])

    def has(self, sequence: int) -> bool:
        """Whether there is a record of this entry."""
        return bool(self._bucket.size(_key(sequence)))

    def get(self, sequence: int, pending: str | None = None) -> bytes | None:
        """Return a record, or None if there is none."""
        with self._bucket.errors("read"):
            try:
                found = self._bucket.obstore.get(self._bucket.store, _key(sequence, pending))
                # A larger object is not fetched beyond the first chunk, an empty one has none.
                chunk = next(iter(found.stream(min_chunk_size=MAX_BYTES)), b"")
            except FileNotFoundError:
                return None
        return bytes(chunk)[:MAX_BYTES] or None

    def sequences(self) -> Iterator[int]:
        """Yield the numbers of all records, lowest first."""
        for folder in sorted(filter(str.isdecimal, self._bucket.folders("records"))):
            found = self._bucket.objects(f"records/{folder}")
            names = [Path(item["path"]) for item in found if item["size"]]
            yield from sorted(
                int(name.stem) for name in names if name.suffix == ".json" and name.stem.isdecimal()
            )

    def pending(self) -> list[tuple[int, str]]:
        """Return number and hash of each pending record."""
        names = [Path(item["path"]).name for item in self._bucket.objects(_NEW)]
        return sorted(found for name in names if (found := parse_pending(name)))

    def remove_pending(self, sequence: int, digest: str) -> None:
        """Remove a pending record."""
        with self._bucket.errors("remove a record from"), suppress(FileNotFoundError):
            self._bucket.obstore.delete(self._bucket.store, _key(sequence, digest))

    def _put(self, key: str, content: bytes) -> None:
        with self._bucket.errors("write a record in"):
            self._bucket.obstore.put(self._bucket.store, key, content)


def _key(sequence: int, pending: str | None = None) -> str:
    if pending is not None:
        return f"{_NEW}/{sequence:09d}-{pending}"
    return f"records/{record_name(sequence)}"
