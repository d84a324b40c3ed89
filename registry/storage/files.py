"""Digests and relative paths as the store accepts them, and files that are safe to read."""

import hashlib
import io
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from registry.errors import CorruptBlobError, InvalidNameError, NotAFileError
from registry.storage.durable import in_background, storage_errors
from registry.storage.place import Place

MANIFEST_NAME = "hubkit.json"
"""The file of an adapter's folder that lists all others; written last, never listed itself."""

CHUNK = 2 * 1024 * 1024
"""Bytes that are read, hashed and written at once."""

# Below this, to hand a chunk to another thread takes longer than to hash it.
_HASHED_BESIDE = 256 * 1024
_SYNCED_AT_ONCE = 32 * 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_PATH_BYTES = 512
_MAX_PART_BYTES = 255


_O_NEVER_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_O_BINARY = getattr(os, "O_BINARY", 0)
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: with any ending, too.
_WINDOWS_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|clock\$|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?"
)


def parse_digest(text: str) -> str:
    """Return `text` if it is a SHA-256 in 64 lower-case hexadecimal digits.

    Raises:
        InvalidNameError: It is not.
    """
    if not is_digest(text):
        raise InvalidNameError(
            f"A digest is 64 lower-case hexadecimal digits (SHA-256), not {text!r}.", text
        )
    return text


def is_digest(text: str) -> bool:
    """Whether `parse_digest` accepts `text`."""
    return _DIGEST.fullmatch(text) is not None


def parse_path(text: str) -> str:
    """Return `text` if it is a relative POSIX path that stays inside its folder on any system.

    Raises:
        InvalidNameError: It is absolute, climbs with ``..``, has a backslash, drive, control
            character or empty part, names a device of Windows such as ``CON`` or ``nul.txt``, is
            longer than 512 bytes, or names the manifest itself.
    """
    problem = _path_problem(text)
    if problem:
        raise InvalidNameError(
            f"The path {text!r} {problem}: expected a relative path such as 'head/weights.json'.",
            text,
        )
    return text


def _path_problem(text: str) -> str:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if not text or len(encoded) > _MAX_PATH_BYTES:
        return f"has {len(encoded)} bytes, not 1 to {_MAX_PATH_BYTES}"
    if text.startswith("/"):
        return "is absolute"
    if not text.isprintable() or any(character in text for character in '\\:<>"|?*'):
        return "has a character that some system does not allow in a file name"
    for part in text.split("/"):
        if part in ("", ".", ".."):
            return f"has the part {part!r}"
        # Windows drops these, so two paths would name one file.
        if part[-1] in ". ":
            return f"has the part {part!r}, which ends in {part[-1]!r}"
        if _WINDOWS_DEVICE.fullmatch(part.casefold()):
            return f"has the part {part!r}, which is a device on Windows"
        if len(part.encode()) > _MAX_PART_BYTES:
            return f"has a part longer than {_MAX_PART_BYTES} bytes"
    if text.casefold() == MANIFEST_NAME:
        return "is the manifest's own"
    return ""


def find_clash(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return two relative paths that cannot both be files of one folder on every system.

    They differ only in case or in the composition of letters (Unicode NFC), or one of them is a
    folder of the other.
    """
    seen: dict[str, str] = {}
    folded = {path: unicodedata.normalize("NFC", path.casefold()) for path in paths}
    for path in sorted(folded, key=folded.__getitem__):  # a folder comes before what is in it
        parts = folded[path].split("/")
        for end in range(1, len(parts) + 1):
            if (other := seen.get("/".join(parts[:end]))) is not None:
                return other, path
        seen[folded[path]] = path
    return None


def _as_value_error(text: str, problem: str) -> str:
    if problem:
        raise ValueError(problem)
    return text


Digest = Annotated[
    str,
    AfterValidator(
        lambda text: _as_value_error(
            text, "" if _DIGEST.fullmatch(text) else "expected 64 lower-case hexadecimal digits"
        )
    ),
]
"""A SHA-256 as `parse_digest` accepts it, for use in pydantic models."""

RelPath = Annotated[str, AfterValidator(lambda text: _as_value_error(text, _path_problem(text)))]
"""A path as `parse_path` accepts it, for use in pydantic models."""


_OF_SQLITE: dict[tuple[int, int], Path] = {}


def leave_to_sqlite(path: Path) -> None:
    """Make `open_file` refuse this file, an open database, from now on.

    POSIX takes all locks of a process on a file away when the process closes any descriptor of it.
    So reading the file of a database, in a process that has it open, can corrupt the database
    (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    with suppress(OSError):
        _OF_SQLITE[_identity(os.stat(path))] = path


def open_file(path: Place | str, *, buffer: int = CHUNK) -> BinaryIO:
    """Open a regular file for reading; never wait for a pipe or a device to have something.

    Use it for every file that hubkit did not write itself.

    Args:
        path: The file.
        buffer: Fewest bytes to read at once; 1 reads only the bytes asked for.

    Raises:
        NotAFileError: It is a folder, a pipe, a socket, a device, or an open database.
        OSError: It is not there, or cannot be read.
    """
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        raise _no_file(path, _kind(state.st_mode))
    if _is_of_sqlite(state):
        raise _no_file(path, "the database of a registry, which is in use")
    descriptor = os.open(path, os.O_RDONLY | _O_BINARY | _O_NEVER_WAIT)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):  # replaced since
            raise _no_file(path, _kind(mode))
        return io.BufferedReader(_File(descriptor, path), buffer)
    except BaseException:
        os.close(descriptor)
        raise


class _File(io.FileIO):
    """A file whose read errors are StorageErrors that name it."""

    def __init__(self, descriptor: int, path: Place | str) -> None:
        super().__init__(descriptor)
        self.path = path

    def readinto(self, buffer: "memoryview[int]") -> int | None:  # type: ignore[override]
        with storage_errors("read", self.path):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with storage_errors("read", self.path):
            return super().readall()


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _is_of_sqlite(state: os.stat_result) -> bool:
    database = _OF_SQLITE.get(_identity(state))
    if database is None:
        return False
    with suppress(OSError):  # removed meanwhile: another file may have its number
        return os.path.samestat(state, os.stat(database))
    return False


def _no_file(path: Place | str, found: str) -> NotAFileError:
    return NotAFileError(f"{path} cannot be read: expected a file, found {found}.", path)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


class FileInfo(BaseModel):
    """The identity of the bytes of a file.

    Attributes:
        sha256: Their digest.
        size: Their number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    sha256: Digest
    size: Annotated[int, Field(ge=0, lt=2**63)]

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the identity of some bytes."""
        return cls(sha256=hashlib.sha256(content).hexdigest(), size=len(content))

    def __str__(self) -> str:
        """Return size and digest, for messages."""
        return f"{self.size} bytes with SHA-256 {self.sha256}"


class HashedWriter:
    """Bytes that are hashed while they are written to a file.

    A large chunk is hashed while it is written and the next one is made, and the disk writes
    meanwhile too, rather than all at the end; memory stays at two chunks. A chunk must not change
    afterwards. No thread waits between calls.

    Args:
        target: The file; default: none, the bytes are hashed only.

    Attributes:
        size: How many bytes there were.
    """

    def __init__(self, target: BinaryIO | None = None) -> None:
        """Write nothing yet."""
        self._target = target
        self._sha256 = hashlib.sha256()
        self._hashing: Future[None] | None = None
        self._syncing: Future[None] | None = None
        self._synced = 0
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Write the next bytes.

        Raises:
            OSError: They, or bytes before them, cannot be written.
        """
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None
        if self._target is None or len(chunk) < _HASHED_BESIDE:
            self._sha256.update(chunk)
        else:
            self._hashing = in_background(partial(self._sha256.update, chunk))
        self.size += len(chunk)
        if self._target is not None:
            self._target.write(chunk)
            self._sync(self._target)

    def finish(self) -> FileInfo:
        """Return the identity of the written bytes; the last may not be on the disk yet.

        Raises:
            OSError: Some of it could not be written.
        """
        for last in (self._hashing, self._syncing):
            if last is not None:
                last.result()
        return FileInfo(sha256=self._sha256.hexdigest(), size=self.size)

    def stop(self) -> None:
        """Wait until no thread uses the file any more."""
        wait(going_on for going_on in (self._hashing, self._syncing) if going_on is not None)

    def _sync(self, target: BinaryIO) -> None:
        if self.size - self._synced < _SYNCED_AT_ONCE:
            return
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._syncing.result()
        self._syncing, self._synced = in_background(partial(os.fsync, target.fileno())), self.size


def hash_stream(
    source: BinaryIO, *, most: int | None = None, target: BinaryIO | None = None
) -> FileInfo:
    """Read `source` to its end, and return the identity of its bytes.

    Args:
        source: The bytes.
        most: Stop one byte after this many, so that an endless source costs nothing;
            default: no bound.
        target: Gets the very bytes that are hashed, of which the last may not be on the disk yet;
            default: nothing does.
    """
    writer = HashedWriter(target)
    try:
        while most is None or writer.size <= most:
            chunk = source.read(CHUNK if most is None else min(CHUNK, most + 1 - writer.size))
            if not chunk:
                break
            writer.write(chunk)
        return writer.finish()
    finally:
        writer.stop()


def require_same(
    label: str,
    expected: FileInfo,
    found: FileInfo,
    cure: str,
    kind: type[CorruptBlobError] = CorruptBlobError,
) -> None:
    """Raise an error of this kind, whose message ends in `cure`, unless both are the same."""
    if found.size > expected.size:
        raise kind(f"{label}: expected {expected}, found more bytes.{cure}", label)
    if found != expected:
        raise kind(f"{label}: expected {expected}, found {found}.{cure}", label)
