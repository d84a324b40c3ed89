"""A xorb as a client sends it: a sequence of chunks, which may be compressed.

Before each chunk stand eight bytes: a version (0), the length of what was sent in three bytes, how
it was compressed, and the length of the data in three bytes. Numbers are little-endian.
"""

from collections.abc import Iterator

import lz4.frame

from registry.errors import RequestError

MOST_DATA = 131_072
"""Most bytes of data of a chunk."""

MOST_SENT = 262_144
"""Most bytes of a chunk as it is sent."""

MOST_CHUNKS = 8192
"""Most chunks of a xorb."""

MOST_XORB_DATA = 64 * 1024 * 1024
"""Most bytes of data of a xorb."""

HEADER = 8
"""Bytes before each chunk."""

MOST_BODY = MOST_XORB_DATA + HEADER * MOST_CHUNKS + 1024 * 1024
"""Most bytes of a xorb as it is sent, with the footer that some clients send."""

_FOOTER = b"XETBLOB"
_RAW, _LZ4, _LANES = range(3)
_LANE_COUNT = 4


class XorbDecoder:
    """Takes a xorb as it comes, and yields its chunks; it keeps at most one in memory.

    Attributes:
        chunks: The number of chunks so far.
        size: The bytes of data so far.
    """

    def __init__(self) -> None:
        self.chunks = 0
        self.size = 0
        self._held = bytearray()
        self._has_ended = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the data of each chunk that these bytes complete.

        Args:
            piece: The next bytes of the xorb, of any length.

        Raises:
            RequestError: It is not a xorb, or too large.
        """
        if self._has_ended:
            return
        self._held += piece
        start = 0
        while len(self._held) - start >= HEADER:
            header = bytes(self._held[start : start + HEADER])
            if header.startswith(_FOOTER):
                self._has_ended = True
                self._held.clear()
                return
            sent, scheme, size = _read_header(header)
            self._require_room(size)
            end = start + HEADER + sent
            if len(self._held) < end:
                break
            payload = bytes(self._held[start + HEADER : end])
            start = end
            self.chunks += 1
            self.size += size
            yield decode(payload, scheme, size)
        del self._held[:start]

    def finish(self) -> None:
        """Require that the xorb is complete.

        Raises:
            RequestError: It stops within a chunk, or has none.
        """
        if self._held:
            raise RequestError(f"The xorb stops within chunk {self.chunks}.")
        if not self.chunks:
            raise RequestError("The xorb has no chunk.")

    def _require_room(self, size: int) -> None:
        if self.chunks == MOST_CHUNKS:
            raise RequestError(f"The xorb has more than {MOST_CHUNKS} chunks.")
        if self.size + size > MOST_XORB_DATA:
            raise RequestError(f"The xorb has more than {MOST_XORB_DATA} bytes of data.")


def decode(payload: bytes, scheme: int, size: int) -> bytes:
    """Return the data of a chunk.

    Args:
        payload: The bytes as they were sent.
        scheme: The compression: 0 for none, 1 for a frame of LZ4, 2 so after its bytes were
            dealt out to four lanes, which stand one after the other.
        size: Bytes of the data; at most one byte more is unpacked.

    Raises:
        RequestError: It does not have this scheme or size.
    """
    if scheme == _RAW:
        if len(payload) != size:
            raise RequestError(f"A chunk has {len(payload)} bytes, not {size} as its header says.")
        return payload
    data = _unpack(payload, size)
    return data if scheme == _LZ4 else _undeal(data)


def _read_header(header: bytes) -> tuple[int, int, int]:
    """Return the bytes of a chunk as sent, its scheme, and the bytes of its data."""
    sent, scheme = int.from_bytes(header[1:4], "little"), header[4]
    size = int.from_bytes(header[5:8], "little")
    if header[0] != 0:
        raise RequestError(f"A chunk has version {header[0]}; known is 0.")
    if scheme not in (_RAW, _LZ4, _LANES):
        raise RequestError(f"A chunk is compressed by scheme {scheme}; known are 0, 1 and 2.")
    if not 1 <= size <= MOST_DATA:
        raise RequestError(f"A chunk has 1 to {MOST_DATA} bytes of data, not {size}.")
    if not 1 <= sent <= MOST_SENT:
        raise RequestError(f"A chunk is sent as 1 to {MOST_SENT} bytes, not {sent}.")
    return sent, scheme, size


def _unpack(payload: bytes, size: int) -> bytes:
    frame = lz4.frame.LZ4FrameDecompressor()
    try:
        data: bytes = frame.decompress(payload, max_length=size + 1)
    except RuntimeError as error:  # the library raises this for anything that is not a frame
        raise RequestError("A chunk is not a frame of LZ4.") from error
    if len(data) != size or not frame.eof or frame.unused_data:
        raise RequestError(f"A chunk does not unpack to the {size} bytes that it announces.")
    return data


def _undeal(dealt: bytes) -> bytes:
    data = bytearray(len(dealt))
    start = 0
    for lane in range(_LANE_COUNT):
        end = start + len(range(lane, len(dealt), _LANE_COUNT))
        data[lane::_LANE_COUNT] = dealt[start:end]
        start = end
    return bytes(data)
