"""Files with rows: one, several that a pattern names, or objects of a storage."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path
from tempfile import TemporaryDirectory

from registry.errors import DataError
from registry.storage.bucket import Bucket
from registry.storage.durable import storage_errors
from registry.storage.place import Copy, Place


@dataclass(frozen=True)
class File:
    """A file on this machine, or an object of a storage.

    Attributes:
        called: Its path, or its URL.
        tag: What the storage calls its content, which changes with it; None for a path.
        stamp: Its size and when it was last written; None if it is not to be compared.
    """

    called: str
    tag: str | None = None
    stamp: tuple[int, int] | None = None

    @classmethod
    def at(cls, path: str) -> File:
        """The file of a path, as it is now."""
        return cls(path, stamp=_stamp(path))

    def __str__(self) -> str:
        return self.called

    @property
    def digest(self) -> str:
        """What changes with its content."""
        if self.tag is not None:
            return self.tag
        with storage_errors("read", self.called), open(self.called, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def require_same(self) -> None:
        """Make sure that a path is as it was found; ``at_hand`` sees to objects.

        Raises:
            DataError: It has changed.
            StorageError: It is gone.
        """
        if self.stamp is not None and self.stamp != _stamp(self.called):
            raise DataError(f"{self} has changed since this run began.", self.called)

    @contextmanager
    def at_hand(self) -> Iterator[Place]:
        """The file to read; of an object, a copy that is there as long as the block runs.

        Raises:
            StorageError: It cannot be fetched, or is no longer what it was, or a disk is full.
        """
        if self.tag is None:
            yield Path(self.called)
            return
        folder, _, key = self.called.rpartition("/")
        with TemporaryDirectory(prefix="hubkit-") as place:
            copy = Copy(Path(place, key), self.called)
            Bucket(folder).fetch(key, copy.path, self.tag)
            yield copy


def files_of(source: str) -> list[File]:
    """The files that a path or a URL names, in the order of their names.

    Args:
        source: Of a file, or a pattern: ``*`` and ``?`` stand for anything but a slash, as in
            ``rows/*.csv`` or ``s3://bucket/rows/part-?.parquet``.

    Raises:
        DataError: There is none.
        StorageError: A storage does not answer, or its client is not installed.
    """
    if "://" in source:
        found = _objects(source)
    elif Path(source).exists():
        found = [File.at(source)]
    else:
        found = [File.at(path) for path in glob(source) if Path(path).is_file()]
    if not found:
        wanted = "No file is called like {}." if has_magic(source) else "{} does not exist."
        raise DataError(wanted.format(source), source)
    return sorted(found, key=lambda file: file.called)


def _stamp(path: str) -> tuple[int, int]:
    with storage_errors("read", path):
        found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _objects(url: str) -> list[File]:
    scheme, _, path = url.partition("://")
    parts = path.split("/")
    first = next((at for at, part in enumerate(parts) if has_magic(part)), len(parts) - 1)
    if not (first and parts[-1]):
        raise DataError(f"{url} names no object: expected {scheme}://BUCKET/FOLDER/NAME.", url)
    bucket = Bucket(f"{scheme}://{'/'.join(parts[:first])}")
    wanted = parts[first:]
    if not has_magic(url):
        tag = bucket.tag(parts[-1])
        return [] if tag is None else [File(url, tag)]
    return [
        File(bucket.location(key), tag)
        for key, tag in bucket.tags()
        if len(names := key.split("/")) == len(wanted) and all(map(fnmatchcase, names, wanted))
    ]
