"""Records in object storage, where all machines that share a registry find them.

<url>/records/000/000000012.json    entry 12, whole
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from registry.log.records import MAX_BYTES, record_name
from registry.storage.bucket import Bucket
from registry.storage.durable import at_once


class ObjectRecordStore:
    """The records of one registry, in object storage; `RecordStore` says what each method is for.

    Args:
        url: What holds ``records/``: ``s3://bucket/folder``, ``gs://...`` or ``az://...``.

    Raises:
        StorageError: `url` is malformed, or the client is not installed.
    """

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self._bucket = Bucket(url)

    def location(self, sequence: int | None = None) -> str:
        """Return the URL of a record, or of the place of all."""
        return self._bucket.location("records" if sequence is None else _key(sequence))

    def put(self, sequence: int, content: bytes) -> None:
        """Write a record; if the answer is lost, the object may be there all the same.

        That is no worse than a transaction that was never committed: the next one replaces it.
        """
        with self._bucket.errors("write a record in"):
            self._bucket.obstore.put(self._bucket.store, _key(sequence), content)

    def put_all(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Write several records at once: each mostly waits for the network."""
        at_once([partial(self.put, *entry) for entry in entries])

    def has(self, sequence: int) -> bool:
        """Whether there is a record of this entry."""
        return bool(self._bucket.size(_key(sequence)))

    def get(self, sequence: int) -> bytes | None:
        """Return a record, or None if there is none."""
        with self._bucket.errors("read"):
            try:
                found = self._bucket.obstore.get(self._bucket.store, _key(sequence))
                # A larger object is not fetched beyond the first chunk, an empty one has none.
                chunk = next(iter(found.stream(min_chunk_size=MAX_BYTES)), b"")
            except FileNotFoundError:
                return None
        return bytes(chunk)[:MAX_BYTES] or None

    def sequences(self) -> Iterator[int]:
        """Yield the numbers of all records, lowest first."""
        for folder in sorted(self._bucket.folders("records")):
            found = self._bucket.objects(f"records/{folder}")
            names = [Path(item["path"]) for item in found if item["size"]]
            yield from sorted(
                int(name.stem) for name in names if name.suffix == ".json" and name.stem.isdecimal()
            )


def _key(sequence: int) -> str:
    return f"records/{record_name(sequence)}"
