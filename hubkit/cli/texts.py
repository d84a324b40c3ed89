"""Texts as arguments, as the lines of a file, or as a column of a table."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hubkit.cli.options import input_options, reading
from registry.errors import DataError

if TYPE_CHECKING:
    from hubkit.tasks.task import TaskType

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Texts:
    """Rows to predict: each has its number from 1, so that none is lost from sight.

    Attributes:
        rows: Every row that was given: its columns, by the task type's names.
    """

    rows: list[dict[str, Any]]

    def filled(self) -> list[int]:
        """The positions of the rows that say something."""
        return [at for at, row in enumerate(self.rows) if all(map(_says, row.values()))]


def _says(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value not in (None, [])


def text_options(command: _Command) -> _Command:
    """The arguments and options that :func:`read_texts` takes."""
    file = click.option(
        "--file",
        metavar="FILE",
        help="Read the texts from a file: the column of a .csv, .tsv, .json, .jsonl or .parquet "
        "file, the lines of any other; - for the lines of standard input.",
    )
    size = click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=32,
        show_default=True,
        help="Texts at a time.",
    )
    return click.argument("texts", nargs=-1, metavar="[TEXT]...")(
        file(input_options(size(command)))
    )


def read_texts(
    task: TaskType[Any], texts: tuple[str, ...], file: str | None, options: dict[str, Any]
) -> Texts:
    """The texts that are given.

    Args:
        task: What its columns are called.
        texts: Arguments.
        file: The value of ``--file``.
        options: Those of ``input_options``; they are taken out.

    Raises:
        DataError: The file cannot be read, or no row says something.
    """
    how = reading(task, options)
    file = "-" if texts == ("-",) else file
    first = task.inputs[0].name
    if file is None:
        return Texts([{first: text} for text in texts])
    found = Texts(_rows(task, first, file, how))
    if not found.filled():
        name = "Standard input" if file == "-" else file
        raise DataError(f"{name} holds no text: expected one in each row.", file)
    return found


def check_texts(texts: tuple[str, ...], file: str | None) -> None:
    """Fail early: loading a model takes seconds.

    Raises:
        UsageError: There are no texts, or both kinds, or an empty one.
        DataError: There is no such file.
    """
    given = () if texts == ("-",) and file is None else texts
    if "-" in given or any(not text.strip() for text in given):
        raise click.UsageError("A text is empty, or - stands beside others.")
    if bool(given) == (file is not None or texts == ("-",)):
        raise click.UsageError("Give the texts as arguments, or with --file; - is standard input.")
    if file not in (None, "-") and not Path(str(file)).exists():
        raise DataError(f"{file} does not exist.", file)


def _rows(task: TaskType[Any], first: str, file: str, how: dict[str, Any]) -> list[dict[str, Any]]:
    from hubkit.training.data import read_inputs
    from hubkit.training.files import SUFFIXES, decode, read_text

    if file == "-":
        text = decode(sys.stdin.buffer.read(), "standard input", how["encoding"])
    elif Path(file).suffix.lower() in SUFFIXES:
        return read_inputs(task, file, **how)
    else:
        text = read_text(Path(file), how["encoding"])
    lines = text.replace("\r\n", "\n").split("\n")
    return [{first: line} for line in (lines[:-1] if lines[-1] == "" else lines)]
