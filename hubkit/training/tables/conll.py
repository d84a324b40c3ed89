"""Tagged sentences as CoNLL's tasks have them: a token and its tag a line, a blank line between."""

from __future__ import annotations

import re

from registry.errors import DataError

SUFFIXES = (".conll", ".bio", ".bioes", ".iob", ".iob2", ".iobes")
"""The endings of such files."""

_DOCUMENT = "-DOCSTART-"
_SPACES = re.compile("[ \t]+")


def read_sentences(content: str, source: str) -> tuple[dict[str, list[list[str]]], list[str]]:
    """The tokens and the tags of each sentence, and the line that it begins on.

    Columns are separated by tabs where the first line has one, else by spaces. The first is the
    token, the last is the tag. What stands between is left out, as are lines of ``-DOCSTART-``.

    Args:
        content: The text of a file.
        source: Its name in messages.

    Returns:
        The columns ``tokens`` and ``tags``, and the places. A file of one column has no ``tags``.

    Raises:
        DataError: A line has more or fewer columns than the first, or an empty one.
    """
    tokens: list[list[str]] = []
    tags: list[list[str]] = []
    places: list[str] = []
    width, tabs, inside = 0, False, False
    for number, line in enumerate(content.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip(" \t") or line.startswith(_DOCUMENT):
            inside = False
            continue
        if not width:
            tabs = "\t" in line
        fields = line.split("\t") if tabs else _SPACES.split(line.strip(" \t"))
        width = width or len(fields)
        if len(fields) != width or not all(fields):
            raise DataError(
                f"{source}, line {number}: expected {width} columns separated by "
                f"{'tabs' if tabs else 'spaces'}, as in the first line, found {line[:80]!r}. The "
                "first column is the token, the last its tag; a blank line ends a sentence.",
                source,
                found=line,
            )
        if not inside:
            tokens.append([])
            tags.append([])
            places.append(f"line {number}")
            inside = True
        tokens[-1].append(fields[0])
        tags[-1].append(fields[-1])
    if not tokens:
        raise DataError(f"{source} has no rows.", source)
    return {"tokens": tokens} | ({"tags": tags} if width > 1 else {}), places
