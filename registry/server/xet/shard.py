"""A shard as a client sends it: its files, each with ranges of chunks.

Everything stands in records of 48 bytes, little-endian. First come the files: a header, a record
for each segment, as many again to verify these if a flag says so, and one with the SHA-256 of the
file if another does. Then come the xorbs, which the server knows anyway. A record of ones ends each
of the two.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from registry.errors import RequestError

MOST_BODY = 64 * 1024 * 1024
"""Most bytes of a shard; clients send several instead of a larger one."""

_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
_VERSION = 2
_RECORD = 48
_END = b"\xff" * 32
_VERIFIED, _HASHED = 1 << 31, 1 << 30
_START = struct.Struct("<32sQQ")
_FILE = struct.Struct("<32sII8x")
_SEGMENT = struct.Struct("<32sIIII")
_XORB = struct.Struct("<32sIIII")


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive chunks of a xorb that are a part of a file.

    Attributes:
        xorb: The name of the xorb.
        size: Their bytes of data, as announced by the client.
        first: The number of the first chunk, from 0.
        end: The number after the last chunk.
    """

    xorb: str
    size: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file that a shard describes.

    Attributes:
        sha256: Its digest; None if the client did not say.
        segments: The number of its segments.
        start: Their place in the shard.
    """

    sha256: str | None
    segments: int
    start: int


class Shard:
    """A shard, of which only one record is in memory.

    Args:
        file: Its bytes, in a seekable file.

    Raises:
        RequestError: It is not a shard.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        file.seek(0)
        tag, version, _ = _START.unpack(self._read())
        if tag != _TAG or version != _VERSION:
            raise RequestError(f"This is not a shard of version {_VERSION}.")
        for one in self.files():
            for _ in self.segments(one):
                pass
        self._skip_xorbs()

    def files(self) -> Iterator[ShardFile]:
        """Yield the files; the segments of each may be read before the next."""
        place = _RECORD
        while True:
            self._file.seek(place)
            name, flags, count = _FILE.unpack(self._read())
            place += _RECORD
            if name == _END:
                return
            start = place
            place += _RECORD * count * (2 if flags & _VERIFIED else 1)
            sha256 = None
            if flags & _HASHED:
                self._seek(place)
                sha256 = name_of(self._read()[:32])
                place += _RECORD
            yield ShardFile(sha256, count, start)

    def segments(self, file: ShardFile) -> Iterator[Segment]:
        """Yield the segments of a file in order; read nothing else before the last."""
        self._seek(file.start)
        for _ in range(file.segments):
            xorb, _, size, first, end = _SEGMENT.unpack(self._read())
            if first >= end:
                raise RequestError(f"A segment goes from chunk {first} to chunk {end}.")
            yield Segment(name_of(xorb), size, first, end)

    def _skip_xorbs(self) -> None:
        """Require that the rest of the shard is whole; call this right after the files."""
        while True:
            name, _, count, _, _ = _XORB.unpack(self._read())
            if name == _END:
                return
            self._seek(self._file.tell() + _RECORD * count)

    def _read(self) -> bytes:
        record = self._file.read(_RECORD)
        if len(record) < _RECORD:
            raise RequestError(f"The shard stops too early, after {self._size} bytes.")
        return record

    def _seek(self, place: int) -> None:
        if place > self._size:
            raise RequestError(f"The shard stops too early, after {self._size} bytes.")
        self._file.seek(place)


def name_of(raw: bytes) -> str:
    """Return 32 bytes of a shard as clients write them: four numbers of eight bytes, in hex."""
    return struct.pack(">4Q", *struct.unpack("<4Q", raw)).hex()
