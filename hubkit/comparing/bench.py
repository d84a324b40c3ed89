"""Train a contender on the rows of a fold, and measure it on the others."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.tree import Attachable
from hubkit.comparing.contenders import Contender, Given
from hubkit.comparing.folds import Fold
from hubkit.measuring.answers import Answers
from hubkit.tasks.rows import Rows
from hubkit.tasks.running import outputs_of
from hubkit.training.check import Checked
from hubkit.training.choosing.learn import learn
from hubkit.training.fusing.own import Own, own_adapter, own_jobs
from hubkit.training.fusing.reuse import carrying, started_anew
from hubkit.training.job import Job
from hubkit.training.start import Start
from registry.errors import DivergedError
from registry.storage.durable import write_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """How good a contender is on the rows of a fold.

    Attributes:
        metric: The one that sums the task type up; empty if nothing was measured.
        value: Of all rows; None if it is undefined.
        of_rows: That of each row, if the value is their mean; else None.
        choices: The scores of the choices of each row, if each answer is one of several; else None.
        right: The position of the right one of each row; None if there are no choices.
    """

    metric: str
    value: float | None
    of_rows: list[float] | None = None
    choices: list[list[float]] | None = None
    right: list[int] | None = None


UNDEFINED = Score("", None)
"""Of what could not be trained, or answers with what is no number."""


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Attributes:
        start: The base model, loaded once.
        job: The job that the user asked for.
        donors: Frozen.
        own: How the own adapter, for the rows themselves, is trained. One fusion has it among its
            parts.
        left_out: The numbers of the layers that fusions leave out.
        alone: The adapter alone that was trained last, by the SHA-256 of its rows and its seed.
    """

    start: Start
    job: Job
    donors: Sequence[Attachable]
    own: Own
    left_out: Sequence[int] = ()
    alone: dict[tuple[str, int], Adapter] = field(default_factory=dict)

    def measure(self, contender: Contender, fold: Fold, seed: int, done: Path) -> Score:
        """Train a contender on a fold, and measure it; or read what an earlier run has measured.

        The score of a contender whose training diverged is undefined.

        Args:
            contender: The contender to train.
            fold: The fold of the rows of the job.
            seed: The seed of the training.
            done: The file of the score.

        Raises:
            HubkitError: As ``fit``.
        """
        if done.is_file():
            return Score(**json.loads(done.read_text()))
        scratch = done.with_suffix("")
        try:
            found = self._trained(contender, fold, seed, scratch)
        except DivergedError as error:
            logger.warning(
                "%s has no score: %s", contender.name, error, extra={"about": type(error)}
            )
            found = UNDEFINED
        write_file(done, json.dumps(asdict(found)).encode())
        shutil.rmtree(scratch, ignore_errors=True)
        return found

    def _trained(self, contender: Contender, fold: Fold, seed: int, scratch: Path) -> Score:
        settings = replace(contender.settings, seed=seed)
        job = replace(self.job, data=self.job.data.select(fold.train), settings=settings)
        given = None
        if contender.kind == "fusion with own" and self.own != "joint":
            own_job, job = own_jobs(job, self.own)
            given = self._own(own_job, scratch / "own")
        start = started_anew(self.start, self._checked(job))
        made = contender.make(Given(start.model, self.donors, seed, given))
        with carrying(start, made.composition, made.trained):
            learn(start, scratch / "checkpoints", told=False)
            if contender.kind == "alone":
                assert isinstance(made.composition, Adapter)
                self.alone.clear()
                self.alone[job.data.sha256, seed] = made.composition
            return self._measured(start, self.job.data.select(fold.test))

    def _checked(self, job: Job) -> Checked:
        """What is trained: of few rows, only what all of them give, where nothing is to choose."""
        checked = self.start.checked.for_job(job)
        if checked.whole is None or len(checked.rates) > 1:
            return checked
        return checked.for_all()

    def _own(self, job: Job, checkpoints: Path) -> Adapter:
        same = self.alone.get((job.data.sha256, job.settings.seed))
        if same is not None and not self.left_out:
            return replace(same, name="own")
        start = started_anew(self.start, self._checked(job))
        adapter = own_adapter(start.model, "own", self.donors, self.left_out)
        with carrying(start, adapter, [adapter]):
            learn(start, checkpoints, told=False)
        return adapter

    def _measured(self, start: Start, rows: Rows) -> Score:
        task, plan = start.checked.task, start.checked.plan
        encoded = start.encode(task.rows_for_metrics(rows))
        size = 2 * start.checked.settings.batch_size
        outputs = outputs_of(task, start.processor, start.model, encoded, task.options(), size)
        # Minus infinity stands for a choice that a row does not have.
        if any((np.isnan(array) | np.isposinf(array)).any() for array in outputs):
            return UNDEFINED
        answers = Answers(task, plan, rows, encoded, outputs)
        metrics = answers.metrics()
        metric = next(name for name in task.metrics_up if name in metrics)
        if metric in answers.undefined() or not np.isfinite(metrics[metric]):
            return Score(metric, None)
        of_rows, choices = answers.row_values().get(metric), answers.row_choices()
        return Score(
            metric,
            metrics[metric],
            None if of_rows is None else of_rows.tolist(),
            *(() if choices is None else (one.tolist() for one in choices)),
        )
