"""Fills registries, times what is asked of them, and prints it; see `benchmarks/registry.py`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from benchmarks.registries.asking import ask, command_line
from benchmarks.registries.changing import change, publish_at_once
from benchmarks.registries.filling import fill
from benchmarks.registries.moving import move_bytes
from benchmarks.registries.timing import timed
from benchmarks.registries.upkeep import look_after
from registry import Catalog, open_catalog
from registry.tables.models import REPOSITORIES

Rows = dict[str, str]


@click.command()
@click.option("--size", "sizes", type=int, multiple=True, help="Default: 10 k, 100 k and 1 M.")
@click.option("--home", type=click.Path(path_type=Path), help="Filled before; it stays.")
@click.option("--calls", default=200, show_default=True, help="Of each kind.")
@click.option("--place", type=click.Path(path_type=Path), default=Path("registry-benchmark"))
@click.option("--postgresql", metavar="URL", help="An empty database, in place of SQLite.")
@click.option("--keep", is_flag=True, help="Leave the registries there.")
@click.option("--full/--no-full", default=True, help="Whether to check every byte, too.")
def main(
    sizes: tuple[int, ...],
    home: Path | None,
    calls: int,
    place: Path,
    postgresql: str | None,
    keep: bool,
    full: bool,
) -> None:
    """Time registries of some sizes in milliseconds: median and tail."""
    columns: dict[str, Rows] = {}
    if home is not None:
        catalog = open_catalog(home, create=False, database=postgresql)
        size = filled_size(catalog)
        columns[f"{size:,}"] = measure(catalog, size, calls, postgresql, full)
    for size in sizes or (() if home is not None else (10_000, 100_000, 1_000_000)):
        folder = place / f"hubkit-{size}"
        catalog = open_catalog(folder, database=postgresql)
        if filled_size(catalog) == 0:
            spent = timed(lambda catalog=catalog, size=size: fill(catalog, size))
            tell("filled", f"{spent:.0f} s")
        columns[f"{size:,}"] = measure(catalog, size, calls, postgresql, full)
        if not keep:
            shutil.rmtree(folder)
    if postgresql is None:
        columns["bytes"] = told(move_bytes(place / "bytes"))
        shutil.rmtree(place / "bytes")
    for title, rows in columns.items():
        shown = Table("call", title)
        for what, value in rows.items():
            shown.add_row(what, value)
        Console(width=110).print(shown)


def measure(catalog: Catalog, size: int, calls: int, database: str | None, full: bool) -> Rows:
    """Ask everything of a filled registry."""
    work = catalog.home / "work"
    shutil.rmtree(work, ignore_errors=True)
    rows = told(ask(catalog, size, calls))
    if database is None:
        rows |= told(command_line(catalog.home))
    rows |= told(change(catalog, work, calls))
    rows |= told(publish_at_once(catalog.home, database, work, calls // 4))
    rows |= told(look_after(catalog, database, work, size, full=full))
    catalog.close()
    shutil.rmtree(work)
    return rows


def filled_size(catalog: Catalog) -> int:
    """Return how many adapters `fill` has put there: the first ones, and no owner of others."""
    repositories = REPOSITORIES
    statement = select(func.max(repositories.c.id)).where(repositories.c.owner != "bench")
    with catalog.database.read() as connection:
        return connection.scalar(statement) or 0


def told(found: Iterator[tuple[str, str]]) -> Rows:
    """Collect what is measured, and say it at once: all of it takes long."""
    rows = {}
    for what, value in found:
        tell(what, value)
        rows[what] = value
    return rows


def tell(what: str, value: str) -> None:
    print(f"  {what}: {value}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
