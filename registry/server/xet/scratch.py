"""Xorbs wait here until a shard uses them: a folder for each account and day, kept for two days.

``xet/<account>/<day>/`` in the registry's folder has the xorbs as plain data, each followed by the
places of its chunks, and the ids by which clients know the folder. A client does not send again
what it sent under an id. So an id goes with its folder, and no other account ever gets it. Nothing
is flushed to the disk: after a power cut, a file made of lost data has a wrong digest, and the
folder gets a new id.
"""

import os
import secrets
import shutil
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from registry.errors import FullDiskError, NoSuchPageError, RequestError
from registry.server.xet.xorb import MOST_CHUNKS, XorbDecoder
from registry.storage.durable import scratch_file, storage_errors
from registry.storage.files import CHUNK, parse_digest

FOLDER_NAME = "xet"
"""The folder for xorbs, in that of a registry."""

IN_USE = 2 * 60 * 60.0
"""Seconds after the last request for which a folder is kept, even if there is little room."""

_KEPT = timedelta(days=1)
_IDS_NAME = "ids"
_ID_LENGTH = 32
_MOST_IDS = 100
_MEASURED_EVERY = 10.0
_LEAST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Shelf:
    """The xorbs that an account sent on a day.

    Attributes:
        path: Their folder.
    """

    path: Path

    @property
    def ids(self) -> list[str]:
        """The ids by which clients know it; new clients get the last one."""
        try:
            lines = (self.path / _IDS_NAME).read_text(encoding="ascii").split("\n")
        except (OSError, UnicodeDecodeError):
            return []
        return [line for line in lines if len(line) == _ID_LENGTH]

    def renew(self) -> str:
        """Give it a new id, and return that: clients then send their xorbs again."""
        name = secrets.token_hex(_ID_LENGTH // 2)
        with storage_errors("write", self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / _IDS_NAME).open("a", encoding="ascii") as file:
                file.write(f"\n{name}\n")
        return name

    def open(self, xorb: str) -> "Xorb":
        """Open a xorb for reading.

        Raises:
            RequestError: It is missing, or not whole.
        """
        path = self.path / parse_digest(xorb)
        try:
            with storage_errors("read", path):
                if not path.is_file():
                    raise ValueError("it is not there")
                return Xorb(path)
        except ValueError as error:
            raise RequestError(f"The xorb {xorb[:12]} has not come. Upload the file again.") from (
                error
            )


class Xorb:
    """A xorb that has come, open for reading.

    Args:
        path: Its path.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with ExitStack() as stack:
            self._file = stack.enter_context(path.open("rb"))
            size = self._file.seek(0, os.SEEK_END)
            self._file.seek(max(size - 4, 0))
            count = int.from_bytes(self._file.read(4), "little")
            end = size - 4 * (count + 1)
            if not (1 <= count <= MOST_CHUNKS and end > 0):
                raise ValueError("no number of chunks stands at the end")
            self._file.seek(end)
            self._ends = array("I")
            self._ends.fromfile(self._file, count)
            if self._ends[-1] != end:
                raise ValueError("the chunks do not fill the file")
            self._opened = stack.pop_all()

    def close(self) -> None:
        """Close it."""
        self._opened.close()

    def length(self, first: int, end: int) -> int:
        """Return the bytes of some chunks, from one up to before another.

        Raises:
            RequestError: The xorb has fewer.
        """
        if end > len(self._ends):
            raise RequestError(f"A xorb of {len(self._ends)} chunks has no chunk {end - 1}.")
        return self._ends[end - 1] - self._start(first)

    def read(self, first: int, end: int) -> Iterator[bytes]:
        """Yield the data of some chunks."""
        left = self.length(first, end)
        with storage_errors("read", self._path):
            self._file.seek(self._start(first))
            while left:
                piece = self._file.read(min(left, CHUNK))
                if not piece:
                    raise OSError("it has become shorter")
                left -= len(piece)
                yield piece

    def _start(self, chunk: int) -> int:
        return self._ends[chunk - 1] if chunk else 0


class XorbWriter:
    """Unpacks a xorb as it comes; it appears on its shelf when it is whole.

    Args:
        shelf: The shelf.
        xorb: Its name; an earlier xorb of this name is replaced.
    """

    def __init__(self, shelf: Shelf, xorb: str) -> None:
        self._place = shelf.path / parse_digest(xorb)
        self._decoder, self._ends = XorbDecoder(), array("I")
        with storage_errors("write", self._place), ExitStack() as stack:
            self._file: BinaryIO = stack.enter_context(scratch_file(shelf.path))
            self._scratch = stack.pop_all()

    def write(self, piece: bytes) -> None:
        """Take some bytes of it.

        Raises:
            RequestError: It is not a xorb.
        """
        with storage_errors("write", self._place):
            for data in self._decoder.feed(piece):
                self._file.write(data)
                self._ends.append(self._ends[-1] + len(data) if self._ends else len(data))

    def finish(self) -> int:
        """Put the xorb in its place; return the bytes of its data.

        Raises:
            RequestError: It is not a xorb, or not whole.
        """
        self._decoder.finish()
        with storage_errors("write", self._place), self._scratch:
            self._ends.tofile(self._file)
            self._file.write(len(self._ends).to_bytes(4, "little"))
            self._file.flush()
            Path(self._file.name).replace(self._place)
        return self._decoder.size

    def give_up(self) -> None:
        """Remove all of it."""
        with suppress(OSError):
            self._scratch.close()


class Scratch:
    """The shelves of a registry, which all processes that serve it share.

    Args:
        home: The registry's folder.
        most: Most bytes of all shelves.
        now: Tells the time; default: it does.
    """

    def __init__(
        self, home: Path, most: int, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._root, self._most, self._now = home / FOLDER_NAME, most, now
        self._lock = threading.Lock()
        self._used, self._measured_at = 0, float("-inf")

    def id_of(self, account_id: int) -> str:
        """Return the id of an account's shelf of today."""
        shelf = self._shelf(account_id, self._now().date())
        return (shelf.ids or [shelf.renew()])[-1]

    def find(self, account_id: int, name: str) -> Shelf:
        """Return the shelf of an account that has an id, of today or yesterday.

        Raises:
            NoSuchPageError: It has none, or not any more.
        """
        today = self._now().date()
        for day in (today, today - _KEPT):
            shelf = self._shelf(account_id, day)
            if name in shelf.ids:
                with suppress(OSError):
                    shelf.path.touch()
                return shelf
        raise NoSuchPageError("The bytes that were sent here were removed. Upload the file again.")

    def renew(self, shelf: Shelf) -> None:
        """Let clients send the xorbs of a shelf again: some are damaged."""
        if len(shelf.ids) < _MOST_IDS:
            shelf.renew()

    def require_room(self, size: int) -> None:
        """Make room for some bytes; remove shelves that were not used for long if necessary.

        Raises:
            FullDiskError: There is no room.
        """
        with self._lock:
            if time.monotonic() - self._measured_at > _MEASURED_EVERY:
                self._measure()
            if self._used + size > self._most:
                self._remove_unused(size)
            if self._used + size > self._most:
                raise FullDiskError(
                    f"The xorbs in {self._root} take {self._used} of {self._most} bytes.",
                    self._root,
                )

    def count(self, size: int) -> None:
        """Add to the bytes in use."""
        with self._lock:
            self._used += max(size, _LEAST_BYTES)

    def sweep(self) -> None:
        """Remove the shelves of the days before yesterday."""
        oldest = (self._now() - _KEPT).date().isoformat()
        for folder in self._folders():
            if folder.name < oldest:
                shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self._measure()

    def _shelf(self, account_id: int, day: date) -> Shelf:
        return Shelf(self._root / str(account_id) / day.isoformat())

    def _folders(self) -> list[Path]:
        return list(self._root.glob("*/*"))

    def _measure(self) -> None:
        self._used = sum(_bytes_of(folder) for folder in self._folders())
        self._measured_at = time.monotonic()

    def _remove_unused(self, size: int) -> None:
        unused: list[tuple[float, Path]] = []
        for folder in self._folders():
            with suppress(OSError):
                unused.append((folder.stat().st_mtime, folder))
        for used_at, folder in sorted(unused):
            if self._used + size <= self._most or time.time() - used_at < IN_USE:
                return
            shutil.rmtree(folder, ignore_errors=True)
            self._measure()


def _bytes_of(folder: Path) -> int:
    total = 0
    with suppress(OSError):  # it may just be removed
        for path in folder.iterdir():
            total += max(path.stat().st_size, _LEAST_BYTES)
    return total
