"""Where a reader finds a folder: on the disk, or as a tree of blobs that is not written out."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import BinaryIO

from registry.storage.blobs import BlobStore, read_blob
from registry.storage.files import CHUNK, FileInfo, open_file
from registry.storage.place import Place


@dataclass(frozen=True, slots=True)
class Tree:
    """A folder whose files are blobs, or one of these files.

    It has the methods of `Path` that readers use, so they take either.

    Attributes:
        blobs: Where the bytes are.
        files: What identifies each file of the folder, by path.
        called: What people know the folder as.
        renamed: By the path of a file, what that file is called where people see it.
        path: Of the file; empty for the folder.
    """

    blobs: BlobStore
    files: Mapping[str, FileInfo]
    called: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    path: str = ""

    def __str__(self) -> str:
        """Return what it is called, for messages."""
        path = self.renamed.get(self.path, self.path)
        return f"{self.called}/{path}" if path else self.called

    def __truediv__(self, name: str) -> "Tree":
        """Return a file in it."""
        return replace(self, path=f"{self.path}/{name}" if self.path else name)

    @property
    def name(self) -> str:
        """The last part of what it is called."""
        return str(self).rpartition("/")[2]

    @property
    def parent(self) -> "Tree":
        """The folder that it is in."""
        return replace(self, path=self.path.rpartition("/")[0])

    @property
    def suffix(self) -> str:
        """How the name of the file ends, as `Path.suffix`."""
        return PurePosixPath(self.path).suffix

    @property
    def info(self) -> FileInfo:
        """The size and the digest of the file, which nobody has to read."""
        return self.files[self.path]

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.path in self.files


Source = Place | Tree
"""What a reader takes that looks at configurations, the card and the headers of weights."""


def open_source(source: Source, *, buffer: int = CHUNK) -> BinaryIO:
    """Open a file for reading; the digest of a tree's file is not checked.

    Args:
        source: The file.
        buffer: Bytes to fetch at once where fewer are asked for; 1 for no byte that is not.

    Raises:
        NotAFileError: It is no regular file.
        CorruptBlobError: It is a blob that is not there.
        OSError: It cannot be read.
    """
    if isinstance(source, Tree):
        return source.blobs.open(source.info.sha256, label=str(source), buffer=buffer)
    return open_file(source, buffer=buffer)


def read_source(source: Source, most: int) -> bytes:
    """Return what a file holds, up to `most` bytes and one; that of a tree is held to its digest.

    Raises:
        NotAFileError: It is no regular file.
        CorruptBlobError: It is a blob that is missing, truncated or altered.
        OSError: It cannot be read.
    """
    if isinstance(source, Tree) and source.info.size <= most:
        return read_blob(source.blobs, source.info.sha256, most=most, label=str(source))
    with open_source(source) as stream:
        return stream.read(most + 1)


def names_in(folder: Source) -> tuple[set[str], set[str]]:
    """Return the names of the files and of the folders that are right inside of a folder.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(folder, Tree):
        parts = [path.partition("/") for path in folder.files]
        return (
            {name for name, slash, _ in parts if not slash},
            {name for name, slash, _ in parts if slash},
        )
    with os.scandir(folder) as entries:
        found = {entry.name: entry.is_dir() for entry in entries}
    files = {name for name, is_folder in found.items() if not is_folder}
    return files, found.keys() - files
