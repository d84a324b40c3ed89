"""Blobs in a folder, written so that a crash leaves nothing half-done.

blobs/sha256/ab/cd/abcd...    whole, verified, read-only
quarantine/abcd...-1f2e3d4c   found damaged; kept for people, never read again
trash/abcd...-1f2e3d4c        nothing referred to it; about to be removed, brought back if needed
tmp/                          being written; never read again
"""

import os
import re
import uuid
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from registry.storage.blobs import (
    Arrival,
    Stored,
    lost_blob,
)
from registry.storage.durable import (
    at_once,
    flush,
    fsync_folder,
    make_folders,
    new_folders,
    scratch_file,
    storage_errors,
)
from registry.storage.files import (
    CHUNK,
    FileInfo,
    hash_stream,
    is_digest,
    open_file,
    parse_digest,
    require_same,
)
from registry.storage.receiver import NOTHING_STORED, Receiver

SCRATCH_NAME = "tmp"
"""The folder for files that are being written, in that of a registry."""

QUARANTINE_NAME = "quarantine"
"""The folder for damaged blobs, in that of a registry."""

_STAGED_AT_ONCE = 64
_SHARD = re.compile("[0-9a-f]{2}")
_FOLDER = re.compile(r"sha256(/[0-9a-f]{2}){0,2}")
_BLOB = re.compile(r"sha256/([0-9a-f]{2})/([0-9a-f]{2})/\1\2[0-9a-f]{60}")


class FolderBlobStore:
    """The blobs of one registry, in its folder; `BlobStore` says what each method is for.

    Args:
        root: Folder that holds ``blobs/`` and the others; each is made when first needed.
    """

    def __init__(self, root: Path) -> None:
        """Touch nothing on disk yet."""
        self.root = root / "blobs" / "sha256"
        self.quarantine = root / QUARANTINE_NAME
        self._trash = root / "trash"
        self.scratch = root / SCRATCH_NAME

    def path(self, digest: str) -> Path:
        """Return where the blob is, or would be.

        Raises:
            InvalidNameError: `digest` is not 64 lower-case hexadecimal digits.
        """
        parse_digest(digest)
        return self.root.joinpath(digest[:2], digest[2:4], digest)

    def location(self, digest: str | None = None) -> str:
        """Return the path of a blob, or of the folder of all."""
        return str(self.root.parent if digest is None else self.path(digest))

    def is_new(self) -> bool:
        """Whether there is no folder of blobs."""
        return not self.root.exists()

    def size(self, digest: str) -> int | None:
        """Return how many bytes the blob's file has, in its place or in the trash; None if none."""
        place = self._place(digest)
        with storage_errors("look at", place):
            found = _size_of(place)
            if found is None:
                sizes = map(_size_of, self._in_trash(digest))
                found = next((size for size in sizes if size is not None), None)
            # Another process may have brought it back just now.
            return _size_of(place) if found is None else found

    def ensure_in_place(self, digest: str) -> int | None:
        """Bring the blob back if it is in the trash; return its size, None if it is nowhere."""
        place = self._place(digest)
        with storage_errors("look at", place):
            found = _size_of(place)
            return _size_of(place) if found is None and self._bring_back(digest) else found

    def examine(self, digest: str, *, size: int | None = None) -> FileInfo | None:
        """Return the size and digest of the blob's file, right or wrong; None if there is none."""
        stream = self._open(digest)
        if stream is None:
            return None
        with stream:
            return hash_stream(stream, most=size)

    def open(self, digest: str, *, label: str = "the blob", buffer: int | None = None) -> BinaryIO:
        """Open the blob's file."""
        stream = self._open(digest, buffer or CHUNK)
        if stream is None:
            raise lost_blob(label, self.location(digest))
        return stream

    def put(
        self, stream: BinaryIO, expected: FileInfo | None = None, *, label: str = "the stream"
    ) -> FileInfo:
        """Store the bytes of `stream`."""
        (info,) = self._take_in([Arrival(lambda: nullcontext(stream), expected, label)])
        return info

    def put_all(self, arrivals: Iterable[Arrival]) -> None:
        """Store several blobs with two waits for the disk, rather than three for each."""
        remaining = iter(arrivals)
        while batch := list(islice(remaining, _STAGED_AT_ONCE)):
            self._take_in(batch)

    def receive(self, expected: FileInfo | None, label: str) -> Receiver:
        """Return a receiver that takes bytes as they come, in a scratch file."""
        with self._storing(label):
            make_folders(self.scratch)
        return Receiver(
            scratch_file(self.scratch),
            lambda info, file: self._settle([info], [(info, file)]),
            expected,
            label,
            self.root.parent,
        )

    def holds(self, info: FileInfo) -> bool:
        """Whether these bytes are stored; reads them. Their name may not be on the disk yet.

        Raises:
            StorageError: The blob cannot be read.
        """
        path = self.path(info.sha256)
        with storage_errors("read", path), suppress(FileNotFoundError), open_file(path) as stream:
            return hash_stream(stream, most=info.size) == info
        return False

    def set_aside(self, digest: str) -> str | None:
        """Move a damaged blob to the quarantine; return where it is now, None if it is intact."""
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

    def find_set_aside(self, digest: str) -> list[str]:
        """Return the paths of damaged bytes of a digest."""
        with storage_errors("read", self.quarantine):
            return sorted(map(str, self.quarantine.glob(f"{digest}-*")))

    def find_strays(self) -> Iterator[str]:
        """Yield the paths of files among the blobs that are not hubkit's."""
        yield from _strays_in(self.root.parent)

    def prefixes(self) -> set[str]:
        """Return the first two digits of the digests of all blobs; may be more."""
        with storage_errors("read", self.root):
            return {*os.listdir(self.root)} if self.root.is_dir() else set()

    def unknown(self, prefix: str, known: Container[str]) -> Iterator[Stored]:
        """Yield the blobs whose digests start with two given digits, but those in `known`."""
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
        """Move blobs to the trash, each under a name that no other call gives it."""
        with storage_errors("make", self._trash):
            make_folders(self._trash)
        for digest in digests:
            source = self.path(digest)
            # Another process may have set it aside, or discarded it.
            with storage_errors("move to the trash", source), suppress(FileNotFoundError):
                os.replace(source, self._trash / f"{digest}-{uuid.uuid4().hex[:8]}")

    def trash(self) -> dict[str, Stored]:
        """Return the blobs in the trash by their names there."""
        found = {}
        with storage_errors("read", self._trash), suppress(FileNotFoundError):
            for name in os.listdir(self._trash):
                digest = name.partition("-")[0]
                if is_digest(digest):
                    with suppress(FileNotFoundError):
                        state = os.stat(self._trash / name)
                        modified = datetime.fromtimestamp(state.st_mtime, UTC)
                        found[name] = Stored(digest, state.st_size, modified)
        return found

    def remove(self, names: Iterable[str]) -> None:
        """Remove blobs from the trash for good."""
        for name in names:
            path = self._trash / name
            with storage_errors("remove", path):
                path.unlink(missing_ok=True)

    def _place(self, digest: str) -> str:
        """As `path`, without making a `Path`, which is slower: checks call this for each blob."""
        return f"{self.root}/{parse_digest(digest)[:2]}/{digest[2:4]}/{digest}"

    def _in_trash(self, digest: str) -> list[str]:
        """Return where the blob lies in the trash; nowhere if the trash cannot be read."""
        with suppress(OSError):
            names = os.listdir(self._trash)
            return [f"{self._trash}/{name}" for name in names if name.startswith(digest)]
        return []

    def _bring_back(self, digest: str) -> bool:
        """Take a blob out of the trash; return whether it was there and could be moved."""
        for source in self._in_trash(digest):
            with suppress(OSError):  # another process has brought it back, or it cannot be moved
                path = self.path(digest)
                os.replace(source, path)
                fsync_folder(path.parent)
                return True
        return False

    def _open(self, digest: str, buffer: int = CHUNK) -> BinaryIO | None:
        path = self.path(digest)
        with storage_errors("read", path):
            try:
                return open_file(path, buffer=buffer)
            except FileNotFoundError:
                return open_file(path, buffer=buffer) if self._bring_back(digest) else None

    def _take_in(self, arrivals: Sequence[Arrival]) -> list[FileInfo]:
        """Store bytes, each under its digest, all of them durable on return."""
        infos: list[FileInfo] = []
        staged: list[tuple[FileInfo, BinaryIO]] = []
        label = arrivals[0].label + (f" and {len(arrivals) - 1} more" if arrivals[1:] else "")
        with self._storing(label), ExitStack() as scratch:
            for arrival in arrivals:
                with self._storing(arrival.label):
                    info = arrival.expected
                    if info is None or not self.holds(info):
                        info, file = self._stage(arrival, scratch)
                        staged.append((info, file))
                    infos.append(info)
            self._settle(infos, staged)
        return infos

    def _settle(
        self, infos: Sequence[FileInfo], staged: Sequence[tuple[FileInfo, BinaryIO]]
    ) -> None:
        """Make staged bytes appear under their digests, and all of `infos` durable."""
        targets = {self.path(info.sha256).parent for info in infos}
        # A folder that is there may be another process's, and not be on the disk yet.
        changed = {target.parent for target in targets} | {self.root}
        changed.update(folder for target in targets for folder in new_folders(target))
        waits = [partial(flush, file) for _, file in staged]
        at_once([*waits, *(partial(fsync_folder, folder) for folder in sorted(changed))])
        for info, file in staged:
            if not self.holds(info):  # another process may have been quicker
                os.chmod(file.name, 0o444)
                os.replace(file.name, self.path(info.sha256))
        # Of blobs that were there, too: the process that renamed one may not have done this yet.
        at_once([partial(fsync_folder, target) for target in sorted(targets)])

    def _stage(self, arrival: Arrival, scratch: ExitStack) -> tuple[FileInfo, BinaryIO]:
        """Copy bytes to a scratch file, and require that they are the right ones."""
        make_folders(self.scratch)
        file = scratch.enter_context(scratch_file(self.scratch))
        expected = arrival.expected
        with arrival.open() as stream:
            most = None if expected is None else expected.size
            found = hash_stream(stream, most=most, target=file)
        if expected is not None:
            require_same(arrival.label, expected, found, NOTHING_STORED)
        return found, file

    def _storing(self, label: str) -> AbstractContextManager[None]:
        return storage_errors(f"store {label} in", self.root.parent)


def _size_of(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def _strays_in(folder: Path | str, inside: str = "") -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = f"{inside}{entry.name}"
            expected = _FOLDER if entry.is_dir() else _BLOB
            if not expected.fullmatch(name):
                yield entry.path
            elif expected is _FOLDER:
                yield from _strays_in(entry.path, f"{name}/")
