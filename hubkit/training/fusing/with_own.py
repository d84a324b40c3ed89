"""A fusion that has the adapter of its own rows among its parts: both are trained and published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubkit import processes
from hubkit.adapters.adapter import Adapter
from hubkit.adapters.tree import Attachable
from hubkit.models.freeze import Trainable
from hubkit.reports.training import Section
from hubkit.training.check import checked_job
from hubkit.training.choosing.learn import learn
from hubkit.training.fusing.new_fusion import new_fusion
from hubkit.training.fusing.own import Own, own_adapter, own_jobs
from hubkit.training.fusing.reuse import carrying, started_anew
from hubkit.training.job import Job
from hubkit.training.plan import planned
from hubkit.training.run import Run
from hubkit.training.runs import run_folder
from hubkit.training.start import Start
from registry import Catalog, Parent, Version
from registry.folders import read_folder
from registry.storage.files import MANIFEST_NAME


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
        options: Options of :func:`new_fusion`.
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
    fusion = new_fusion(start.model, str(job.name), [*donors, adapter], **options)
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
        fusion = new_fusion(start.model, str(job.name), [*donors, adapter], **options)
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
