"""What a run is to publish, made sure of before it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hubkit import processes
from hubkit.adapters.load import OVER, Published
from hubkit.adapters.save import manifest_of
from hubkit.adapters.tree import Leaf
from hubkit.composing.combine import require_same_kind
from hubkit.models.head import head_of, outlet_to_keep
from hubkit.training.check import Checked
from hubkit.training.job import Job
from hubkit.training.start import Start
from registry import Catalog, Manifest, Parent


@dataclass(frozen=True)
class Plan:
    """What is to be published, as far as that is known before training.

    Attributes:
        job: What is trained on, and how.
        checked: Its rows.
        manifest: Without metrics, training and files.
        arguments: The user's choices, for the manifest.
        asked: The job that the user asked for; this may be a part of it.
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
        composition: The composition to train; the model carries it.
        parents: Its parts.
        over: The version that it is trained over.
        options: The user's choices of how the composition starts and learns.
        asked: The job that the user asked for, if ``job`` is a part of it.
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
        headed(composition, start, with_head),
        parents=parents,
        found=start.base,
        task=job.task,
        task_type=job.task_type,
        tags=job.tags,
        description=job.description,
        **(_outputs(start) if with_head else {}),
    )
    catalog.check(job.name, manifest)
    require_same_kind(catalog, job.name, manifest, replace_name=job.replace_name)
    return Plan(job, start.checked, manifest, arguments, asked or job, with_head)


def headed(composition: Leaf, start: Start, with_head: bool) -> Leaf:
    """The composition with the head that is in the model, or without one."""
    head = head_of(start.model, outlet_to_keep(start.model)) if with_head else None
    return replace(composition, head=head)


def _outputs(start: Start) -> dict[str, Any]:
    """The fields of a manifest about the outputs of a head and how its texts are cut."""
    plan = start.checked.plan
    return {
        "labels": plan.labels,
        "problem_type": plan.problem_type,
        "outputs": plan.outputs,
        "text": start.text,
    }
