"""Texts as arguments, or as the lines of a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any, TypeVar

import click

from registry.errors import DataError

_Command = TypeVar("_Command", bound=Callable[..., Any])


def text_options(command: _Command) -> _Command:
    """The arguments and options that :func:`read_texts` takes."""
    file = click.option(
        "--file",
        type=click.File(encoding="utf-8"),
        help="Read the texts from a file, one a line; - for standard input.",
    )
    size = click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=32,
        show_default=True,
        help="Texts at a time.",
    )
    return click.argument("texts", nargs=-1, metavar="[TEXT]...")(file(size(command)))


def read_texts(texts: tuple[str, ...], file: IO[str] | None) -> tuple[str, ...]:
    """The texts that are given; empty lines are left out.

    Raises:
        UsageError: There are none, or both kinds, or an empty one.
        DataError: The file is not UTF-8 text, or holds none.
    """
    if texts == ("-",) and file is None:
        texts, file = (), click.open_file("-", encoding="utf-8")
    if "-" in texts or any(not text.strip() for text in texts):
        raise click.UsageError("A text is empty, or - stands beside others.")
    if bool(texts) == (file is not None):
        raise click.UsageError("Give the texts as arguments, or with --file; - is standard input.")
    if file is None:
        return texts
    try:
        lines = tuple(line.strip() for line in file if line.strip())
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name} is not UTF-8 text: {error}.", file.name) from error
    if not lines:
        raise DataError(f"{file.name} holds no text: expected one on each line.", file.name)
    return lines
