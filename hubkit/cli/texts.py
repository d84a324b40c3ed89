"""Rows as arguments, as the lines of a file or of standard input, or as the rows of a table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hubkit.cli.options import input_options, reading

if TYPE_CHECKING:
    from hubkit.tasks.task import TaskType
    from registry.manifest import TextInfo

_Command = TypeVar("_Command", bound=Callable[..., Any])


def text_options(command: _Command) -> _Command:
    """The arguments and options that :func:`read_blocks` takes."""
    file = click.option(
        "--file",
        metavar="FILE",
        help="Read the texts from a file: the column of a .csv, .tsv, .json, .jsonl or .parquet "
        "file or of one in CoNLL's or SQuAD's form, the lines of any other; - for the lines of "
        "standard input. May be a pattern, such as 'rows/*.csv', and in object storage: "
        "'s3://bucket/rows/*.parquet'.",
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


def read_blocks(
    task: TaskType[Any],
    info: TextInfo | None,
    texts: tuple[str, ...],
    file: str | None,
    options: dict[str, Any],
    each: str | None = None,
) -> tuple[str, Iterator[list[dict[str, Any]]]]:
    """What messages call the rows that are given, and these as they come, empty ones included.

    Args:
        task: The task type, which has the columns.
        info: How texts were joined in training, as far as that is known.
        texts: Arguments.
        file: The value of ``--file``.
        options: Those of ``input_options``; they are taken out.
        each: The column of a table that names the adapter of a row.
    """
    from hubkit.predicting.inputs import row_of, rows_of_lines, takes_objects

    how, objects = reading(task, options), takes_objects(task, info)
    if file == "-" or texts == ("-",):
        name, encoding = "standard input", how["encoding"]
        return name, rows_of_lines(task, sys.stdin.buffer, name, encoding, objects=objects)
    if file is None:
        rows = [
            row_of(task, text, f"argument {number}", objects=objects)
            for number, text in enumerate(texts, start=1)
        ]
        return "the arguments", iter([rows])
    return file, _rows_of_files(task, file, each=each, objects=objects, **how)


def _rows_of_files(
    task: TaskType[Any], source: str, **reading: Any
) -> Iterator[list[dict[str, Any]]]:
    from hubkit.predicting.files import files_of
    from hubkit.predicting.inputs import rows_of_files

    for _, rows in rows_of_files(task, files_of(source), **reading):
        yield rows


def read_filled(
    task: TaskType[Any],
    info: TextInfo | None,
    texts: tuple[str, ...],
    file: str | None,
    options: dict[str, Any],
) -> list[dict[str, Any]]:
    """All the rows that say something; arguments as :func:`read_blocks`.

    Raises:
        DataError: They cannot be read, or none says something.
    """
    from hubkit.predicting.answers import no_text, says_something

    name, blocks = read_blocks(task, info, texts, file, options)
    rows = [row for block in blocks for row in block if says_something(row)]
    if not rows:
        raise no_text(name)
    return rows


def check_texts(texts: tuple[str, ...], file: str | None) -> None:
    """Fail early: loading a model takes seconds.

    Raises:
        UsageError: There are no texts, or both kinds, or an empty one.
        DataError: There is no such file.
        StorageError: An object storage cannot be asked.
    """
    given = () if texts == ("-",) and file is None else texts
    if "-" in given or any(not text.strip() for text in given):
        raise click.UsageError("A text is empty, or - stands beside others.")
    if bool(given) == (file is not None or texts == ("-",)):
        raise click.UsageError("Give the texts as arguments, or with --file; - is standard input.")
    if file not in (None, "-"):
        from hubkit.predicting.files import files_of

        files_of(str(file))
