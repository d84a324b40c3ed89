"""A planned run: it trains what the model carries, and publishes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from hubkit import plots
from hubkit.adapters.save import save_folder
from hubkit.adapters.tree import Leaf
from hubkit.reports.training import RunFacts, Section, training_report
from hubkit.tasks.task import TaskType
from hubkit.training.check import Checked
from hubkit.training.choosing.learn import learn
from hubkit.training.choosing.trials import Outcome
from hubkit.training.configuration import CONFIGURATION_NAME, configuration
from hubkit.training.fit import Fit
from hubkit.training.fusing.attention import attention_files
from hubkit.training.plan import Plan, headed
from hubkit.training.settings import Settings
from hubkit.training.start import Start
from registry import Catalog, Metric, Training, Version
from registry.folders import read_folder

CHOSEN_ON = "chosen_on"
"""The argument of a training that says how its metrics were measured, if all rows were trained on
after that: on how many rows that were held out at first, and after how many steps."""
_LIBRARIES = ("hubkit", "torch", "transformers")


@dataclass(frozen=True)
class Run:
    """A planned run.

    Attributes:
        catalog: Where its result is published.
        plan: The plan of what is published.
        start: The rows, and the model that carries the composition.
        composition: The composition to train.
        chosen: The user's other choices, for the file that repeats the run.
        files: Further files to publish with it, by name.
        more: Further sections of its report.
    """

    catalog: Catalog
    plan: Plan
    start: Start
    composition: Leaf
    chosen: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    more: Sequence[Section] = ()

    def learn(self, folder: Path) -> Outcome:
        """Train, with checkpoints in ``folder``.

        Raises:
            HubkitError: As :func:`~hubkit.training.fit.fit`.
        """
        reports = self.catalog.home / "logs" / str(self.plan.job.name) / folder.name
        return learn(self.start, folder / "checkpoints", reports)

    def publish(self, found: Outcome, folder: Path) -> Version:
        """Publish what was trained, by way of a folder in ``folder``."""
        finished = folder / "finished"
        self.save(found, finished)
        return self.catalog.publish(self.plan.job.name, read_folder(finished))

    def save(self, found: Outcome, folder: Path, *, curves: bool = True) -> None:
        """Write what was trained, with the head that is in the model, as a folder to publish.

        Args:
            found: The result of training.
            folder: Where to write; there is nothing yet.
            curves: Whether to draw how the loss fell, which takes a part of a second.
        """
        plan, result = self.plan, found.result
        checked, validation = plan.checked, plan.checked.validation
        measured = () if validation is None else _metrics(result, checked.task, validation.dataset)
        manifest = plan.manifest.changed(
            f"What was trained as {plan.job.name}",
            metrics=measured,
            training=Training(
                arguments={**plan.arguments, **_choice(checked, found)},
                seed=checked.settings.seed,
                examples=len(checked.learned),
                data_sha256=checked.learned.sha256,
                seconds=round(result.seconds, 1),
                library_versions={name: installed_version(name) for name in _LIBRARIES},
            ),
        )
        drawn = curves and result.history
        pictures = {
            **({"training.png": plots.training_curves(result.history)} if drawn else {}),
            **result.pictures,
        }
        beside = {
            CONFIGURATION_NAME: configuration(plan.asked, **self.chosen),
            **pictures,
            **training_report(_told(plan, found, pictures, self.more), manifest),
            **attention_files(self.start, self.composition),
            **self.files,
        }
        save_folder(headed(self.composition, self.start, plan.with_head), manifest, folder, beside)


def _told(
    plan: Plan, found: Outcome, pictures: Mapping[str, bytes], more: Sequence[Section]
) -> RunFacts:
    """The facts of the run for the report, beside the manifest."""
    checked, asked = plan.checked, asdict(plan.job.settings)
    learned, validation = checked.learned, checked.validation
    count = partial(checked.task.class_counts, plan=checked.plan)
    trained, held_out = count(learned), None if validation is None else count(validation)
    return RunFacts(
        name=str(plan.job.name),
        data=learned.name,
        validation=None if validation is None else (len(validation), validation.dataset),
        whole=checked.whole is not None,
        labels=() if trained is None else checked.plan.labels,
        trained=trained or (),
        held_out=held_out or (),
        cut=found.cut,
        defaults=frozenset(one.name for one in fields(Settings) if asked[one.name] == one.default),
        history=found.result.history,
        pictures=pictures,
        more=more,
    )


def _choice(checked: Checked, found: Outcome) -> dict[str, Any]:
    """The learning rate that held-out rows chose, and how they were measured, for the manifest."""
    told: dict[str, Any] = {}
    if found.tried:
        told |= {"learning_rate": found.settings.learning_rate, "tried": dict(found.tried)}
    if checked.whole is not None and checked.validation is not None:
        told[CHOSEN_ON] = {"rows": len(checked.validation), "steps": found.result.steps}
    return told


def _metrics(result: Fit, task: TaskType[Any], dataset: str) -> tuple[Metric, ...]:
    """The metrics, the main one first: lists of adapters show the first."""
    ordered = (name for name in (*task.metrics_up, *result.metrics) if name in result.metrics)
    return tuple(
        Metric(
            dataset=dataset,
            split="validation",
            name=name,
            value=result.metrics[name],
            higher_is_better=task.metrics_up.get(name, False),
        )
        for name in dict.fromkeys(ordered)
    )
