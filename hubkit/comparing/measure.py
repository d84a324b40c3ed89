"""Train a contender on a fold's rows, and measure it on the others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.tree import Attachable
from hubkit.comparing.contenders import Contender, Given
from hubkit.comparing.folds import Fold
from hubkit.tasks.rows import Rows
from hubkit.tasks.running import outputs_of
from hubkit.training.choosing.learn import learn
from hubkit.training.fusing.own import Own, own_adapter, own_jobs
from hubkit.training.fusing.reuse import carrying, started_anew
from hubkit.training.job import Job
from hubkit.training.start import Start
from registry.storage.durable import write_file


@dataclass(frozen=True)
class Measurement:
    """What a contender gave on the rows of a fold.

    Attributes:
        metric: The one that sums the task type up.
        score: What it is.
        values: The metric of each row, whose mean it is; None where it is no such mean.
    """

    metric: str
    score: float
    values: list[float] | None


@dataclass(frozen=True)
class Cell:
    """A contender, a fold, and a seed.

    Attributes:
        contender: Its settings have the seed.
        train: What it is trained on.
        test: What it is measured on.
        done: The file of its measurement.
    """

    contender: Contender
    train: Rows
    test: Rows
    done: Path


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Attributes:
        start: The base model, loaded once.
        job: What a person asked for.
        donors: Frozen.
        own: How the adapter of the rows themselves is trained that one fusion has.
        left_out: The numbers of the layers that fusions leave out.
    """

    start: Start
    job: Job
    donors: Sequence[Attachable]
    own: Own
    left_out: Sequence[int] = ()

    def cell(self, contender: Contender, rows: Rows, fold: Fold, seed: int, done: Path) -> Cell:
        """A contender that is trained with ``seed`` on a part of ``rows``."""
        settings = replace(contender.settings, seed=seed)
        seeded = replace(contender, settings=settings)
        return Cell(seeded, rows.select(fold.train), rows.select(fold.test), done)

    def measure(self, cell: Cell) -> Measurement:
        """Its measurement: read, if an earlier run has made it.

        Raises:
            HubkitError: As ``fit``.
        """
        if cell.done.is_file():
            known = json.loads(cell.done.read_text())
            return Measurement(known["metric"], known["score"], known["values"])
        scratch = cell.done.with_suffix("")
        found = self._trained(cell, scratch)
        write_file(cell.done, json.dumps(asdict(found)).encode())
        shutil.rmtree(scratch, ignore_errors=True)
        return found

    def _trained(self, cell: Cell, scratch: Path) -> Measurement:
        contender, seed = cell.contender, cell.contender.settings.seed
        job = replace(self.job, data=cell.train, settings=contender.settings)
        given = None
        if contender.kind == "fusion with own" and self.own != "joint":
            own_job, job = own_jobs(job, self.own)
            given = self._own(own_job, scratch / "own")
        start = started_anew(self.start, self.start.checked.for_job(job))
        made = contender.make(Given(start.model, self.donors, seed, given))
        with carrying(start, made.composition, made.trained):
            learn(start, scratch / "checkpoints", told=False)
            return self._measured(start, cell.test)

    def _own(self, job: Job, checkpoints: Path) -> Adapter:
        start = started_anew(self.start, self.start.checked.for_job(job))
        adapter = own_adapter(start.model, "own", self.donors, self.left_out)
        with carrying(start, adapter, [adapter]):
            learn(start, checkpoints, told=False)
        return adapter

    def _measured(self, start: Start, rows: Rows) -> Measurement:
        task, plan = start.checked.task, start.checked.plan
        encoded = start.encode(task.rows_for_metrics(rows))
        size = 2 * start.checked.settings.batch_size
        outputs: Any = outputs_of(task, start.processor, start.model, encoded, task.options(), size)
        metrics = task.metrics(outputs, encoded, rows, plan)
        metric = next(name for name in task.metrics_up if name in metrics)
        values = task.row_values(outputs, encoded, rows, plan).get(metric)
        return Measurement(metric, metrics[metric], None if values is None else values.tolist())
