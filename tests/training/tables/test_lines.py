from __future__ import annotations

import io
import os
import threading

import pytest

from hubkit.training.tables import lines
from hubkit.training.tables.lines import read_lines
from registry.errors import DataError, EncodingError


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_lines_are_whole_whatever_is_read_at_a_time(
    chunk: int, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "CHUNK", chunk)
    content = "\r\n äö\n\nthe film\r\nlast".encode(encoding)
    found = [line for some in read_lines(io.BytesIO(content), "s", encoding) for line in some]
    assert found == ["", " äö", "", "the film", "last"]


@pytest.mark.parametrize(
    ("content", "count"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\n\n", 2)]
)
def test_after_the_last_end_there_is_no_line(content: bytes, count: int) -> None:
    assert len([line for some in read_lines(io.BytesIO(content), "s") for line in some]) == count


@pytest.mark.parametrize("chunk", [1, 4, 1000])
@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"a\nb\xe4c\n", "utf-8", "s, line 2: the byte 0xe4 is not utf-8."),
        (b"a\nb\n\xe4", "utf-8", "s, line 3: the byte 0xe4 is not utf-8."),
        (b"a\n\nb\0", "utf-8", "s, line 3: expected text, found a NUL byte."),
        (b"a", "nonsense", "There is no encoding 'nonsense'."),
        (b"a", "base64", "There is no encoding 'base64'."),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(
    content: bytes, encoding: str, message: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "CHUNK", chunk)
    with pytest.raises((DataError, EncodingError)) as caught:
        list(read_lines(io.BytesIO(content), "s", encoding))
    assert str(caught.value) == message


def test_a_line_is_there_as_soon_as_it_has_come() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as pen:
        found = read_lines(stream, "s")
        closing = threading.Timer(20, pen.close)  # so that a failure is no endless wait
        closing.start()
        pen.write(b"one\n")
        assert next(found) == ["one"]
        pen.write(b"two\nth")
        assert next(found) == ["two"]
        pen.write(b"ree\n")
        assert next(found) == ["three"]
        closing.cancel()
