"""Blobs in object storage: S3, Google Cloud Storage or Azure, by URL.

<url>/sha256/ab/cd/abcd...         whole and verified: an upload that fails leaves no object
<url>/quarantine/abcd...-1f2e3d4c  found damaged; kept for people to look at, never read back
"""

import hashlib
import io
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from registry.errors import CorruptBlobError
from registry.storage.blobs import CURE, BlobStore
from registry.storage.bucket import Bucket
from registry.storage.files import (
    CHUNK,
    FileInfo,
    Stored,
    hash_stream,
    is_digest,
    parse_digest,
    require_same,
)
from registry.storage.intake import Arrival

if TYPE_CHECKING:
    from obstore import ReadableFile

PART = 8 * 1024 * 1024
"""Bytes of a part of a larger blob, each of which is uploaded, and repeated, by itself."""


class ObjectBlobStore(BlobStore):
    """The blobs of one registry, in object storage.

    Args:
        root: The registry's folder, for what is kept on this machine.
        url: ``s3://bucket/folder``, ``gs://...`` or ``az://...``.

    Raises:
        StorageError: `url` is malformed, or the client is not installed.
    """

    def __init__(self, root: Path, url: str) -> None:
        """Connect to nothing yet."""
        super().__init__(root)
        self.bucket = Bucket(url)
        self.url = self.bucket.url
        self._obstore, self._store = self.bucket.obstore, self.bucket.store

    def location(self, digest: str) -> str:
        """Return the URL of a blob, for messages."""
        return self.bucket.location(_key(digest))

    def has(self, digest: str) -> bool:
        """Whether there is an object of this name; what is in it is not looked at."""
        return self.size(digest) is not None

    def examine(self, digest: str, *, size: int | None = None) -> FileInfo | None:
        """As `BlobStore.examine`."""
        with self.bucket.errors("read"):
            if self.size(digest) is None:
                return None
            with self._read(digest) as stream:
                return hash_stream(stream, most=size)

    def set_aside(self, digest: str) -> str | None:
        """As `BlobStore.set_aside`."""
        found = self.examine(digest)
        if found is None or found.sha256 == digest:
            return None
        target = f"quarantine/{digest}-{uuid.uuid4().hex[:8]}"
        with self.bucket.errors("move a damaged blob in"):
            self._obstore.copy(self._store, _key(digest), target)
            self._obstore.delete(self._store, _key(digest))
        return self.bucket.location(target)

    def prefixes(self) -> set[str]:
        """As `BlobStore.prefixes`."""
        return self.bucket.folders("sha256")

    def unknown(self, prefix: str, known: Container[str]) -> Iterator[Stored]:
        """As `BlobStore.unknown`."""
        for item in self.bucket.objects(f"sha256/{prefix}"):
            digest = item["path"].rpartition("/")[2]
            if digest not in known and is_digest(digest):
                yield Stored(digest, item["size"], item["last_modified"])

    def discard(self, digests: Iterable[str]) -> None:
        """As `BlobStore.discard`, but for good: object storage cannot rename."""
        keys = [_key(digest) for digest in digests]
        if keys:
            with self.bucket.errors("remove garbage from"), suppress(FileNotFoundError):
                self._obstore.delete(self._store, keys)

    def empty_trash(self) -> None:
        """Do nothing: there is none."""

    def put(
        self, stream: BinaryIO, expected: FileInfo | None = None, *, label: str = "the stream"
    ) -> FileInfo:
        """As `BlobStore.put`; what is larger than a part is uploaded in parts while it is hashed.

        An object appears when its last byte is there, which is only sent when the digest is right.
        """
        if expected is None:
            # Its name is only known at its end: such bytes, as of a manifest, are few.
            content = stream.read()
            expected = FileInfo(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
            stream = io.BytesIO(content)
        with self.bucket.errors(f"store {label} in"):
            if self.size(expected.sha256) == expected.size:
                return expected
            if expected.size <= PART:
                content = stream.read(expected.size + 1)
                found = FileInfo(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
                _require_sent(label, expected, found)
                try:
                    self._obstore.put(self._store, _key(found.sha256), content, mode="create")
                except self._obstore.exceptions.AlreadyExistsError:
                    if self.size(found.sha256) != found.size:
                        self._obstore.put(self._store, _key(found.sha256), content)
            else:
                failures: list[CorruptBlobError] = []
                try:
                    self._obstore.put(
                        self._store,
                        _key(expected.sha256),
                        _checked(stream, expected, label, failures),
                        use_multipart=True,
                        chunk_size=PART,
                        max_concurrency=4,
                    )
                except Exception as error:
                    if failures:  # the client wraps what its source raises
                        raise failures[0] from error
                    raise
        return expected

    def put_all(self, arrivals: Iterable[Arrival]) -> None:
        """As `BlobStore.put_all`."""
        for arrival in arrivals:
            with arrival.open() as stream:
                self.put(stream, arrival.expected, label=arrival.label)

    def open(self, digest: str, *, label: str = "the blob") -> BinaryIO:
        """As `BlobStore.open`; only the ranges that are read are fetched."""
        with self.bucket.errors("read"):
            try:
                return self._read(digest)
            except FileNotFoundError as error:
                raise CorruptBlobError(
                    f"{label}: the registry lost its bytes: expected them in "
                    f"{self.location(digest)}, found nothing. {CURE}",
                    label,
                ) from error

    def _read(self, digest: str) -> BinaryIO:
        reader = self._obstore.open_reader(self._store, _key(digest), buffer_size=4 * CHUNK)
        return cast(BinaryIO, io.BufferedReader(_Stream(reader), CHUNK))

    def _reading(self, digest: str) -> AbstractContextManager[None]:
        return self.bucket.errors("read")

    def size(self, digest: str) -> int | None:
        """As `BlobStore.size`."""
        return self.bucket.size(_key(digest))


class _Stream(io.RawIOBase):
    """What `obstore` reads, as a file of the standard library."""

    def __init__(self, reader: "ReadableFile") -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        content = self._reader.read(len(buffer))
        buffer[: len(content)] = memoryview(content)
        return len(content)


def _checked(
    stream: BinaryIO, expected: FileInfo, label: str, failures: list[CorruptBlobError]
) -> Iterator[bytes]:
    """Yield the bytes of `stream`, all but the last of them before it is sure they are right."""
    sha256 = hashlib.sha256()
    size, held = 0, b""
    while size <= expected.size and (chunk := stream.read(CHUNK)):
        sha256.update(chunk)
        size += len(chunk)
        if held:
            yield held
        held = chunk
    try:
        _require_sent(label, expected, FileInfo(sha256=sha256.hexdigest(), size=size))
    except CorruptBlobError as error:
        failures.append(error)
        raise
    yield held


def _require_sent(label: str, expected: FileInfo, found: FileInfo) -> None:
    cure = " Nothing was stored: copy, pull or write the file again."
    require_same(label, expected, found, cure)


def _key(digest: str) -> str:
    parse_digest(digest)
    return f"sha256/{digest[:2]}/{digest[2:4]}/{digest}"
