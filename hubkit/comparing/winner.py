"""Train on all rows what won a comparison, and publish it with the comparison beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.tree import Leaf, Trained
from hubkit.comparing.bench import Bench
from hubkit.comparing.comparison import FILE_NAME, Comparison
from hubkit.comparing.contenders import Contender, Given, Made
from hubkit.reports.training import Section
from hubkit.training.fusing.own import own_adapter, own_jobs, train_with_own
from hubkit.training.fusing.reuse import carrying, started_anew
from hubkit.training.job import Job
from hubkit.training.plan import Plan, planned
from hubkit.training.run import Run
from registry import Catalog, Parent, Version


@dataclass(frozen=True)
class Winner:
    """Trains what wins on all rows.

    Attributes:
        catalog: Where it is published.
        bench: The base model and the donors.
        parents: How the donors are named and pinned.
        options: Options of a fusion.
        chosen: The user's other choices.
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
            adapter = own_adapter(
                bench.start.model, str(own_job.name), bench.donors, bench.left_out
            )
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
            run = Run(catalog, plan, start, made.composition, self.chosen, files, more)
            return run.publish(run.learn(folder), folder)

    def _made(self, contender: Contender) -> Made:
        """What it trains, under the name that it would be published by."""
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
    """The section about the comparison in the winner's report."""
    return Section(
        "Comparison",
        comparison.columns,
        comparison.cells,
        f"{' '.join(comparison.sentences)} Measured on {comparison.data}, "
        f"{comparison.folds} folds.",
    )
