"""Where a file or a folder is, and what people call it, where these differ."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Copy(os.PathLike[str]):
    """A copy that only hubkit knows of: messages call it by the name of its original.

    It has the methods of `Path` that readers use, so they take either.

    Attributes:
        path: Where it is.
        called: What people know it as: a path, a URL or a name.
        renamed: By the name of a file in it, what that file is called in the original.
    """

    path: Path
    called: str
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return what it is called, for messages."""
        return self.called

    def __fspath__(self) -> str:
        """Return where it is, for `open` and its like."""
        return os.fspath(self.path)

    def __truediv__(self, name: str) -> "Copy":
        """Return a file or folder in it."""
        return Copy(self.path / name, f"{self.called}/{self.renamed.get(name, name)}")

    @property
    def name(self) -> str:
        """The last part of what it is called."""
        return self.called.rpartition("/")[2]

    @property
    def parent(self) -> "Copy":
        """The folder that it is in."""
        return Copy(self.path.parent, self.called.rpartition("/")[0])

    @property
    def suffix(self) -> str:
        """How the name of the file ends, as `Path.suffix`."""
        return self.path.suffix

    def exists(self) -> bool:
        """Whether there is anything."""
        return self.path.exists()

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.path.is_file()


Place = Path | Copy
"""What a reader of folders or files takes."""
