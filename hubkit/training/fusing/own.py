"""The adapter of the target task itself, which may stand among the donors of a fusion.

With few examples, an adapter that has seen the rows before the fusion does looks better than it is:
the fusion learns to attend to it, and throws the donors away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedModel

from hubkit import processes
from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.tree import Attachable, Tree
from hubkit.composition import Fuse
from hubkit.methods.bottleneck import Bottleneck
from hubkit.models.freeze import Trainable
from hubkit.reports.training import Section
from hubkit.tasks.table import task_type
from hubkit.training.check import checked_job
from hubkit.training.choosing.hold_out import hold_out
from hubkit.training.choosing.learn import learn
from hubkit.training.fusing.reuse import carrying, started_anew
from hubkit.training.job import Job
from hubkit.training.plan import planned
from hubkit.training.run import Run
from hubkit.training.runs import run_folder
from hubkit.training.settings import ADAPTER_LEARNING_RATE, Settings
from hubkit.training.start import Start
from registry import AdapterRef, Catalog, Parent, Version
from registry.folders import read_folder
from registry.storage.files import MANIFEST_NAME

Own = Literal["none", "before", "apart", "joint"]
"""Whether an adapter for the rows themselves is fused too, and how it is trained.

``none``: only the donors. ``before``: on the same rows, before the fusion. ``apart``: on one half
of the rows, and the fusion on the other. ``joint``: together with the fusion, in the same steps.
"""


def own_name(name: AdapterRef) -> AdapterRef:
    """The name of the own adapter that is published with the fusion ``name``."""
    return AdapterRef(name.owner, f"{name.name}-own")


def own_settings(settings: Settings) -> Settings:
    """How an adapter is trained beside a fusion with these settings.

    The learning rate and the batch size are those that are usual for an adapter: a fusion starts
    from trained adapters, and an adapter from nothing.
    """
    usual = Settings(learning_rate=ADAPTER_LEARNING_RATE)
    return replace(settings, learning_rate=usual.learning_rate, batch_size=usual.batch_size)


def own_jobs(job: Job, own: Own) -> tuple[Job, Job]:
    """What the adapter is trained on, and what the fusion is.

    Raises:
        DataError: There are too few rows for two halves.
    """
    alone = replace(
        job,
        name=own_name(job.name),
        settings=own_settings(job.settings),
        description=f"For the rows of {job.name} themselves; that fusion has it among its parts.",
    )
    if own != "apart":
        return alone, job
    task = task_type(job.task_type, str(job.name))
    fused, first = hold_out(job.data, task.strata(job.data), job.settings.seed, 0.5)
    return replace(alone, data=first), replace(job, data=fused)


def own_adapter(
    model: PreTrainedModel, name: str, donors: Sequence[Attachable], leave_out: Sequence[int] = ()
) -> Adapter:
    """A new adapter for ``model``, of the method and the sizes of the first donor.

    Args:
        leave_out: The numbers of layers, from 0, that get none: those that the fusion leaves out.
    """
    method = Tree.of(donors[0]).adapters[0].method
    if leave_out:
        method = replace(method, leave_out=tuple(sorted({*method.leave_out, *leave_out})))
    if isinstance(method, Bottleneck) and method.coupling() is not None:
        # A fusion goes through the invertible adapter of its first part alone.
        method = replace(method, type=method.type.removesuffix("_inv"))
    return Adapter.create(model, name, method)


def train_with_own(
    catalog: Catalog,
    job: Job,
    start: Start,
    donors: Sequence[Attachable],
    parents: Sequence[Parent],
    own: Own,
    options: Mapping[str, Any],
    chosen: Mapping[str, Any],
    files: Mapping[str, bytes] = {},
    more: Sequence[Section] = (),
) -> Version:
    """Train a fusion over ``donors`` and an adapter for its rows, and publish first the adapter,
    then the fusion, which pins it.

    Both are there, or neither: nothing is published before all is trained.

    Args:
        start: Of the job, its base model newly loaded.
        donors: Frozen.
        parents: How the fusion names them.
        own: How the adapter is trained; not ``none``.
        options: Options of ``Fusion.create_in``.
        chosen: The user's other choices, for the file that repeats the run.
        files: Further files to publish with the fusion, by name.
        more: Further sections of its report.
    """
    own_job, fusion_job = own_jobs(job, own)
    first = replace(start, checked=checked_job(own_job))
    second = replace(start, checked=checked_job(fusion_job))
    left_out = options.get("leave_out", ())
    adapter = own_adapter(start.model, str(own_job.name), donors, left_out)
    adapter = replace(adapter, base=start.base)
    with carrying(first, adapter, [adapter]):
        with_head = own != "joint"
        own_plan = planned(
            catalog, own_job, first, adapter, options={"own": own}, asked=job, with_head=with_head
        )

    def new_fusion(adapter: Adapter) -> Fusion:
        parts = Fuse(*donors, adapter)
        return Fusion.create_in(start.model, parts, str(job.name), **options)

    fusion = new_fusion(adapter)
    with carrying(second, fusion, [fusion]):
        plan = planned(
            catalog,
            fusion_job,
            second,
            fusion,
            parents=tuple(parents),
            options={**options, "own": own},
            asked=job,
        )
    identity = {"name": str(job.name), "runs": [own_plan.identity, plan.identity]}
    with run_folder(catalog.home, identity) as folder:
        ready = folder / "own"
        own_run = Run(catalog, own_plan, first, adapter, chosen)
        if own != "joint":
            adapter = _trained_before(own_run, adapter, ready)
        second = started_anew(second, second.checked)
        fusion = new_fusion(adapter)
        trained: list[Trainable] = [fusion, adapter] if own == "joint" else [fusion]
        with carrying(second, fusion, trained):
            run = Run(catalog, plan, second, fusion, chosen, files, more)
            found = run.learn(folder)

            def publish() -> Version:
                if own == "joint":
                    alone = replace(found.result, metrics={}, history=[], pictures={})
                    own_found = replace(found, result=alone)
                    replace(own_run, start=second, composition=adapter).save(own_found, ready)
                version = catalog.publish(own_job.name, read_folder(ready))
                pin = Parent(ref=str(version.ref), digest=version.manifest_digest)
                return replace(run, plan=plan.over(pin)).publish(found, folder)

            return processes.from_first(publish)


def _trained_before(run: Run, adapter: Adapter, ready: Path) -> Adapter:
    """The adapter, trained, in the folder ``ready`` too; or as it is there since an earlier run."""
    if not processes.from_first(lambda: (ready / MANIFEST_NAME).is_file()):
        start = started_anew(run.start, run.start.checked)
        adapter = replace(own_adapter(start.model, adapter.name, [adapter]), base=start.base)
        with carrying(start, adapter, [adapter]):
            found = learn(start, ready.with_name("own-checkpoints"))
            own_run = replace(run, start=start, composition=adapter)
            processes.from_first(lambda: own_run.save(found, ready))
    return replace(Adapter.load(ready), name=adapter.name)
