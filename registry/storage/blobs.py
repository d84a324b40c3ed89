"""Content-addressed bytes: a blob's path is its SHA-256, so it can never be changed, only lost.

blobs/sha256/ab/cd/abcd...    whole, verified, read-only
quarantine/abcd...-1f2e3d4c   found damaged; kept for people to look at, never read back
trash/abcd...                 nothing referred to it; on its way out
tmp/                          being written; nothing in it is ever read back
"""

import hashlib
import os
import re
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from registry.errors import CorruptBlobError
from registry.storage.durable import (
    flush,
    fsync_folder,
    make_folders,
    scratch_file,
    settle,
    storage_errors,
)
from registry.storage.files import (
    FileInfo,
    Stored,
    hash_stream,
    is_digest,
    parse_digest,
    require_same,
)
from registry.storage.intake import Arrival, take_in

_STAGED_AT_ONCE = 64
_SHARD = re.compile("[0-9a-f]{2}")

CURE = "Run `hubkit fsck --repair`, then publish or pull the same adapter again if need be."


class BlobStore:
    """The blobs of one registry.

    Args:
        root: Folder that holds ``blobs/`` and the others; each is made when first needed.
    """

    def __init__(self, root: Path) -> None:
        """Touch nothing on disk yet."""
        self.root = root / "blobs" / "sha256"
        self.quarantine = root / "quarantine"
        self.trash = root / "trash"
        self.scratch = root / "tmp"

    def path(self, digest: str) -> Path:
        """Return where the blob is, or would be.

        Raises:
            InvalidNameError: `digest` is not 64 lower-case hexadecimal digits.
        """
        parse_digest(digest)
        return self.root.joinpath(digest[:2], digest[2:4], digest)

    def location(self, digest: str) -> str:
        """Return where people find the blob, or would."""
        return str(self.path(digest))

    def has(self, digest: str) -> bool:
        """Whether there is a file of this name; what is in it is not looked at."""
        return self.path(digest).is_file()

    def size(self, digest: str) -> int | None:
        """Return how many bytes the blob's file has; None if there is no file.

        Raises:
            StorageError: It cannot be looked at.
        """
        place = f"{self.root}/{parse_digest(digest)[:2]}/{digest[2:4]}/{digest}"  # a Path is slow
        with storage_errors("look at", place):
            try:
                return os.stat(place).st_size
            except FileNotFoundError:
                return None

    def examine(self, digest: str, *, size: int | None = None) -> FileInfo | None:
        """Return what the blob's file holds now, right or wrong; None if there is no file.

        Args:
            digest: Whose file.
            size: How many bytes it should have, so that no more than one beyond them is read;
                default: no bound.

        Raises:
            StorageError: It cannot be read.
        """
        path = self.path(digest)
        with storage_errors("read", path):
            try:
                with path.open("rb") as stream:
                    return hash_stream(stream, most=size)
            except FileNotFoundError:
                return None

    def set_aside(self, digest: str) -> str | None:
        """Move a damaged blob to the quarantine; return where it is now, None if it is intact.

        Raises:
            StorageError: It cannot be read or moved.
        """
        found = self.examine(digest)
        if found is None or found.sha256 == digest:
            return None
        source = self.path(digest)
        target = self.quarantine / f"{digest}-{uuid.uuid4().hex[:8]}"
        with storage_errors("move the damaged blob", source):
            make_folders(self.quarantine)
            os.replace(source, target)
            fsync_folder(self.quarantine)
            fsync_folder(source.parent)
        return str(target)

    def prefixes(self) -> set[str]:
        """Return what the digests of all blobs start with, two digits each; may be more."""
        with storage_errors("read", self.root):
            return {*os.listdir(self.root)} if self.root.is_dir() else set()

    def unknown(self, prefix: str, known: Container[str]) -> Iterator[Stored]:
        """Yield the blobs, but those in `known`, whose digests start with two given digits.

        Files of other names are not hubkit's, and are left out.

        Raises:
            StorageError: A folder cannot be read.
        """
        shard = self.root / prefix
        with storage_errors("read", shard):
            for place in filter(_SHARD.fullmatch, os.listdir(shard)):
                with os.scandir(shard / place) as entries:
                    for entry in entries:
                        if entry.name in known or not is_digest(entry.name):
                            continue
                        with suppress(FileNotFoundError):  # set aside by another process
                            state = entry.stat()
                            modified = datetime.fromtimestamp(state.st_mtime, UTC)
                            yield Stored(entry.name, state.st_size, modified)

    def discard(self, digests: Iterable[str]) -> None:
        """Take away blobs that nothing refers to, in the transaction that made sure of that.

        Raises:
            StorageError: One cannot be moved to the trash.
        """
        for digest in digests:
            source = self.path(digest)
            # Another process may have set it aside.
            with storage_errors("move to the trash", source), suppress(FileNotFoundError):
                os.replace(source, self.trash / digest)

    def empty_trash(self) -> None:
        """Remove what was discarded, by this process or by one that was killed.

        Raises:
            StorageError: Something cannot be removed.
        """
        with storage_errors("empty", self.trash):
            make_folders(self.trash)
            for name in os.listdir(self.trash):
                (self.trash / name).unlink()

    def put(
        self, stream: BinaryIO, expected: FileInfo | None = None, *, label: str = "the stream"
    ) -> FileInfo:
        """Store the bytes of `stream`, once, and return what identifies them.

        Bytes are hashed while they are copied and appear under their digest only when all of
        them are on the disk, so a crash at any moment leaves no blob or a whole one.

        Args:
            stream: Read to its end, unless a blob like `expected` is already there.
            expected: What the bytes must be; default: whatever they are.
            label: What the bytes are, for messages.

        Raises:
            CorruptBlobError: The bytes are not the expected ones; nothing was stored.
            StorageError: The disk is full or not writable; nothing was stored.
        """
        (info,) = take_in(self, [Arrival(lambda: nullcontext(stream), expected, label)])
        return info

    def put_all(self, arrivals: Iterable[Arrival]) -> None:
        """As `put`, with the waits for the disk of many blobs in common."""
        remaining = iter(arrivals)
        while batch := list(islice(remaining, _STAGED_AT_ONCE)):
            take_in(self, batch)

    def open(self, digest: str, *, label: str = "the blob") -> BinaryIO:
        """Open the blob for reading; whoever reads it checks the digest.

        Raises:
            CorruptBlobError: It is not there.
            StorageError: It cannot be read.
        """
        path = self.path(digest)
        with storage_errors("read", path):
            try:
                return path.open("rb")
            except FileNotFoundError as error:
                raise CorruptBlobError(
                    f"{label}: the registry lost its bytes: expected them in {path}, found no "
                    f"file. {CURE}",
                    label,
                ) from error

    def verify(self, info: FileInfo, *, label: str = "the blob") -> None:
        """Read the whole blob and compare it with what it should be.

        Raises:
            CorruptBlobError: It is missing, truncated or altered.
        """
        source = self.open(info.sha256, label=label)
        with source, self._reading(info.sha256):
            found = hash_stream(source, most=info.size)
        self._require_intact(label, info, found)

    def read(self, digest: str, *, most: int, label: str = "the blob") -> bytes:
        """Return the bytes of a small blob, verified.

        Args:
            digest: What the bytes must hash to.
            most: The largest size accepted, in bytes.
            label: What the bytes are, for messages.

        Raises:
            CorruptBlobError: It is missing, larger than `most`, truncated or altered.
        """
        source = self.open(digest, label=label)
        with source, self._reading(digest):
            content = source.read(most)
        found = FileInfo(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        self._require_intact(label, FileInfo(sha256=digest, size=found.size), found)
        return content

    def copy_to(self, info: FileInfo, destination: Path, *, label: str = "the blob") -> None:
        """Write the blob to a file outside the registry, verified while it is copied.

        Args:
            info: What the bytes must be.
            destination: The file to create or replace; its folder must exist.
            label: What the bytes are, for messages.

        Raises:
            CorruptBlobError: It is missing, truncated or altered; `destination` is as it was.
            StorageError: The disk is full or not writable; `destination` is as it was.
        """
        with (
            self.open(info.sha256, label=label) as source,
            storage_errors("write", destination),
            scratch_file(destination.parent, mode=0o666) as file,
        ):
            found = hash_stream(source, most=info.size, target=file)
            self._require_intact(label, info, found)
            flush(file)
            settle(file, destination)

    def _reading(self, digest: str) -> AbstractContextManager[None]:
        return storage_errors("read", self.path(digest))

    def holds(self, info: FileInfo) -> bool:
        """Whether these very bytes are there: they are read; its name may not be on the disk yet.

        Raises:
            StorageError: The blob cannot be read.
        """
        return self.examine(info.sha256, size=info.size) == info

    def _require_intact(self, label: str, expected: FileInfo, found: FileInfo) -> None:
        cure = f" They are stored in {self.location(expected.sha256)}. {CURE}"
        require_same(label, expected, found, cure)


def open_blobs(root: Path, url: str | None = None) -> BlobStore:
    """Return the blobs of a registry.

    Args:
        root: The registry's folder.
        url: Where the blobs are, such as ``s3://bucket/folder``; default: in `root`.

    Raises:
        StorageError: `url` is malformed, or its client is not installed.
    """
    if url is None:
        return BlobStore(root)
    from registry.storage.object_blobs import ObjectBlobStore

    return ObjectBlobStore(root, url)
