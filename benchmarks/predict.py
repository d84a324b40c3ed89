"""Rows a second of `hubkit predict`: one process, two at once, and Ray with two workers.

Each line is the whole command in processes of its own, once with all rows and once with one row in
each file: what the second takes is its start. A process has one thread, but for the second line.

    HF_HUB_OFFLINE=1 python benchmarks/predict.py --rows 4000
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import click
from rich.console import Console
from rich.table import Table

# A script finds its own folder first, and there, registry is another benchmark.
sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.composition import packaged_model
from hubkit.tasks.rows import Rows
from hubkit.training.job import Job
from hubkit.training.settings import Settings
from hubkit.training.train import train_adapter
from registry import AdapterRef, open_catalog

FILES = 2
_TEXT = "The {} of the {} was {}, and I would tell {} to go there again, if it were not so {}."
_WORDS = (
    *(("service", "story", "sound", "staff"), ("film", "hotel", "phone", "book", "place")),
    *(("fine", "very dull", "a nice surprise"), ("you", "nobody", "friends"), ("far", "dear")),
)


def write(folder: Path, rows: int) -> None:
    """Files with so many rows in all, none of which is like another."""
    folder.mkdir()
    for file in range(FILES):
        with (folder / f"rows-{file}.csv").open("w") as lines:
            lines.write("text\n")
            for row in range(file, rows, FILES):
                words, rest = [], row
                for among in _WORDS:
                    rest, at = divmod(rest, len(among))
                    words.append(among[at])
                lines.write(f'"{_TEXT.format(*words)} {row}"\n')


def seconds(commands: list[list[str]], threads: int, home: Path) -> float:
    """How long commands take that start at once."""
    settings = {"HUBKIT_HOME": str(home), "OMP_NUM_THREADS": str(threads)}
    start = perf_counter()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "hubkit", "predict", "a", *command],
            env=os.environ | settings,
            stdout=subprocess.DEVNULL,
        )
        for command in commands
    ]
    for process in running:
        if process.wait():
            raise click.ClickException("A command failed.")
    return perf_counter() - start


@click.command(help=__doc__)
@click.option("--model", "name", help="Folder of the base model; default: all-MiniLM-L6-v2.")
@click.option("--rows", default=4000, show_default=True, type=click.IntRange(FILES))
def main(name: str | None, rows: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        home, found = Path(place, "home"), []
        job = Job(
            name=AdapterRef(None, "a"),
            task="liking",
            data=Rows("rows", {"text": ["good", "bad"] * 8, "label": ["yes", "no"] * 8}),
            settings=Settings(epochs=1, learning_rate=1e-3),
        )
        train_adapter(open_catalog(home), job, base=name or packaged_model())
        for size, folder in ((rows, Path(place, "all")), (FILES, Path(place, "one"))):
            write(folder, size)

            def command(source: str, *more: str, folder: Path = folder) -> list[str]:
                out = folder / f"{len(list(folder.iterdir()))}{source[5:6]}.parquet"
                return ["--file", str(folder / source), "--out", str(out), *more]

            found.append(
                [
                    seconds([command("rows-*.csv")], 1, home),
                    seconds([command("rows-*.csv")], 2, home),
                    seconds([command(f"rows-{file}.csv") for file in range(FILES)], 1, home),
                    seconds([command("rows-*.csv", "--engine", "ray", "--workers", "2")], 1, home),
                ]
            )
    table = Table("", "seconds", "of these, the start", "rows a second after it")
    names = ("1 process", "1 process, 2 threads", "2 processes", "Ray, 2 workers")
    for line, whole, start in zip(names, *found, strict=True):
        table.add_row(line, f"{whole:.1f}", f"{start:.1f}", f"{rows / (whole - start):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
