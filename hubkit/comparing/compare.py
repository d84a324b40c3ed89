"""Compare a fusion with what is cheaper and with random donors, and publish what wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from hubkit import processes
from hubkit.adapters.adapter import Adapter
from hubkit.adapters.load import load_published
from hubkit.adapters.tree import Leaf, Trained
from hubkit.bases.stored import cache_in, pinned, where_base_is
from hubkit.comparing.bench import Bench, Score
from hubkit.comparing.comparison import FILE_NAME, Comparison, compared
from hubkit.comparing.contenders import Contender, Given, Made, contenders_of
from hubkit.comparing.control import HOW
from hubkit.comparing.folds import Fold, folds_of
from hubkit.composing.combine import Chosen, choose, pins
from hubkit.composition import Fuse
from hubkit.reports.training import Section
from hubkit.training.choosing.learn import learn
from hubkit.training.fusing.own import Own, own_adapter, own_jobs, require_way
from hubkit.training.fusing.reuse import carrying, started_anew
from hubkit.training.fusing.with_own import train_with_own
from hubkit.training.job import Job
from hubkit.training.plan import Plan, planned, save_trained
from hubkit.training.runs import run_folder
from hubkit.training.start import start_of
from registry import AdapterRef, Catalog, Parent, Version
from registry.errors import TrainingError
from registry.folders import read_folder
from registry.storage.durable import storage_errors

FOLDS = 6
"""The fewest that can show a difference where the scores of folds are paired."""

PUBLISHABLE = ("alone", "donor", "mix", "learned mix", "fusion", "fusion with own")
"""The kinds of contenders that can win; the base model by itself is nothing to publish."""


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

    Compared are, on the same folds and seeds: the base model with a new head; an adapter of the
    rows alone; each donor with a new head; the donors' mix, with equal and with learned weights;
    their fusion; their fusion with the adapter of the rows; and, as the control, the fusion of
    random donors. The winner is the cheapest within one standard error of the best, the base model
    and the control left out; it is trained on all rows and published with the comparison beside it.

    A run that was broken off goes on with the measurements that it has.

    Args:
        refs: The donors, two or more on one base model; or what :func:`choose` returned.
        own: How the adapter of the rows is trained that one of the fusions has, as in
            :func:`~hubkit.training.train.train_fusion`; ``none`` leaves that fusion out.
        folds: Into how many parts the rows are divided; each is measured on once.
        seeds: How often all is trained on each fold: with the seed of the job, and those after it.
        options: What :func:`~hubkit.training.train.train_fusion` takes for a fusion.

    Raises:
        FoldsError: There are fewer rows, of a class or of all, than folds.
        TrainingError: Several processes were started.
        HubkitError: As ``train_fusion``.
    """
    require_way(own)
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
    contenders = contenders_of(job.settings, names, own, options)
    bench = Bench(start, job, donors, own, options.get("leave_out", ()))
    named = {"refs": names, "compare": True, "own": own, "folds": folds, "seeds": seeds, **options}
    final = _Final(catalog, bench, pins(chosen), options, named)
    plans = {one.name: final.plan(one) for one in contenders if one.kind in PUBLISHABLE}
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
        winner = next(one for one in contenders if one.name == comparison.winner)
        version = final.publish(winner, plans[winner.name], comparison, folder / "winner")
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
    units: Mapping[str, Sequence[float]] = scores
    by_row = all(one.of_rows is not None for measured in found.values() for one in measured)
    if by_row:
        order = [row for _ in seeds for fold in folds for row in fold.test]
        units = {name: _by_row(order, measured, len(rows)) for name, measured in found.items()}
    metric = found[contenders[0].name][0].metric
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
    )


def _by_row(order: Sequence[int], measured: Sequence[Score], rows: int) -> list[float]:
    """The metric of each row: the mean over seeds."""
    values = [one for each in measured for one in each.of_rows or ()]
    sums: list[float] = np.bincount(order, values, rows).tolist()
    seeds = len(order) // rows
    return [total / seeds for total in sums]


@dataclass(frozen=True)
class _Final:
    """Trains what wins on all rows.

    Attributes:
        catalog: Where it is published.
        bench: The base model and the donors.
        parents: How the donors are named and pinned.
        options: What a fusion takes.
        chosen: What else a person chose.
    """

    catalog: Catalog
    bench: Bench
    parents: Sequence[Parent]
    options: Mapping[str, Any]
    chosen: Mapping[str, Any]

    def plan(self, contender: Contender) -> Plan:
        """Make sure that it could be published, before anything is trained."""
        bench = self.bench
        if contender.kind == "fusion with own":
            own_job, _ = own_jobs(bench.job, bench.own)
            adapter = own_adapter(bench.start.model, str(own_job.name), bench.donors)
            with_head = bench.own != "joint"
            self._planned(own_job, replace(adapter, base=bench.start.base), (), with_head)
        job = replace(bench.job, settings=contender.settings)
        made = self._made(contender)
        assert made.composition is not None
        parents = [self.parents[number] for number in contender.parts]
        fuses = contender.kind.startswith("fusion")
        how = {"compared": contender.name, **(self.options if fuses else {})}
        return self._planned(job, made.composition, parents, options=how)

    def publish(
        self, contender: Contender, plan: Plan, comparison: Comparison, folder: Path
    ) -> Version:
        """Train it, and publish it with the comparison beside it."""
        bench, catalog, job = self.bench, self.catalog, self.bench.job
        files, more = {FILE_NAME: comparison.to_json()}, [_section(comparison)]
        start = started_anew(bench.start, plan.checked)
        if contender.kind == "fusion with own":
            return train_with_own(
                catalog,
                job,
                start,
                bench.donors,
                self.parents,
                bench.own,
                self.options,
                self.chosen,
                files,
                more,
            )
        made = self._made(contender)
        assert made.composition is not None
        with carrying(start, made.composition, made.trained):
            reports = catalog.home / "logs" / str(job.name) / folder.parent.name
            found = learn(start, folder / "checkpoints", reports)
            finished = folder / "finished"
            save_trained(
                *(plan, start, made.composition, found, self.chosen, finished),
                files=files,
                more=more,
            )
        return catalog.publish(job.name, read_folder(finished))

    def _made(self, contender: Contender) -> Made:
        """What it is, under the name that it would be published by."""
        bench, name = self.bench, str(self.bench.job.name)
        made = contender.make(Given(bench.start.model, bench.donors, contender.settings.seed))
        composition = made.composition
        if isinstance(composition, Adapter):
            composition = replace(composition, name=name, base=bench.start.base)
        elif composition is not None:
            composition = replace(composition, name=name)
        return replace(made, composition=composition)

    def _planned(
        self,
        job: Job,
        composition: Leaf,
        parents: Sequence[Parent],
        with_head: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> Plan:
        checked = self.bench.start.checked.for_job(job)
        start = replace(self.bench.start, checked=checked)
        trained = [] if not isinstance(composition, Adapter | Trained) else [composition]
        with carrying(start, composition, trained):
            return planned(
                self.catalog,
                job,
                start,
                composition,
                parents=tuple(parents),
                options=options,
                asked=self.bench.job,
                with_head=with_head,
            )


def _section(comparison: Comparison) -> Section:
    """What the report of the winner tells of the comparison."""
    to = (f"to {comparison.single}", "p", "to control", "p")
    return Section(
        "Comparison",
        ("contender", "weights", comparison.metric, "spread", *to),
        [
            (
                *(row.name, f"{row.weights:,}", f"{row.mean:.4f}", f"{row.spread:.4f}"),
                *(
                    cell
                    for one in (row.to_single, row.to_control)
                    for cell in (("", "") if one is None else (f"{one.mean:+.4f}", f"{one.p:.3f}"))
                ),
            )
            for row in comparison.rows
        ],
        f"{comparison.verdict} {comparison.choice} Measured on {comparison.data}, "
        f"{comparison.folds} folds.",
    )
