"""A store of blobs: bytes under their SHA-256, which never change and can only be lost.

`registry.storage.folder_blobs` keeps them in a folder, `registry.storage.object_blobs` in object
storage; `registry.store` chooses. Functions for both are below the protocol.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from registry.errors import DamagedBlobError
from registry.storage.durable import flush, scratch_file, settle, storage_errors
from registry.storage.files import FileInfo, hash_stream, require_same
from registry.storage.receiver import Receiver

_CURE = "Publish or pull the same adapter again if it cannot be fetched from its origin."


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob that is there.

    Attributes:
        digest: Its name.
        size: Its bytes.
        modified: When it was written.
    """

    digest: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Arrival:
    """Bytes to be stored.

    Attributes:
        open: Opens them; called at most once.
        expected: Their size and digest; None for any.
        label: Their name, for messages.
    """

    open: Callable[[], AbstractContextManager[BinaryIO]]
    expected: FileInfo | None
    label: str


class BlobStore(Protocol):
    """The blobs of one registry.

    Every method raises:
        InvalidNameError: A digest is not 64 lower-case hexadecimal digits.
        StorageError: The storage cannot be reached, read or written.
    """

    def location(self, digest: str | None = None) -> str:
        """Return the path or URL of a blob, or of all blobs, for messages."""

    def is_new(self) -> bool:
        """Whether no blob was ever stored here."""

    def size(self, digest: str) -> int | None:
        """Return how many bytes are stored as the blob, in its place or in the trash; None if none.

        Nothing is moved.
        """

    def ensure_in_place(self, digest: str) -> int | None:
        """Bring the blob back if it is in the trash; return its size, None if it is nowhere.

        `examine` and `open` do the same before they read.
        """

    def examine(self, digest: str, *, size: int | None = None) -> FileInfo | None:
        """Return the size and digest of the stored bytes, right or wrong; None if there are none.

        Args:
            digest: Which blob.
            size: How many bytes it should have: reading stops one byte after them. Default: no
                bound.
        """

    def open(self, digest: str, *, label: str = "the blob", buffer: int | None = None) -> BinaryIO:
        """Open the blob for reading; the reader checks the digest.

        What goes wrong while it is read is a StorageError, too.

        Args:
            digest: Which blob.
            label: What it is, for messages.
            buffer: Bytes to fetch at once where fewer are asked for; 1 for no byte that is not.
                Default: as many as the storage is quick with.

        Raises:
            CorruptBlobError: It is not there.
        """

    def put(
        self, stream: BinaryIO, expected: FileInfo | None = None, *, label: str = "the stream"
    ) -> FileInfo:
        """Store the bytes of `stream` once, and return their size and digest.

        Bytes are hashed while they are copied. They appear under their digest when all of them are
        durable, so a crash at any moment leaves no blob, or a whole one.

        Args:
            stream: Read to its end, unless a blob like `expected` is already there.
            expected: What the bytes must be; default: whatever they are.
            label: What the bytes are, for messages.

        Raises:
            CorruptBlobError: The bytes are not the expected ones; nothing was stored.
            StorageError: The disk is full or not writable; nothing was stored.
        """

    def put_all(self, arrivals: Iterable[Arrival]) -> None:
        """As `put`, for many blobs, which wait for the storage together."""

    def receive(self, expected: FileInfo | None, label: str) -> Receiver:
        """Return a receiver that takes bytes as they come, and stores them as `put` does.

        They are hashed also where such a blob is already there.

        Args:
            expected: What the bytes must be; None for whatever they are.
            label: What they are, for messages.

        Raises:
            StorageError: The disk is full or not writable.
        """

    def set_aside(self, digest: str) -> str | None:
        """Move a damaged blob to the quarantine; return where it is now, None if it is intact."""

    def find_set_aside(self, digest: str) -> list[str]:
        """Return the paths or URLs of damaged bytes of a digest that are kept."""

    def find_strays(self) -> Iterator[str]:
        """Yield the paths or URLs of files among the blobs that are not hubkit's.

        A blob that no version refers to is garbage, and no stray. A folder that cannot be read is
        left out: the check of the blobs in it reports it.
        """

    def prefixes(self) -> set[str]:
        """Return the first two digits of the digests of all blobs; may be more."""

    def unknown(self, prefix: str, known: Container[str]) -> Iterator[Stored]:
        """Yield the blobs whose digests start with two given digits, but those in `known`.

        Files of other names are not hubkit's, and are left out.
        """

    def discard(self, digests: Iterable[str]) -> None:
        """Move blobs to the trash, each under a name that no other call gives it.

        Nothing is lost by it: `ensure_in_place`, `examine` and `open` bring a blob back from the
        trash, so this needs no lock. `remove` needs one, and proof afterwards that it was held.
        """

    def trash(self) -> dict[str, Stored]:
        """Return the blobs in the trash by their names there."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove blobs from the trash for good."""


def read_blob(blobs: BlobStore, digest: str, *, most: int, label: str = "the blob") -> bytes:
    """Return the bytes of a small blob, verified.

    Args:
        blobs: Where it is.
        digest: The digest of the bytes.
        most: The largest size accepted, in bytes.
        label: What the bytes are, for messages.

    Raises:
        CorruptBlobError: It is missing, larger than `most`, truncated or altered.
    """
    with blobs.open(digest, label=label) as source:
        content = source.read(most)
    found = FileInfo.of(content)
    _require_intact(blobs, label, FileInfo(sha256=digest, size=found.size), found)
    return content


def verify_blob(blobs: BlobStore, info: FileInfo, *, label: str = "the blob") -> None:
    """Read the whole blob, and compare its size and digest.

    Raises:
        CorruptBlobError: It is missing, truncated or altered.
    """
    with blobs.open(info.sha256, label=label) as source:
        found = hash_stream(source, most=info.size)
    _require_intact(blobs, label, info, found)


def copy_blob(
    blobs: BlobStore, info: FileInfo, destination: Path, *, label: str = "the blob"
) -> None:
    """Write the blob to a file outside the registry, verified while it is copied.

    Args:
        blobs: Where it is.
        info: The size and digest of the bytes.
        destination: The file to create or replace; its folder must exist.
        label: What the bytes are, for messages.

    Raises:
        CorruptBlobError: It is missing, truncated or altered; `destination` is as it was.
        StorageError: The disk is full or not writable; `destination` is as it was.
    """
    with (
        blobs.open(info.sha256, label=label) as source,
        storage_errors("write", destination),
        scratch_file(destination.parent, mode=0o666) as file,
    ):
        found = hash_stream(source, most=info.size, target=file)
        _require_intact(blobs, label, info, found)
        flush(file)
        settle(file, destination)


def _require_intact(blobs: BlobStore, label: str, expected: FileInfo, found: FileInfo) -> None:
    cure = f" They are stored in {blobs.location(expected.sha256)}. {_CURE}"
    require_same(label, expected, found, cure, DamagedBlobError)


def lost_blob(label: str, location: str) -> DamagedBlobError:
    """Return the error of a blob that is not there."""
    return DamagedBlobError(
        f"{label}: the registry lost its bytes: expected them in {location}, found nothing. "
        f"{_CURE}",
        label,
    )
