"""The folders that readers take: on the disk, or as blobs that are not written out."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import BinaryIO

from registry.storage.blobs import BlobStore, read_blob
from registry.storage.files import CHUNK, FileInfo, open_file
from registry.storage.place import Place


@dataclass(frozen=True, slots=True)
class BlobFolder:
    """A folder whose files are blobs, or one of these files.

    It has the methods of `Path` that readers use, so they take either.

    Attributes:
        blobs: The blobs.
        files: The size and digest of each file of the folder, by path.
        called: The name of the folder in messages.
        renamed: The names of files in messages, by their paths.
        path: The path of the file; empty for the folder.
    """

    blobs: BlobStore
    files: Mapping[str, FileInfo]
    called: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    path: str = ""

    def __str__(self) -> str:
        """Return its name, for messages."""
        path = self.renamed.get(self.path, self.path)
        return f"{self.called}/{path}" if path else self.called

    def __truediv__(self, name: str) -> "BlobFolder":
        """Return a file in it."""
        return replace(self, path=f"{self.path}/{name}" if self.path else name)

    @property
    def name(self) -> str:
        """The last part of its name."""
        return str(self).rpartition("/")[2]

    @property
    def parent(self) -> "BlobFolder":
        """The folder that it is in."""
        return replace(self, path=self.path.rpartition("/")[0])

    @property
    def suffix(self) -> str:
        """The suffix of the file, as `Path.suffix`."""
        return PurePosixPath(self.path).suffix

    @property
    def info(self) -> FileInfo:
        """The size and the digest of the file; its bytes are not read."""
        return self.files[self.path]

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.path in self.files


Source = Place | BlobFolder
"""A folder for readers of configurations, cards and headers of weights."""


def open_source(source: Source, *, buffer: int = CHUNK) -> BinaryIO:
    """Open a file for reading; the digest of a blob is not checked.

    Args:
        source: The file.
        buffer: Fewest bytes to fetch at once; 1 fetches only the bytes asked for.

    Raises:
        NotAFileError: It is no regular file.
        CorruptBlobError: It is a blob that is not there.
        OSError: It cannot be read.
    """
    if isinstance(source, BlobFolder):
        return source.blobs.open(source.info.sha256, label=str(source), buffer=buffer)
    return open_file(source, buffer=buffer)


def read_source(source: Source, most: int) -> bytes:
    """Return the first `most` bytes of a file, and one more; the digest of a blob is checked.

    Raises:
        NotAFileError: It is no regular file.
        CorruptBlobError: It is a blob that is missing, truncated or altered.
        OSError: It cannot be read.
    """
    if isinstance(source, BlobFolder) and source.info.size <= most:
        return read_blob(source.blobs, source.info.sha256, most=most, label=str(source))
    with open_source(source) as stream:
        return stream.read(most + 1)


def names_in(folder: Source) -> tuple[set[str], set[str]]:
    """Return the names of the files and folders directly in a folder.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(folder, BlobFolder):
        parts = [path.partition("/") for path in folder.files]
        return (
            {name for name, slash, _ in parts if not slash},
            {name for name, slash, _ in parts if slash},
        )
    with os.scandir(folder) as entries:
        found = {entry.name: entry.is_dir() for entry in entries}
    files = {name for name, is_folder in found.items() if not is_folder}
    return files, found.keys() - files
