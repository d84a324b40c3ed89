"""Blobs in object storage: S3, Google Cloud Storage or Azure, by URL.

<url>/sha256/ab/cd/abcd...         whole and verified: an upload that fails leaves no object
<url>/quarantine/abcd...-1f2e3d4c  found damaged; kept for people to look at, never read back
<url>/trash/abcd.../1f2e3d4c       nothing referred to it; on its way out, brought back if needed
"""

import hashlib
import io
import re
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO, cast

from registry.errors import CorruptBlobError
from registry.storage.blobs import (
    Arrival,
    Stored,
    lost_blob,
)
from registry.storage.bucket import Bucket
from registry.storage.durable import at_once, make_folders, storage_errors
from registry.storage.files import (
    CHUNK,
    FileInfo,
    hash_stream,
    is_digest,
    parse_digest,
    require_same,
)
from registry.storage.receiver import NOTHING_STORED, Receiver

_BUFFER = 4 * CHUNK
"""Bytes of one request if a whole blob is read in small steps."""

PART = 8 * 1024 * 1024
"""Bytes of a part of a larger blob, each of which is uploaded, and repeated, by itself."""

_BLOB = re.compile(r"sha256/([0-9a-f]{2})/([0-9a-f]{2})/\1\2[0-9a-f]{60}")


class ObjectBlobStore:
    """The blobs of one registry, in object storage; `BlobStore` says what each method is for.

    Args:
        url: ``s3://bucket/folder``, ``gs://...`` or ``az://...``.
        scratch: The folder for received bytes; it is made when first needed. Default: the
            system's own for such files.

    Raises:
        StorageError: `url` is malformed, or the client is not installed.
    """

    def __init__(self, url: str, scratch: Path | None = None) -> None:
        """Connect to nothing yet."""
        self._scratch = Path(gettempdir()) if scratch is None else scratch
        self.bucket = Bucket(url)
        self.url = self.bucket.url
        self._obstore, self._store = self.bucket.obstore, self.bucket.store

    def location(self, digest: str | None = None) -> str:
        """Return the URL of a blob, or of the place of all."""
        return self.bucket.location("sha256" if digest is None else _key(digest))

    def is_new(self) -> bool:
        """Whether there is no blob."""
        return not self.prefixes()

    def size(self, digest: str) -> int | None:
        """Return how many bytes the blob has, in its place or in the trash; None if none."""
        key = _key(digest)
        found = self.bucket.size(key)
        if found is None:
            found = next((item["size"] for item in self.bucket.objects(f"trash/{digest}")), None)
        # Another process may have brought it back just now.
        return self.bucket.size(key) if found is None else found

    def ensure_in_place(self, digest: str) -> int | None:
        """Bring the blob back if it is in the trash; return its size, None if it is nowhere."""
        key = _key(digest)
        found = self.bucket.size(key)
        return self.bucket.size(key) if found is None and self._bring_back(digest) else found

    def examine(self, digest: str, *, size: int | None = None) -> FileInfo | None:
        """Return size and digest of the blob's object, right or wrong; None if there is none."""
        stream = self._open(digest)
        if stream is None:
            return None
        with stream:
            return hash_stream(stream, most=size)

    def open(self, digest: str, *, label: str = "the blob", buffer: int | None = None) -> BinaryIO:
        """Open the blob's object; only the ranges that are read are fetched."""
        stream = self._open(digest, buffer or _BUFFER)
        if stream is None:
            raise lost_blob(label, self.location(digest))
        return stream

    def set_aside(self, digest: str) -> str | None:
        """Move a damaged blob to the quarantine; return its URL, None if it is intact."""
        found = self.examine(digest)
        if found is None or found.sha256 == digest:
            return None
        target = f"quarantine/{digest}-{uuid.uuid4().hex[:8]}"
        with self.bucket.errors("move a damaged blob in"):
            self._obstore.copy(self._store, _key(digest), target)
            self._obstore.delete(self._store, _key(digest))
        return self.bucket.location(target)

    def find_set_aside(self, digest: str) -> list[str]:
        """Return the URLs of damaged bytes of a digest."""
        keys = [item["path"] for item in self.bucket.objects("quarantine")]
        return [self.bucket.location(key) for key in sorted(keys) if f"/{digest}-" in key]

    def find_strays(self) -> Iterator[str]:
        """Yield the URLs of objects among the blobs that are not hubkit's."""
        for item in self.bucket.objects("sha256"):
            if not _BLOB.fullmatch(item["path"]):
                yield self.bucket.location(item["path"])

    def prefixes(self) -> set[str]:
        """Return the first two digits of the digests of all blobs."""
        return self.bucket.folders("sha256")

    def unknown(self, prefix: str, known: Container[str]) -> Iterator[Stored]:
        """Yield the blobs whose digests start with two given digits, but those in `known`."""
        for item in self.bucket.objects(f"sha256/{prefix}"):
            digest = item["path"].rpartition("/")[2]
            if digest not in known and is_digest(digest):
                yield Stored(digest, item["size"], item["last_modified"])

    def discard(self, digests: Iterable[str]) -> None:
        """Move blobs to the trash, each under a name that no other call gives it."""
        at_once([partial(self._discard, digest) for digest in digests])

    def _discard(self, digest: str) -> None:
        target = f"trash/{digest}/{uuid.uuid4().hex[:8]}"
        with self.bucket.errors("move garbage in"), suppress(FileNotFoundError):
            self._obstore.copy(self._store, _key(digest), target)
            self._obstore.delete(self._store, _key(digest))

    def trash(self) -> dict[str, Stored]:
        """Return the blobs in the trash by their keys."""
        found = {}
        for item in self.bucket.objects("trash"):
            digest = item["path"].split("/")[1]
            if is_digest(digest):
                found[item["path"]] = Stored(digest, item["size"], item["last_modified"])
        return found

    def _bring_back(self, digest: str) -> bool:
        """Copy a blob out of the trash; return whether it was there.

        It stays in the trash, too: the process that put it there may not have removed it from its
        place yet.
        """
        for item in self.bucket.objects(f"trash/{parse_digest(digest)}"):
            with self.bucket.errors("bring back what is in"), suppress(FileNotFoundError):
                self._obstore.copy(self._store, item["path"], _key(digest))
                return True
        return False

    def remove(self, names: Iterable[str]) -> None:
        """Remove blobs from the trash for good."""
        with self.bucket.errors("remove garbage from"), suppress(FileNotFoundError):
            if keys := [*names]:
                self._obstore.delete(self._store, keys)

    def put(
        self, stream: BinaryIO, expected: FileInfo | None = None, *, label: str = "the stream"
    ) -> FileInfo:
        """Store the bytes of `stream`; more than a part is hashed while it is uploaded.

        An object appears when its last byte is there, which is only sent when the digest is right.
        """
        if expected is None:
            # Its name is only known at its end: such bytes, as of a manifest, are few.
            content = stream.read()
            expected = FileInfo.of(content)
            stream = io.BytesIO(content)
        with self.bucket.errors(f"store {label} in"):
            if self.bucket.size(_key(expected.sha256)) == expected.size:
                return expected
            if expected.size <= PART:
                content = stream.read(expected.size + 1)
                found = FileInfo.of(content)
                _require_sent(label, expected, found)
                try:
                    self._obstore.put(self._store, _key(found.sha256), content, mode="create")
                except self._obstore.exceptions.AlreadyExistsError:
                    if self.bucket.size(_key(found.sha256)) != found.size:
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

    def receive(self, expected: FileInfo | None, label: str) -> Receiver:
        """Return a receiver that takes bytes into a scratch file, and sends them at the end.

        So a slow client holds no upload open, which a kill would leave to be paid for, and nothing
        is sent that is wrong.
        """
        with storage_errors("make", self._scratch):
            make_folders(self._scratch)
        return Receiver(
            TemporaryFile(dir=self._scratch),
            partial(self._send, label),
            expected,
            label,
            self._scratch,
        )

    def _send(self, label: str, info: FileInfo, file: BinaryIO) -> None:
        file.seek(0)
        self.put(file, info, label=label)

    def put_all(self, arrivals: Iterable[Arrival]) -> None:
        """Store several blobs, one after the other."""
        for arrival in arrivals:
            with arrival.open() as stream:
                self.put(stream, arrival.expected, label=arrival.label)

    def _open(self, digest: str, buffer: int = _BUFFER) -> BinaryIO | None:
        size = self.ensure_in_place(digest)
        if size is None:
            return None
        stream = _Stream(self.bucket, _key(digest), size)
        return cast(BinaryIO, io.BufferedReader(stream, buffer))


class _Stream(io.RawIOBase):
    """An object as a file of the standard library; each read is a request."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        length = min(len(buffer), self._size - self._position)
        if length <= 0:
            return 0
        with self._bucket.errors("read"):
            content = self._bucket.obstore.get_range(
                self._bucket.store, self._key, start=self._position, length=length
            )
        buffer[: len(content)] = memoryview(content)
        self._position += len(content)
        return len(content)

    def readall(self) -> bytes:
        # Otherwise, each 8 KiB would be a request.
        return self.read(self._size - self._position) or b""


def _checked(
    stream: BinaryIO, expected: FileInfo, label: str, failures: list[CorruptBlobError]
) -> Iterator[bytes]:
    """Yield the bytes of `stream`; the last ones only when all are known to be right."""
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
    require_same(label, expected, found, NOTHING_STORED)


def _key(digest: str) -> str:
    parse_digest(digest)
    return f"sha256/{digest[:2]}/{digest[2:4]}/{digest}"
