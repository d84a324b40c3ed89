"""A disk that can lose power, or fail, before any step of what a test does.

`PowerCut` watches the calls that change files below a folder, and before each of them, and before
each SQL statement and commit, it copies the folder twice: as a killed process would leave it, and
as a power cut would, which drops whatever was not fsynced: bytes of a file whose own fsync is
missing, and names (made, moved or removed) whose folder's is.

SQLite's own files are copied as they are: it makes them durable by itself, and what a transaction
has written before its commit does not count when they are opened again.
"""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

CALLS = ("open", "fsync", "replace", "rename", "link", "mkdir", "rmdir", "chmod", "unlink")
DATABASE = "hubkit.db"


@contextmanager
def before_each_step(action: Callable[[str], None], *, statements: bool = True) -> Iterator[None]:
    """Call `action` with its name before each change of the file system and each statement.

    What threads do at once, they do here one after the other.
    """
    one_by_one = threading.RLock()

    def stepping(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with one_by_one:
                action(name)
                return call(*args, **kwargs)

        return wrapper

    def statement(*_: object) -> None:
        action("statement")

    def commit(*_: object) -> None:
        action("commit")

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, stepping(name, getattr(os, name)))
        if statements:
            event.listen(Engine, "before_cursor_execute", statement)
            event.listen(Engine, "commit", commit)
        try:
            yield
        finally:
            if statements:
                event.remove(Engine, "before_cursor_execute", statement)
                event.remove(Engine, "commit", commit)


class PowerCut:
    """Copies of a folder as it would be found after each step of the block it watches.

    Args:
        root: The folder.
        images: Where the copies go.
        kept: Which of the copies that differ are made, counted from 0; default: all of them.

    Attributes:
        steps: How many there were.
        different: After how many of them a copy differs from those before.
        taken: The copies.
        final: Those after the last step.
    """

    def __init__(self, root: Path, images: Path, kept: slice = slice(None)) -> None:
        self._root, self._images = root, images
        self._first, self._stride = kept.start or 0, kept.step or 1
        self._names: dict[Path, dict[str, int]] = {}
        self._bytes: dict[int, bytes] = {}
        self._seen: set[tuple[object, ...]] = set()
        self.steps = self.different = 0
        self.taken: list[Path] = []
        self.final: list[Path] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take copies before each step of the block, and one after it."""
        for folder, _, _ in os.walk(self._root):
            self._remember_names(Path(folder))
        for path in self._root.rglob("*"):
            if path.is_file():
                self._bytes[path.stat().st_ino] = path.read_bytes()
        busy = False
        open_, fsync = os.open, os.fsync

        def step(name: str) -> None:
            nonlocal busy
            if busy:  # our own calls
                return
            busy = True
            try:
                self.steps += 1
                self._take()
            finally:
                busy = False

        def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            descriptor = open_(path, flags, *args, **kwargs)
            if flags & os.O_CREAT:  # perhaps the inode of a file that was removed
                self._bytes.pop(os.fstat(descriptor).st_ino, None)
            return descriptor

        def fsynced(descriptor: int) -> None:
            fsync(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            state = os.fstat(descriptor)
            if stat.S_ISDIR(state.st_mode):
                self._remember_names(path)
            else:
                self._bytes[state.st_ino] = path.read_bytes()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", opened)
            patch.setattr(os, "fsync", fsynced)
            with before_each_step(step):
                yield
        self.steps += 1
        self._seen.clear()
        self._first, self._stride = 0, 1
        self._take()
        self.final = [path for path in self.taken if path.name.endswith(f"-{self.steps}")]

    def _remember_names(self, folder: Path) -> None:
        self._names[folder] = {entry.name: entry.inode() for entry in os.scandir(folder)}

    def _take(self) -> None:
        """Copy what a kill and what a power cut would leave, unless the same was copied before."""
        for label, files in (("kill", self._as_it_is()), ("power", self._as_fsynced())):
            key = tuple(sorted(files.items()))
            if key in self._seen:
                continue
            self._seen.add(key)
            place = self.different - self._first
            self.different += 1
            if place < 0 or place % self._stride:
                continue
            image = self._images / f"{label}-{self.steps}"
            image.mkdir(parents=True)
            for name, content in files.items():
                path = image / name
                if content is None:
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self.taken.append(image)

    def _as_it_is(self) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {}
        for path in self._root.rglob("*"):
            name = str(path.relative_to(self._root))
            if not name.endswith("-shm"):
                found[name] = None if path.is_dir() else path.read_bytes()
        return found

    def _as_fsynced(self) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = {
            path.name: path.read_bytes()
            for path in self._root.glob(f"{DATABASE}*")
            if not path.name.endswith("-shm")
        }
        pending = [self._root]
        while pending:
            folder = pending.pop()
            for name, inode in self._names.get(folder, {}).items():
                path = folder / name
                relative = str(path.relative_to(self._root))
                if relative.startswith(DATABASE):
                    continue
                if path in self._names or path.is_dir():
                    found[relative] = None
                    pending.append(path)
                else:
                    found[relative] = self._bytes.get(inode, b"")
        return found


@contextmanager
def failing_at(step: int, code: int) -> Iterator[list[int]]:
    """Make a step of the block fail with an errno; yields a list that has its number if it did."""
    import sqlite3

    from sqlalchemy.exc import OperationalError

    reached: list[int] = []
    left = step

    def fail(name: str) -> None:
        nonlocal left
        left -= 1
        if left != 0:
            return
        reached.append(step)
        if name in ("statement", "commit"):
            reason = {errno.ENOSPC: "database or disk is full", errno.EIO: "disk I/O error"}[code]
            original = sqlite3.OperationalError(reason)
            original.sqlite_errorcode = {  # type: ignore[misc]
                errno.ENOSPC: sqlite3.SQLITE_FULL,
                errno.EIO: sqlite3.SQLITE_IOERR,
            }[code]
            raise OperationalError(name, None, original)
        raise OSError(code, os.strerror(code))

    with before_each_step(fail):
        yield reached
