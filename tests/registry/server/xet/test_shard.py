"""A shard says what its files are made of, or is refused."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import RequestError
from registry.server.xet.shard import Segment, Shard, name_of
from tests.support.xet import END, TAG, Part, digest, file, listed, shard

ONE, TWO = "0123456789abcdef" * 4, "ab" * 32
START = TAG + (2).to_bytes(8, "little") + bytes(8)


def read(content: bytes) -> list[tuple[str | None, list[Segment]]]:
    parsed = Shard(io.BytesIO(content))
    return [(one.sha256, list(parsed.segments(one))) for one in parsed.files()]


def test_its_files_and_their_segments_are_read_in_order() -> None:
    first = [Part(ONE, 10, 0, 3), Part(TWO, 7, 5, 6), Part(ONE, 10, 0, 3)]
    second = [Part(TWO, 1, 0, 1)]
    content = shard(
        file(first, digest(b"1")),
        file(second, None, verified=False),
        file([], digest(b"")),
        xorbs=listed(ONE, [b"abc"] * 4) + listed(TWO, [b"x"]),
    )
    assert read(content) == [
        (digest(b"1"), [Segment(ONE, 10, 0, 3), Segment(TWO, 7, 5, 6), Segment(ONE, 10, 0, 3)]),
        (None, [Segment(TWO, 1, 0, 1)]),
        (digest(b""), []),
    ]


def test_names_are_four_numbers_whose_bytes_are_turned() -> None:
    raw = bytes(range(32))
    assert name_of(raw) == "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"


def test_what_follows_the_xorbs_is_not_looked_at() -> None:
    assert read(shard() + b"a footer of any length") == []


WHOLE = shard(file([Part(ONE, 10, 0, 3)], digest(b"1")), xorbs=listed(ONE, [b"abc"]))
WRONG = {
    "nothing": b"",
    "another tag": WHOLE.replace(b"HFRepo", b"hfrepo"),
    "another version": TAG + (3).to_bytes(8, "little") + WHOLE[40:],
    "no end of the files": START + file([Part(ONE, 10, 0, 3)], digest(b"1")),
    "no end of the xorbs": START + END,
    "a segment without chunks": shard(file([Part(ONE, 0, 3, 3)], digest(b"1"))),
    "a segment that goes back": shard(file([Part(ONE, 10, 3, 2)], digest(b"1"))),
    "more segments than there are": START
    + b"f" * 32
    + (1 << 30).to_bytes(4, "little")
    + b"\xff" * 4
    + bytes(8)
    + END
    + END,
    "more chunks than there are": START + END + b"x" * 32 + bytes(4) + b"\xff" * 4 + bytes(8) + END,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_shard_is_refused(wrong: str) -> None:
    with pytest.raises(RequestError):
        read(WRONG[wrong])


@given(st.integers(0, len(WHOLE) - 1))
def test_one_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(RequestError):
        read(WHOLE[:length])


@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(RequestError):
        read(START + noise.replace(b"\xff", b"x"))
