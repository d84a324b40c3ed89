"""What `hubkit fuse --compare` publishes for few examples, against another library.

Donors are trained once, by hubkit, on other domains; the library ``adapters`` loads them from the
folders that hubkit writes. For each target and seed, some rows are drawn. hubkit compares on them
alone, and publishes what wins; ``adapters`` trains its fusion of the same donors, and its adapter,
for as many epochs. All is measured on the whole test split, which nothing is chosen by.

    HF_HUB_OFFLINE=1 python benchmarks/few_examples.py DATA --seeds 2 --targets amazon

A comparison on two cores takes long. Without it, contenders are only trained on the few rows, and
measured; the last table says what hubkit would publish, by how far from the best still counts as
good:

    HF_HUB_OFFLINE=1 python benchmarks/few_examples.py DATA --seeds 2 --no-compare \
        --contenders alone --contenders donor --contenders mix --contenders fusion
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from os import environ
from pathlib import Path
from statistics import mean, stdev
from subprocess import PIPE, Popen
from typing import Any, get_args

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

# A script finds its own folder first, and there, registry is another benchmark.
sys.path[0] = str(Path(__file__).parents[1])

from benchmarks.composition import packaged_model
from benchmarks.support.few import MAX_LENGTH, Few, read
from hubkit.adapters.load import load_published
from hubkit.comparing.bench import Bench, Score
from hubkit.comparing.compare import compare_fusion
from hubkit.comparing.comparison import CLOSE, best_and_winner
from hubkit.comparing.contenders import Given, Kind, contenders_of
from hubkit.comparing.folds import Fold
from hubkit.composing.combine import choose
from hubkit.composition import Fuse
from hubkit.inference import load
from hubkit.measuring.calibration import brier
from hubkit.measuring.measure import evaluate
from hubkit.tasks.rows import Rows
from hubkit.training.job import Job
from hubkit.training.settings import (
    ADAPTER_LEARNING_RATE,
    CACHE_TRUNK,
    FUSION_BATCH_SIZE,
    FUSION_LEARNING_RATE,
    Settings,
)
from hubkit.training.start import start_of
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog, open_catalog

DOMAINS = ("amazon", "movie", "tweets")
TASK = "sentiment"
Found = dict[str, Any]


def _quiet(threads: int) -> None:
    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)


def train_donor(home: Path, base: str, data: Path, domain: str, rows: int, epochs: int) -> str:
    """Train and publish an adapter of a domain, and write it for the other library, too."""
    texts, labels = read(data, domain, "train")
    catalog = open_catalog(home)
    settings = Settings(learning_rate=ADAPTER_LEARNING_RATE, epochs=epochs, max_length=MAX_LENGTH)
    job = Job(
        name=AdapterRef(None, domain),
        task=TASK,
        data=Rows(domain, {"text": texts[:rows], "label": labels[:rows]}),
        settings=settings,
    )
    version = train_adapter(catalog, job, base=base)
    folder = home / "folders" / domain
    load_published(catalog, version).composition.save(folder)
    return str(folder)


def measured(home: Path, few: Few, folds: int, kinds: Sequence[str]) -> Found:
    """How contenders do on the test rows, and what hubkit publishes, if there are folds."""
    catalog = open_catalog(home)
    (texts, labels), (asked, right) = few.drawn(), few.tested()
    settings = Settings(
        learning_rate=FUSION_LEARNING_RATE,
        batch_size=FUSION_BATCH_SIZE,
        epochs=few.epochs,
        max_length=MAX_LENGTH,
        seed=few.seed,
    )
    name = f"{few.target}-{few.seed}"
    rows = Rows(name, {"text": texts, "label": labels})
    job = Job(name=AdapterRef(None, name), task=TASK, data=rows, settings=settings)
    test = Rows(name, {"text": asked, "label": right})
    scores, weights = _contenders(catalog, few, job, test, kinds)
    found: Found = {
        "library": "hubkit",
        "target": few.target,
        "seed": few.seed,
        "test": {name: score.value for name, score in scores.items()},
        "right": {name: score.of_rows for name, score in scores.items()},
        "choices": {name: score.choices for name, score in scores.items()},
        "places": next((score.right for score in scores.values()), []),
        "weights": weights,
    }
    if not folds:
        return found
    refs = [AdapterRef(None, donor) for donor in few.donors]
    start = time.perf_counter()
    comparison, version = compare_fusion(catalog, job, refs=refs, folds=folds)
    seconds = time.perf_counter() - start
    published = evaluate(load(version.ref, catalog=catalog), test)["accuracy"]
    return {
        **found,
        "winner": comparison.row(comparison.winner).kind,
        "winner's name": comparison.winner,
        "outcome": comparison.outcome,
        "verdict": comparison.verdict,
        "folds": {row.name: row.mean for row in comparison.rows},
        "test": {"published": published, **found["test"]},
        "seconds": seconds,
    }


def _contenders(
    catalog: Catalog, few: Few, job: Job, test: Rows, kinds: Sequence[str]
) -> tuple[dict[str, Score], dict[str, int]]:
    """What each contender makes of the test rows, trained on all of the few, and its weights."""
    chosen = choose(catalog, [AdapterRef(None, donor) for donor in few.donors], Fuse)
    start = start_of(catalog, job, few.base, chosen)
    donors = [load_published(catalog, *one).composition for one in chosen]
    both = {name: [*job.data[name], *test[name]] for name in ("text", "label")}
    bench = Bench(start, replace(job, data=Rows(job.data.name, both)), donors, "before")
    fold = Fold(range(len(job.data)), range(len(job.data), len(both["text"])))
    all_of_them = contenders_of(job.settings, list(few.donors), "before", {}, CACHE_TRUNK)
    scores, weights = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for number, one in enumerate(all_of_them):
            if one.kind in kinds:
                done = Path(folder, f"{number}.json")
                scores[one.name] = bench.measure(one, fold, few.seed, done)
                given = Given(start.model, donors, few.seed)
                weights[one.name] = one.make(given).weights
    return scores, weights


def ask_peer(python: str, runs: Sequence[Few], threads: int) -> Iterator[Found]:
    """What the other library gets; it runs in the interpreter of its own environment."""
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    script = Path(__file__).parent / "peers" / "few_examples.py"
    with Popen(
        [python, str(script), str(threads)],
        env={**environ, **quiet, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=PIPE,
        stdout=PIPE,
        text=True,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        for few in runs:
            print(json.dumps(few.as_json()), file=worker.stdin, flush=True)
            test = json.loads(worker.stdout.readline())
            yield {"library": "adapters", "target": few.target, "seed": few.seed, "test": test}
        worker.stdin.close()


def print_tables(found: Sequence[Found]) -> None:
    """A table for each target: means and spreads over the seeds that all libraries have."""
    for target in dict.fromkeys(one["target"] for one in found):
        own, peer = (
            {one["seed"]: one for one in found if (one["target"], one["library"]) == (target, name)}
            for name in ("hubkit", "adapters")
        )
        seeds = sorted(own.keys() & peer.keys()) if peer else sorted(own)
        if not seeds:
            continue
        columns = {
            f"hubkit: {n}": [own[s]["test"][n] for s in seeds] for n in own[seeds[0]]["test"]
        }
        for name in peer[seeds[0]]["test"] if peer else ():
            columns[f"adapters: {name}"] = [peer[seed]["test"][name] for seed in seeds]
        published = columns.get("hubkit: published")
        table = Table("", "accuracy", "spread", "published less it", title_justify="left")
        table.title = f"{target}, {len(seeds)} seeds"
        for name, values in columns.items():
            less = ""
            if published:
                gaps = [ours - other for ours, other in zip(published, values, strict=True)]
                less = f"{mean(gaps):+.1%} ± {_spread(gaps) / len(gaps) ** 0.5:.1%}"
            table.add_row(name, f"{mean(values):.1%}", f"{_spread(values):.1%}", less)
        console = Console(width=110)
        console.print(table)
        if not published:
            continue
        winners = [own[seed]["winner's name"] for seed in seeds]
        counts = {name: winners.count(name) for name in dict.fromkeys(winners)}
        console.print("published:", ", ".join(f"{name} {count}" for name, count in counts.items()))
        outcomes = [own[seed]["outcome"] for seed in seeds]
        said = ", ".join(f"{one} {outcomes.count(one)}" for one in dict.fromkeys(outcomes))
        console.print("what the first line says of fusing:", said)


def print_rules(found: Sequence[Found], rows: int) -> None:
    """What would be published, by what is compared and how near to the best is as good.

    In place of folds, as many of the test rows are drawn as there are rows to train on, a thousand
    times. The contenders are those that were trained on all of these.
    """
    runs = [one for one in found if one["library"] == "hubkit" and one.get("places")]
    targets = [*dict.fromkeys(one["target"] for one in runs)]
    table = Table("by", "within", *targets, "mean", title="Accuracy of what would be published")
    for by_brier in (False, True):
        for errors in (0.0, CLOSE, 0.5, 1.0):
            by_run = [(one["target"], _published(one, rows, errors, by_brier)) for one in runs]
            by_target = [mean(v for name, v in by_run if name == target) for target in targets]
            cells = [f"{value:.1%}" for value in (*by_target, mean(by_target))]
            by = "Brier score" if by_brier else "accuracy"
            table.add_row(by, f"{errors:g} standard errors", *cells)
    Console(width=110).print(table)


def _published(run: Found, rows: int, errors: float, by_brier: bool) -> float:
    right = {name: np.asarray(values) for name, values in run["right"].items()}
    choices = {name: np.asarray(values) for name, values in run["choices"].items()}
    places = np.asarray(run["places"])
    able = [name for name in right if name not in ("base model", "control")]
    chance, whole = np.random.default_rng(0), len(right[able[0]])
    values = []
    for _ in range(1000):
        drawn = chance.choice(whole, rows, replace=False)
        units = {name: right[name][drawn] for name in able}
        if by_brier:
            units = {name: -brier(choices[name][drawn], places[drawn]) for name in able}
        means = {name: float(values.mean()) for name, values in units.items()}
        _, winner = best_and_winner(means, run["weights"], units, errors)
        values.append(float(right[winner].mean()))
    return mean(values)


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


@click.command(help=__doc__)
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", "base", help="Folder of the base model.  [default: all-MiniLM-L6-v2]")
@click.option("--targets", multiple=True, default=DOMAINS, show_default=True)
@click.option("--rows", default=100, show_default=True, help="Of the target.")
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(1))
@click.option("--epochs", default=20, show_default=True, type=click.IntRange(1))
@click.option("--folds", default=3, show_default=True, type=click.IntRange(2))
@click.option("--compare/--no-compare", default=True, help="Compare on the few rows alone, too.")
@click.option(
    "--contenders",
    "kinds",
    multiple=True,
    type=click.Choice(get_args(Kind)),
    default=get_args(Kind),
    help="To measure on the test rows.  [default: all]",
)
@click.option("--donor-rows", default=1500, show_default=True)
@click.option("--donor-epochs", default=4, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes for hubkit.")
@click.option("--peer-workers", default=1, show_default=True, help="Processes for adapters.")
@click.option("--threads", default=1, show_default=True, help="Of each process.")
@click.option("--adapters-python", help="An interpreter that imports adapters 1.3.0.")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Of the registry.  [default: removed at the end]",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    help="A file to add a line of JSON to for each run; runs that it has are not repeated.",
)
def main(
    data: Path,
    base: str | None,
    targets: tuple[str, ...],
    rows: int,
    seeds: int,
    epochs: int,
    folds: int,
    compare: bool,
    kinds: tuple[str, ...],
    donor_rows: int,
    donor_epochs: int,
    workers: int,
    peer_workers: int,
    threads: int,
    adapters_python: str | None,
    home: Path | None,
    results: Path | None,
) -> None:
    base = base or packaged_model()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    known: list[Found] = []
    if results is not None and results.exists():
        known = [json.loads(line) for line in results.read_text().splitlines()]
    done = {(one["library"], one["target"], one["seed"]) for one in known}
    with ExitStack() as stack:
        home = home or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home = home.resolve()
        context = get_context("spawn")
        pool = stack.enter_context(
            ProcessPoolExecutor(workers, context, initializer=_quiet, initargs=(threads,))
        )
        open_catalog(home)  # Not by all workers at once.
        needed = [one for one in DOMAINS if any(one != target for target in targets)]
        training = {
            domain: pool.submit(train_donor, home, base, data, domain, donor_rows, donor_epochs)
            for domain in needed
            if not (home / "folders" / domain).exists()
        }
        for donor in training.values():
            donor.result()
        folders = {domain: str(home / "folders" / domain) for domain in needed}
        # Each target has as many seeds as any other when the time is over.
        runs = [
            Few(
                target=target,
                seed=seed,
                base=base,
                data=str(data),
                donors={name: path for name, path in folders.items() if name != target},
                rows=rows,
                epochs=epochs,
                device=device,
            )
            for seed in range(seeds)
            for target in targets
        ]
        waiting: list[Future[list[Found]]] = [
            pool.submit(_listed, home, few, folds if compare else 0, kinds)
            for few in runs
            if ("hubkit", few.target, few.seed) not in done
        ]
        if adapters_python is not None:
            threaded = stack.enter_context(ThreadPoolExecutor(peer_workers))
            asked = [few for few in runs if ("adapters", few.target, few.seed) not in done]

            def ask(part: Sequence[Few]) -> list[Found]:
                assert adapters_python is not None
                answers = []
                for answer in ask_peer(adapters_python, part, threads):
                    _keep(results, answer)
                    answers.append(answer)
                return answers

            for number in range(peer_workers):
                waiting.append(threaded.submit(ask, asked[number::peer_workers]))
        for future in as_completed(waiting):
            for answer in future.result():
                known.append(answer)
                if answer["library"] == "hubkit":
                    _keep(results, answer)
    print_tables(known)
    print_rules(known, rows)


def _listed(home: Path, few: Few, folds: int, kinds: Sequence[str]) -> list[Found]:
    return [measured(home, few, folds, kinds)]


def _keep(results: Path | None, answer: Found) -> None:
    if results is not None:
        with results.open("a") as stream:
            stream.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
