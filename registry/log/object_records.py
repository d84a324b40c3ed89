"""The log's entries in object storage, where all machines that share a registry find them.

<url>/records/000/000000012.json    entry 12, whole
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from registry.log.records import MAX_BYTES, RecordStore, record_name
from registry.storage.blobs import BlobStore
from registry.storage.bucket import Bucket
from registry.storage.durable import at_once
from registry.storage.object_blobs import ObjectBlobStore


class ObjectRecordStore(RecordStore):
    """The entries of one registry, in object storage.

    Args:
        bucket: What holds ``records/``.
    """

    def __init__(self, bucket: Bucket) -> None:
        """Connect to nothing yet."""
        self._bucket = bucket

    def location(self, sequence: int | None = None) -> str:
        """As `RecordStore.location`."""
        return self._bucket.location("records" if sequence is None else _key(sequence))

    def put(self, sequence: int, content: bytes) -> None:
        """As `RecordStore.put`, but that an answer which is lost may leave the object there.

        That is no worse than a transaction that was never committed: the next one replaces it.
        """
        with self._bucket.errors("write a record in"):
            self._bucket.obstore.put(self._bucket.store, _key(sequence), content)

    def put_all(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """As `RecordStore.put_all`, several at once: each mostly waits for the network."""
        at_once([partial(self.put, *entry) for entry in entries])

    def has(self, sequence: int) -> bool:
        """As `RecordStore.has`."""
        return bool(self._bucket.size(_key(sequence)))

    def get(self, sequence: int) -> bytes | None:
        """As `RecordStore.get`."""
        with self._bucket.errors("read"):
            try:
                found = self._bucket.obstore.get(self._bucket.store, _key(sequence))
                # A larger object is not fetched beyond the first chunk, an empty one has none.
                chunk = next(iter(found.stream(min_chunk_size=MAX_BYTES)), b"")
            except FileNotFoundError:
                return None
        return bytes(chunk)[:MAX_BYTES] or None

    def sequences(self) -> Iterator[int]:
        """As `RecordStore.sequences`."""
        for folder in sorted(self._bucket.folders("records")):
            found = self._bucket.objects(f"records/{folder}")
            names = [Path(item["path"]) for item in found if item["size"]]
            yield from sorted(
                int(name.stem) for name in names if name.suffix == ".json" and name.stem.isdecimal()
            )


def open_records(root: Path, blobs: BlobStore) -> RecordStore:
    """Return the records of a registry, which are kept where its blobs are.

    Args:
        root: The registry's folder.
        blobs: What `open_blobs` returned.
    """
    return (
        ObjectRecordStore(blobs.bucket)
        if isinstance(blobs, ObjectBlobStore)
        else (RecordStore(root))
    )


def _key(sequence: int) -> str:
    return f"records/{record_name(sequence)}"
