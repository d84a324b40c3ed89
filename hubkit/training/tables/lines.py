"""The lines of text files and of streams, strictly decoded, as they come."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from registry.errors import DataError, EncodingError
from registry.storage.place import Place

CHUNK = 2**18
"""Bytes that are read at a time."""

_FIRST_BYTES = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

_NO_TEXT = {
    b"\x1f\x8b": "is compressed by gzip",
    b"PK\x03\x04": "is a zip archive, as Excel files are",
    b"\xd0\xcf\x11\xe0": "is a file of an older Excel or Word",
    b"PAR1": "is a Parquet file",
    b"%PDF": "is a PDF file",
}
"""Kinds of files that are not text, by their first bytes."""


@contextmanager
def opened(path: Place) -> Iterator[io.BufferedReader]:
    """A file to read.

    Raises:
        DataError: It cannot be opened or read.
    """
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", str(path)) from error


def read_lines(stream: BinaryIO, source: str, encoding: str = "utf-8") -> Iterator[list[str]]:
    r"""The lines that have come so far, again and again; of a file, as many as lie in a chunk.

    Lines are without their ends (``\n`` or ``\r\n``). After the last end there is no line.

    Args:
        stream: A file, or standard input: only its next bytes are waited for.
        source: Its name in messages.
        encoding: What it is in; a byte order mark is left out.

    Raises:
        DataError: There is a NUL byte.
        EncodingError: A byte is not in that encoding, or there is no such encoding.
    """
    for text in whole_lines(stream, source, encoding):
        lines = text.removesuffix("\n").replace("\r\n", "\n").split("\n")
        yield [*lines[:-1], lines[-1].removesuffix("\r")] if text.endswith("\n") else lines


def whole_lines(stream: BinaryIO, source: str, encoding: str = "utf-8") -> Iterator[str]:
    r"""As :func:`read_lines`, as texts of whole lines with their ends; the last may have none."""
    begun: list[str] = []
    for text in _decoded(stream, source, encoding):
        complete, end, rest = text.rpartition("\n")
        if end:
            yield "".join((*begun, complete, end))
            begun = []
        if rest:
            begun.append(rest)
    if begun:
        yield "".join(begun)


def _decoded(stream: BinaryIO, source: str, encoding: str) -> Iterator[str]:
    decoder = _decoder(source, encoding)
    line, at_start, content = 1, True, stream.read1(CHUNK)  # type: ignore[attr-defined]
    for begin, found in _NO_TEXT.items():
        if content.startswith(begin):
            raise DataError(f"{source} {found}; expected text.", source, found=found)
    utf16 = _FIRST_BYTES.get(content[:2])
    if utf16 and encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        raise EncodingError(
            f"{source} starts as UTF-16 does; expected {encoding}.",
            source,
            given=encoding,
            expected=encoding,
            found=utf16,
        )
    while True:
        try:
            text = decoder.decode(content, final=not content)
        except UnicodeError as error:
            raise _wrong_byte(error, source, encoding, line) from error
        if at_start and text:
            text, at_start = text.removeprefix("\ufeff"), False
        if "\0" in text:
            line += text.count("\n", 0, text.index("\0"))
            raise DataError(f"{source}, line {line}: expected text, found a NUL byte.", source)
        line += text.count("\n")
        if text:
            yield text
        if not content:
            return
        content = stream.read1(CHUNK)  # type: ignore[attr-defined]


def _decoder(source: str, encoding: str) -> codecs.IncrementalDecoder:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # which takes encodings of text alone
        return codecs.getincrementaldecoder(encoding)()
    except LookupError as error:
        raise EncodingError(
            f"There is no encoding {encoding!r}.", source, given=encoding
        ) from error


def _wrong_byte(error: UnicodeError, source: str, encoding: str, line: int) -> EncodingError:
    """Name the place; ``line`` is that of the first byte which was not decoded before."""
    content, start = getattr(error, "object", b""), getattr(error, "start", 0)
    line += content.count(b"\n", 0, start)
    byte = content[start : start + 1].hex()
    return EncodingError(
        f"{source}, line {line}: the byte 0x{byte} is not {encoding}.",
        source,
        given=encoding,
        found=byte,
    )
