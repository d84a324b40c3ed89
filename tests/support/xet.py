"""Xorbs and shards, written byte by byte as clients send them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import lz4.frame

TAG = b"HFRepoMetaData\0" + bytes(
    (85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169)
)
END = b"\xff" * 32 + bytes(16)


def header(sent: int, scheme: int, size: int, version: int = 0) -> bytes:
    """What stands before a chunk."""
    number = sent.to_bytes(3, "little"), size.to_bytes(3, "little")
    return bytes([version]) + number[0] + bytes([scheme]) + number[1]


def dealt(data: bytes) -> bytes:
    """Bytes dealt out to four lanes, one after the other."""
    return b"".join(bytes(data[n] for n in range(lane, len(data), 4)) for lane in range(4))


def chunk(data: bytes, scheme: int = 0) -> bytes:
    """A chunk as it is sent."""
    payload = {
        0: lambda: data,
        1: lambda: lz4.frame.compress(data),
        2: lambda: lz4.frame.compress(dealt(data)),
    }[scheme]()
    return header(len(payload), scheme, len(data)) + payload


def xorb(*chunks: bytes) -> bytes:
    """A xorb whose chunks are sent by each of the schemes in turn."""
    return b"".join(chunk(data, number % 3) for number, data in enumerate(chunks))


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def turned(name: str) -> bytes:
    """The bytes of what clients print as four numbers."""
    raw = bytes.fromhex(name)
    return b"".join(raw[start : start + 8][::-1] for start in range(0, 32, 8))


@dataclass(frozen=True)
class Part:
    """A segment of a file: a xorb's name, bytes, the first chunk, the one after the last."""

    xorb: str
    size: int
    first: int
    end: int

    def record(self) -> bytes:
        return (
            turned(self.xorb) + bytes(4) + b"".join(map(number, (self.size, self.first, self.end)))
        )


def file(parts: Sequence[Part], sha256: str | None, verified: bool = True) -> bytes:
    """A file of a shard."""
    flags = (1 << 31 if verified else 0) | (1 << 30 if sha256 else 0)
    head = b"f" * 32 + number(flags) + number(len(parts)) + bytes(8)
    segments = b"".join(part.record() for part in parts)
    checks = bytes(48 * len(parts)) if verified else b""
    last = turned(sha256) + bytes(16) if sha256 else b""
    return head + segments + checks + last


def shard(*files: bytes, xorbs: bytes = b"") -> bytes:
    """A shard without a footer."""
    start = TAG + (2).to_bytes(8, "little") + (0).to_bytes(8, "little")
    return start + b"".join(files) + END + xorbs + END


def listed(name: str, chunks: Sequence[bytes]) -> bytes:
    """A xorb as a shard lists it."""
    sizes = sum(map(len, chunks))
    head = turned(name) + number(0) + number(len(chunks)) + number(sizes) + bytes(4)
    return head + bytes(48 * len(chunks))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
