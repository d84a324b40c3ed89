"""What epochs of training cost: half of the layers dropped and cached, against all of them.

Each row is trained for the same epochs on the same texts, from a fresh process, so that its peak of
memory is its own; other libraries run in environments of their own. The base model is in eval mode
everywhere, so that losses can be compared.

    HF_HUB_OFFLINE=1 python benchmarks/training.py --texts 128
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

# A script finds its own folder first, and there, registry is another benchmark.
sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.composition import packaged_model
from benchmarks.support.each import each_seconds
from benchmarks.support.epochs import Epochs, epochs
from benchmarks.support.hubkit_subject import Hubkit
from benchmarks.support.peer import Peer
from benchmarks.support.rows import Kind, Method, Row
from benchmarks.support.subject import BASE_SIZED, base_model


def rows_of(layers: int) -> list[tuple[str, Row]]:
    """The library and the row of each measurement, what the next ones are compared with first."""
    half = layers // 2

    def row(kind: Kind, count: int = 1, method: Method = "seq_bn", **more: Any) -> Row:
        return Row(kind, count, method, "training, eval trunk", **more)

    return [
        ("hubkit", row("single")),
        ("hubkit", row("single", dropped=half)),
        ("hubkit", row("single", dropped=half, cached=True)),
        ("adapters", row("single")),
        ("hubkit", row("single", method="lora")),
        ("hubkit", row("single", method="lora", dropped=half, cached=True)),
        ("peft", row("single", method="lora")),
        ("hubkit", row("fusion", 8)),
        ("hubkit", row("fusion", 8, dropped=half)),
        ("hubkit", row("fusion", 8, dropped=half, cached=True)),
        ("adapters", row("fusion", 8)),
    ]


def _in_process(name: str, device: str, threads: int, row: Row, texts: int, count: int) -> Epochs:
    torch.set_num_threads(threads)
    return epochs(Hubkit(base_model(name, device)), row, texts, count)


@click.command(help=__doc__)
@click.option("--model", "name", help=f"Folder of the base model, or {BASE_SIZED}.")
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@click.option("--texts", default=128, show_default=True, type=click.IntRange(1))
@click.option("--epochs", "count", default=5, show_default=True, type=click.IntRange(1))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--users", default=0, help="Also `hubkit train --each`, with so many users.")
@click.option("--adapters-python", help="An interpreter that imports adapters 1.3.0.")
@click.option("--peft-python", help="An interpreter that imports peft 0.21.2.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of the table.")
def main(
    name: str | None,
    device: str,
    texts: int,
    count: int,
    threads: int,
    users: int,
    adapters_python: str | None,
    peft_python: str | None,
    as_json: bool,
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("This machine has no GPU that torch can use.")
    torch.set_num_threads(threads)
    name = name or packaged_model()
    pythons = {"adapters": adapters_python, "peft": peft_python}
    layers = base_model(name, "cpu").config.num_hidden_layers
    found: list[tuple[str, Row, Epochs]] = []
    for library, row in rows_of(layers):
        if library == "hubkit":
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                measured = pool.submit(
                    _in_process, name, device, threads, row, texts, count
                ).result()
        elif (python := pythons[library]) is not None:
            with Peer(library, python, name, device) as peer:
                answer = peer.epochs(row, texts, count)
            assert answer is not None
            measured = answer
        else:
            continue
        found.append((library, row, measured))
    each = each_seconds(name, users) if users else {}
    if as_json:
        listed = [{"library": one, "row": r.name, **asdict(m)} for one, r, m in found]
        print(json.dumps({"epochs": listed, "each": each}))
        return
    table = Table(
        "",
        "",
        f"examples a {'processor ' if device == 'cpu' else ''}second",
        "times",
        "peak, MiB",
        "loss of each epoch",
    )
    first: dict[tuple[str, str], float] = {}
    for library, row, measured in found:
        spent = sum(measured.seconds)
        usual = first.setdefault((row.kind, row.method), spent)
        losses = " ".join(f"{loss:.4f}" for loss in measured.losses)
        table.add_row(
            library,
            row.name.removeprefix("training, eval trunk: "),
            f"{texts * count / spent:.1f}",
            f"{usual / spent:.2f}",
            f"{measured.peak / 2**20:.0f}",
            losses,
        )
    Console(width=140).print(table)
    for what, value in each.items():
        print(f"{what}: {value:.2f}")


if __name__ == "__main__":
    main()
