"""A path of a file or folder that has another name in messages."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Copy(os.PathLike[str]):
    """A copy that only hubkit knows of: messages use the name of its original.

    It has the methods of `Path` that readers use, so they take either.

    Attributes:
        path: Its path.
        called: The original: a path, a URL or a name.
        renamed: The names of files in the original, by their names in the copy.
    """

    path: Path
    called: str
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the name of the original, for messages."""
        return self.called

    def __fspath__(self) -> str:
        """Return its path, for `open` and similar functions."""
        return os.fspath(self.path)

    def __truediv__(self, name: str) -> "Copy":
        """Return a file or folder in it."""
        return Copy(self.path / name, f"{self.called}/{self.renamed.get(name, name)}")

    @property
    def name(self) -> str:
        """The last part of the name of the original."""
        return self.called.rpartition("/")[2]

    @property
    def parent(self) -> "Copy":
        """The folder that it is in."""
        return Copy(self.path.parent, self.called.rpartition("/")[0])

    @property
    def suffix(self) -> str:
        """The suffix of the original, as `Path.suffix`."""
        return self.path.suffix

    def exists(self) -> bool:
        """Whether it exists."""
        return self.path.exists()

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.path.is_file()


Place = Path | Copy
"""A place that readers of folders and files accept."""
