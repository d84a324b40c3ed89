"""What a run publishes: the plan before training, and the folder after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from hubkit import processes
from hubkit.adapters.load import OVER, Published
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.adapters.tree import Leaf
from hubkit.composing.combine import require_same_kind
from hubkit.models.head import head_of, outlet_to_keep
from hubkit.plots import training_curves
from hubkit.reports.training import Run, Section, training_report
from hubkit.tasks.task import TaskType
from hubkit.training.check import Checked
from hubkit.training.choosing.trials import Outcome
from hubkit.training.configuration import CONFIGURATION_NAME, configuration
from hubkit.training.fit import Fit
from hubkit.training.job import Job
from hubkit.training.settings import Settings
from hubkit.training.start import Start
from registry import Catalog, Manifest, Metric, Parent, Training

CHOSEN_ON = "chosen_on"
"""The argument of a training that tells which rows chose how long all rows were trained on."""
_LIBRARIES = ("hubkit", "torch", "transformers")


@dataclass(frozen=True)
class Plan:
    """What is to be published, as far as that is known before training.

    Attributes:
        job: What is trained on, and how.
        checked: Its rows.
        manifest: Without metrics, training and files.
        arguments: What a person chose, for the manifest.
        asked: The job that a person asked for, which may be for more than this.
        with_head: Whether the head that is in the model belongs to it.
    """

    job: Job
    checked: Checked
    manifest: Manifest
    arguments: Mapping[str, Any]
    asked: Job
    with_head: bool = True

    def over(self, parent: Parent) -> Plan:
        """The same, with one more part that it pins."""
        parents = (*self.manifest.parents, parent)
        manifest = self.manifest.changed(f"What is trained as {self.job.name}", parents=parents)
        return replace(self, manifest=manifest)

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what the run computes; JSON."""
        validation = self.checked.validation
        return {
            "name": str(self.job.name),
            "plan": self.manifest.digest,
            "train": self.checked.train.sha256,
            "validation": None if validation is None else validation.sha256,
            "whole": None if self.checked.whole is None else self.checked.whole.sha256,
            "settings": self.arguments,
        }


def planned(
    catalog: Catalog,
    job: Job,
    start: Start,
    composition: Leaf,
    *,
    parents: tuple[Parent, ...] = (),
    over: Published | None = None,
    options: Mapping[str, Any] | None = None,
    asked: Job | None = None,
    with_head: bool = True,
) -> Plan:
    """Make sure that what is to be trained could be published.

    Args:
        composition: What is trained; the model carries it.
        parents: What it is made of.
        over: What it is trained over.
        options: What a person chose of how the composition starts and learns.
        asked: The job that a person asked for, where ``job`` is a part of it.
        with_head: Whether the head that is in the model belongs to it.

    Raises:
        HubkitError: As ``Catalog.check`` and :func:`require_same_kind`.
    """
    arguments: dict[str, Any] = {
        name: [*value] if isinstance(value, tuple) else value
        for name, value in asdict(start.checked.settings).items()
        if value is not None
    }
    if len(start.checked.rates) > 1:
        arguments["learning_rate"] = [*start.checked.rates]
    if processes.count() > 1:
        arguments["processes"] = processes.count()
    if job.head != "transformers":
        arguments["head"] = job.head
    if job.part is not None:
        arguments["each"] = {"column": job.part[0], "value": job.part[1]}
    arguments |= options or {}
    if over is not None:
        arguments[OVER] = {"ref": str(over.version.ref), "digest": over.version.manifest_digest}
    manifest = manifest_of(
        _headed(composition, start, with_head),
        parents=parents,
        found=start.base,
        task=job.task,
        task_type=job.task_type,
        tags=job.tags,
        description=job.description,
        **(_outputs(start) if with_head else {}),
    )
    catalog.check(job.name, manifest)
    require_same_kind(catalog, job.name, manifest, replace=job.replace)
    return Plan(job, start.checked, manifest, arguments, asked or job, with_head)


def save_trained(
    plan: Plan,
    start: Start,
    composition: Leaf,
    found: Outcome,
    chosen: Mapping[str, Any],
    folder: Path,
    *,
    curves: bool = True,
    files: Mapping[str, bytes] | None = None,
    more: Sequence[Section] = (),
) -> None:
    """Write what was trained, with the head that is in the model, as a folder to publish.

    Args:
        found: What training gave.
        chosen: What else a person chose, for the file that repeats the run.
        folder: Where to write; there is nothing yet.
        curves: Whether to draw how the loss fell, which takes a part of a second.
        files: What else to write, by name.
        more: What else the report tells.
    """
    result = found.result
    checked, validation = plan.checked, plan.checked.validation
    composition = _headed(composition, start, plan.with_head)
    manifest = plan.manifest.changed(
        f"What was trained as {plan.job.name}",
        metrics=() if validation is None else _metrics(result, checked.task, validation.dataset),
        training=Training(
            arguments={**plan.arguments, **_choice(checked, found)},
            seed=checked.settings.seed,
            examples=len(checked.learned),
            data_sha256=checked.learned.sha256,
            seconds=round(result.seconds, 1),
            library_versions={name: installed_version(name) for name in _LIBRARIES},
        ),
    )
    drawn = {"training.png": training_curves(result.history)} if curves and result.history else {}
    pictures = {**drawn, **result.pictures}
    beside = {
        CONFIGURATION_NAME: configuration(plan.asked, **chosen),
        **pictures,
        **training_report(_told(plan, found, pictures, more), manifest),
        **(files or {}),
    }
    save_folder(composition, manifest, folder, beside)


def _told(
    plan: Plan, found: Outcome, pictures: Mapping[str, bytes], more: Sequence[Section]
) -> Run:
    """What the report tells of the run, beside the manifest."""
    checked, asked = plan.checked, asdict(plan.job.settings)
    learned, validation = checked.learned, checked.validation
    count = partial(checked.task.class_counts, plan=checked.plan)
    trained, held_out = count(learned), None if validation is None else count(validation)
    return Run(
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


def _headed(composition: Leaf, start: Start, there: bool) -> Leaf:
    """With the head that is in the model, or without one."""
    head = head_of(start.model, outlet_to_keep(start.model)) if there else None
    return replace(composition, head=head)


def _outputs(start: Start) -> dict[str, Any]:
    """What a manifest says of what a head gives, and of how its texts are cut."""
    plan = start.checked.plan
    return {
        "labels": plan.labels,
        "problem_type": plan.problem_type,
        "outputs": plan.outputs,
        "text": start.text,
    }


def _choice(checked: Checked, found: Outcome) -> dict[str, Any]:
    """What was chosen on the rows that were held out, for the manifest."""
    told: dict[str, Any] = {}
    if found.tried:
        told |= {"learning_rate": found.settings.learning_rate, "tried": dict(found.tried)}
    if checked.whole is not None and checked.validation is not None:
        told[CHOSEN_ON] = {"rows": len(checked.validation), "steps": found.result.steps}
    return told


def _metrics(result: Fit, task: TaskType[Any], dataset: str) -> tuple[Metric, ...]:
    """What was measured, the metric that sums it up first: lists of adapters show the first."""
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
