"""Printing: tables for people on a terminal, plain lines in a pipe, JSON for programs."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from hubkit.bases.names import short_name

if TYPE_CHECKING:
    from rich.text import Text

    from registry.tables.measurements import Measurement
    from registry.tables.versions import Version

_LONG = 20
"""Characters that a cell can have before it may be broken into lines."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the libraries print out of the result: notes go to stderr, chatter nowhere."""
    from datasets.utils.logging import CRITICAL, disable_progress_bar, set_verbosity
    from transformers.utils import logging

    disable_progress_bar()
    # What cannot be read is said once, by the error that follows.
    set_verbosity(CRITICAL)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    # The trainer prints its progress to stdout.
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_json(document: Any) -> None:
    """Print one JSON document; ASCII, so that it survives every terminal and pipe."""
    click.echo(json.dumps(document, indent=2))


def base_column(base_model: str) -> str:
    """A base model in a table: short on a terminal, in full in a pipe."""
    # A folder's path says little about a model, and would leave no room for the rest.
    return short_name(base_model) if sys.stdout.isatty() else base_model


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    lesser: Sequence[str] = (),
    named: bool = False,
) -> None:
    """Print rows that fit the terminal; in a pipe, whole, with tabs and without a header.

    Args:
        columns: Their headers.
        rows: A cell a column.
        lesser: The columns that a narrow terminal goes without, the first to go first; default:
            none.
        named: Whether a pipe gets the header, too, since the columns are not always the same.
    """
    if not sys.stdout.isatty():
        for row in [columns, *rows] if named else rows:
            click.echo("\t".join(map(one_line, row)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    shown = [
        (header, [Text(one_line(row[number])) for row in rows])
        for number, header in enumerate(columns)
    ]
    for least in lesser:
        if _needed(shown) > console.width:
            shown = [column for column in shown if column[0] != least]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header, _ in shown:
        table.add_column(header, overflow="fold")
    for cells in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*cells)
    console.print(table)


def _needed(columns: Sequence[tuple[str, Sequence[Text]]]) -> int:
    """The width at which headers are whole, and so are all cells but long ones."""
    widths = [
        max([len(header), *(min(_LONG, cell.cell_len) for cell in cells)])
        for header, cells in columns
    ]
    return sum(widths) + 2 * (len(widths) - 1)


def print_facts(facts: Sequence[tuple[str, str]], *, title: str = "") -> None:
    """Print names and values in two columns under a title, leaving out what is empty."""
    known = [(name, value) for name, value in facts if value]
    if not known:
        return
    if title:
        click.echo(f"\n{title}")
    width = max(len(name) for name, _ in known)
    for name, value in known:
        click.echo(f"  {name:<{width}}  {one_line(value)}".rstrip())


def print_left_out(left_out: Mapping[str, int]) -> None:
    """Say how many adapters were not tried, by reason."""
    if left_out:
        listed = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        click.echo(f"Not tried: {listed}.", err=True)


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """Yield what to tell the part that is done, from 0 to 1; shown on a terminal after a second."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        shown: list[Progress] = []

        def tell(done: float) -> None:
            if not shown and time.monotonic() - start > 1:
                shown.append(
                    stack.enter_context(Progress(console=Console(stderr=True), transient=True))
                )
                shown[0].add_task(title, total=1.0)
            for bar in shown:
                bar.update(bar.task_ids[0], completed=done)

        yield tell


def print_doing(what: str) -> None:
    """Say on a terminal what the user waits for; on a line of its own, so that bars can follow."""
    if sys.stderr.isatty():
        click.echo(f"{one_line(what)} ...", err=True)


def printable(text: str) -> str:
    """`text` with its line breaks, but a space for each other control character."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def one_line(text: str) -> str:
    """`text` without line breaks and control characters, which could take over a terminal."""
    return printable(" ".join(text.split()))


def size(count: int) -> str:
    """A number of bytes, readable."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def measured_text(one: Measurement) -> str:
    """A measured value with its 95 % confidence interval, for people."""
    interval = "" if one.low is None else f" (95 % from {one.low:.4f} to {one.high:.4f})"
    return f"{one.value:.4f}{interval}"


def print_published(version: Version, *, as_json: bool, then: str = "") -> None:
    """Print what was published, and where to go next; default: to predict with it."""
    if as_json:
        print_json(version_json(version))
        return
    click.echo(str(version.ref))
    print_facts(
        [
            (metric.name, f"{metric.value:.4f} ({metric.dataset}, {metric.split})")
            for metric in version.metrics
        ]
    )
    if sys.stdout.isatty():
        predict = f'hubkit predict {version.ref} "some text"'
        click.echo(f"Next: {then or predict}", err=True)


def version_json(version: Version) -> dict[str, Any]:
    """A version as every command prints it in JSON; the keys are in docs/cli.md."""
    return {
        "ref": str(version.ref),
        "digest": version.manifest_digest,
        "kind": version.kind,
        "method": version.method,
        "base_model": version.base_model,
        "base_fingerprint": version.base_fingerprint,
        "task": version.task,
        "task_type": version.task_type,
        "language": version.language,
        "license": version.license,
        "description": version.description,
        "tags": [*version.tags],
        "metrics": [metric.model_dump() for metric in version.metrics],
        "size": version.size,
        "aliases": [*version.aliases],
        "author": version.author,
        "message": version.message,
        "created_at": version.created_at.isoformat(),
        "yanked_at": version.yanked_at.isoformat() if version.yanked_at else None,
        "yank_reason": version.yank_reason,
    }
