"""A xorb is unpacked chunk by chunk, or refused; nothing larger than it may be is ever made."""

from __future__ import annotations

import tracemalloc

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import RequestError
from registry.server.xet.xorb import (
    MOST_CHUNKS,
    MOST_DATA,
    MOST_SENT,
    MOST_XORB_DATA,
    XorbDecoder,
    decode,
)
from tests.support.xet import chunk, header, xorb

BOMB = lz4.frame.compress(bytes(60_000_000))


def unpacked(content: bytes, step: int = 1 << 30) -> list[bytes]:
    decoder = XorbDecoder()
    chunks = [
        data
        for start in range(0, len(content), step)
        for data in decoder.feed(content[start : start + step])
    ]
    decoder.finish()
    assert (decoder.chunks, decoder.size) == (len(chunks), sum(map(len, chunks)))
    return chunks


@pytest.mark.parametrize("scheme", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 1001, MOST_DATA])
def test_each_scheme_gives_the_data_back(scheme: int, size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    assert unpacked(chunk(data, scheme)) == [data]


def test_lanes_are_the_bytes_that_stand_four_apart() -> None:
    # Ten bytes: the first two lanes have one more than the others.
    sent = lz4.frame.compress(bytes([0, 4, 8, 1, 5, 9, 2, 6, 3, 7]))
    assert decode(sent, 2, 10) == bytes(range(10))


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=9), st.integers(1, 700))
def test_it_may_come_in_pieces_of_any_length(chunks: list[bytes], step: int) -> None:
    assert unpacked(xorb(*chunks), step) == chunks


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_a_footer_ends_it(step: int) -> None:
    content = xorb(b"one", b"two") + b"XETBLOB\1" + bytes(400)
    assert unpacked(content, step) == [b"one", b"two"]


@given(st.binary(max_size=200))
def test_noise_is_refused_or_has_the_length_it_announces(noise: bytes) -> None:
    try:
        chunks = unpacked(noise)
    except RequestError:
        return
    assert 0 < len(b"".join(chunks)) <= len(noise)  # what is so short is not compressed


WRONG = {
    "nothing": b"",
    "a footer alone": b"XETBLOB\1" + bytes(40),
    "half a header": xorb(b"one") + b"\0\0\0",
    "half a chunk": chunk(b"one")[:-1],
    "another version": header(3, 0, 3, version=1) + b"one",
    "another scheme": header(3, 3, 3) + b"one",
    "no data": header(0, 0, 0) + chunk(b"one"),
    "nothing sent": header(0, 1, 5),
    "raw and longer": header(4, 0, 3) + b"four",
    "raw and shorter": header(3, 0, 4) + b"one",
    "more data than a chunk may have": chunk(bytes(MOST_DATA + 1), 1),
    "sent as more than a chunk may be": header(MOST_SENT + 1, 1, 5) + bytes(MOST_SENT + 1),
    "a frame of more": header(len(lz4.frame.compress(b"four")), 1, 3) + lz4.frame.compress(b"four"),
    "a frame of less": header(len(lz4.frame.compress(b"four")), 1, 5) + lz4.frame.compress(b"four"),
    "a frame cut off": header(len(lz4.frame.compress(b"four")) - 4, 1, 4)
    + lz4.frame.compress(b"four")[:-4],
    "something after the frame": header(len(lz4.frame.compress(b"four")) + 2, 1, 4)
    + lz4.frame.compress(b"four")
    + b"xx",
    "no frame": header(20, 1, 20) + bytes(20),
    "lanes of no frame": header(20, 2, 20) + bytes(20),
    "a bomb": header(len(BOMB), 1, MOST_DATA) + BOMB,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_xorb_is_refused(wrong: str) -> None:
    with pytest.raises(RequestError):
        unpacked(WRONG[wrong])


def test_a_bomb_is_unpacked_to_one_byte_more_than_it_announces() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RequestError, match="does not unpack to"):
            decode(BOMB, 1, MOST_DATA)
        assert tracemalloc.get_traced_memory()[1] < 10 * MOST_DATA
    finally:
        tracemalloc.stop()


def test_a_xorb_has_so_many_chunks_and_no_more() -> None:
    most = chunk(b"x") * MOST_CHUNKS
    assert len(unpacked(most)) == MOST_CHUNKS
    with pytest.raises(RequestError, match="more than 8192 chunks"):
        unpacked(most + chunk(b"x"))


def test_a_xorb_has_so_many_bytes_and_no_more() -> None:
    most = chunk(bytes(MOST_DATA), 1) * (MOST_XORB_DATA // MOST_DATA)
    decoder = XorbDecoder()
    assert sum(len(data) for data in decoder.feed(most)) == MOST_XORB_DATA
    decoder.finish()
    with pytest.raises(RequestError, match="more than 67108864 bytes"):
        list(decoder.feed(chunk(b"x")))
