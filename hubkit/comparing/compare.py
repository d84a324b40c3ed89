"""Compare a fusion with what is cheaper and with random donors, and publish what wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from hubkit import processes
from hubkit.adapters.load import load_published
from hubkit.bases.stored import cache_in, pinned, where_base_is
from hubkit.comparing.bench import Bench, Score
from hubkit.comparing.comparison import Comparison, compared
from hubkit.comparing.contenders import Contender, Given, contenders_of
from hubkit.comparing.control import HOW
from hubkit.comparing.folds import Fold, folds_of
from hubkit.comparing.winner import Winner
from hubkit.composing.combine import Chosen, choose, pins
from hubkit.composition import Fuse
from hubkit.measuring.calibration import brier
from hubkit.training.fusing.own import Own
from hubkit.training.job import Job
from hubkit.training.runs import run_folder
from hubkit.training.settings import CACHE_TRUNK
from hubkit.training.start import start_of
from hubkit.training.trunk.cut import can_be_cut
from registry import AdapterRef, Catalog, Version
from registry.arguments import checked
from registry.errors import TrainingError
from registry.storage.durable import storage_errors

FOLDS = 6
"""The fewest that can show a difference where the scores of folds are paired."""

PUBLISHABLE = ("alone", "donor", "mix", "learned mix", "fusion", "fusion with own")
"""The kinds of contenders that can win; the base model alone cannot be published."""


@checked
def compare_fusion(
    catalog: Catalog,
    job: Job,
    *,
    refs: Sequence[AdapterRef | Chosen],
    own: Own = "before",
    folds: int = FOLDS,
    seeds: int = 1,
    **options: Any,
) -> tuple[Comparison, Version]:
    """Measure whether fusing published adapters helps, and publish what wins.

    On the same folds and seeds, these are compared: the base model with a new head; an adapter of
    the rows alone; each donor with a new head; the donors' mix, with equal and with learned
    weights; their fusion; their fusion with the adapter of the rows. The control is the fusion of
    random donors. The winner is the best, or the cheapest of those that are as good as it
    (:data:`~hubkit.comparing.comparison.CLOSE`); the base model and the control cannot win. Where
    an answer is one of several choices, the best is the one with the lowest Brier score, which
    needs fewer rows than accuracy to tell contenders apart. The winner is trained on all rows, and
    published with the comparison beside it.

    A run that was interrupted continues with the measurements that it has.

    Args:
        refs: The donors, two or more on one base model; or what :func:`choose` returned.
        own: How the own adapter, for the rows themselves, is trained, as in
            :func:`~hubkit.training.train.train_fusion`. One fusion has it among its parts;
            ``none`` leaves that fusion out.
        folds: Into how many parts the rows are divided; each is measured on once.
        seeds: How often all is trained on each fold: with the seed of the job, and those after it.
        options: Options of :func:`~hubkit.training.train.train_fusion` for the fusion.

    Raises:
        FoldsError: There are fewer rows, of a class or of all, than folds.
        TrainingError: Several processes were started.
        HubkitError: As ``train_fusion``.
    """
    if processes.count() > 1:
        raise TrainingError(
            f"A comparison runs in one process, not in {processes.count()}.",
            given=processes.count(),
            expected=1,
        )
    if seeds < 1:
        raise TrainingError(f"seeds must be at least 1, not {seeds}.", given=seeds)
    chosen = choose(catalog, refs, Fuse)
    base = chosen[0][1].base_model
    donors = [load_published(catalog, *one).composition for one in chosen]
    where = where_base_is(base, cache_in(catalog.home))
    start = start_of(catalog, job, where, chosen, pinned(base, where))
    task = start.checked.task
    parts = folds_of(task, job.data, folds, job.settings.seed)
    names = [str(version.ref) for version, _ in chosen]
    # Where only the head is trained, the backbone gives the same for a row in every epoch.
    cached = can_be_cut(start.model) and not task.draws_rows
    contenders = contenders_of(job.settings, names, own, options, CACHE_TRUNK if cached else None)
    bench = Bench(start, job, donors, own, options.get("leave_out", ()))
    named = {"refs": names, "compare": True, "own": own, "folds": folds, "seeds": seeds, **options}
    winner = Winner(catalog, bench, pins(chosen), options, named)
    plans = {one.name: winner.plan(one) for one in contenders if one.kind in PUBLISHABLE}
    numbers = [job.settings.seed + number for number in range(seeds)]
    identity = {
        "name": str(job.name),
        "compared": [plan.identity for plan in plans.values()],
        "folds": folds,
        "seeds": seeds,
    }
    with run_folder(catalog.home, identity) as folder:
        results = folder / "results"
        with storage_errors("write", results):
            results.mkdir(exist_ok=True)
        found: dict[str, list[Score]] = {one.name: [] for one in contenders}
        total = len(contenders) * len(parts) * seeds
        with tqdm(total=total, unit="training", disable=None, leave=False) as bar:
            for seed in numbers:
                for number, fold in enumerate(parts):
                    for place, contender in enumerate(contenders):
                        bar.set_description(contender.name)
                        done = results / f"{seed}-{number}-{place}.json"
                        found[contender.name].append(bench.measure(contender, fold, seed, done))
                        bar.update()
        comparison = _compared(bench, contenders, found, parts, numbers)
        best = next(one for one in contenders if one.name == comparison.winner)
        version = winner.publish(best, plans[best.name], comparison, folder)
    return comparison, version


def _compared(
    bench: Bench,
    contenders: Sequence[Contender],
    found: Mapping[str, Sequence[Score]],
    folds: Sequence[Fold],
    seeds: Sequence[int],
) -> Comparison:
    task, rows = bench.start.checked.task, bench.job.data
    scores = {name: [one.value for one in measured] for name, measured in found.items()}
    units: Mapping[str, Sequence[float | None]] = scores
    every = [one for measured in found.values() for one in measured]
    by_row = all(one.of_rows is not None for one in every if one.value is not None)
    briers = None
    if by_row:
        tested = [fold.test for _ in seeds for fold in folds]
        units = {
            name: _by_row(tested, [one.of_rows for one in measured], len(rows))
            for name, measured in found.items()
        }
        briers = {
            name: _by_row(tested, _briers(measured), len(rows))
            for name, measured in found.items()
            if all(one.choices is not None for one in measured)
        }
    metric = next((one.metric for one in every if one.metric), next(iter(task.metrics_up)))
    given = Given(bench.start.model, bench.donors, seeds[0])
    return compared(
        {
            "data": rows.dataset,
            "folds": len(folds),
            "seeds": tuple(seeds),
            "metric": metric,
            "higher_is_better": task.metrics_up[metric],
            "paired_by": "row" if by_row else "fold",
            "random_donors": HOW,
        },
        [(one.name, one.kind, one.make(given).weights) for one in contenders],
        scores,
        units,
        briers,
    )


def _briers(measured: Sequence[Score]) -> list[list[float]]:
    """The Brier score of each row of each fold, all calibrated together."""
    choices = [row for one in measured for row in one.choices or ()]
    right = [place for one in measured for place in one.right or ()]
    scores = np.full((len(choices), max(map(len, choices))), -np.inf)
    for row, own in zip(scores, choices, strict=True):
        row[: len(own)] = own
    found = iter(brier(scores, np.array(right)).tolist())
    return [[*islice(found, len(one.right or ()))] for one in measured]


def _by_row(
    tested: Sequence[Sequence[int]], measured: Sequence[Sequence[float] | None], rows: int
) -> list[float]:
    """What was measured of each row: the mean over seeds. NaN where it is undefined."""
    values = [
        one
        for fold, of_rows in zip(tested, measured, strict=True)
        for one in of_rows or [np.nan] * len(fold)
    ]
    order = [row for fold in tested for row in fold]
    sums: list[float] = np.bincount(order, values, rows).tolist()
    seeds = len(order) // rows
    return [total / seeds for total in sums]
