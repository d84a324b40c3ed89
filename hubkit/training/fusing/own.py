"""The adapter of the target task itself, which may stand among the donors of a fusion.

With few examples, an adapter that has seen the rows before the fusion does looks better than it is:
the fusion learns to attend to it, and throws the donors away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from transformers import PreTrainedModel

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.tree import Attachable, Tree
from hubkit.methods.bottleneck import Bottleneck
from hubkit.tasks.table import task_type
from hubkit.training.data import hold_out
from hubkit.training.job import Job
from hubkit.training.settings import ADAPTER_LEARNING_RATE, Settings
from registry import AdapterRef
from registry.errors import TrainingError, did_you_mean

Own = Literal["none", "before", "apart", "joint"]
"""Whether an adapter for the rows themselves is fused too, and how it is trained.

``none``: only the donors. ``before``: on the same rows, before the fusion. ``apart``: on one half
of the rows, and the fusion on the other. ``joint``: together with the fusion, in the same steps.
"""

WAYS: tuple[Own, ...] = get_args(Own)


def require_way(own: str) -> None:
    """Make sure that there is such a way.

    Raises:
        TrainingError: There is none.
    """
    if own not in WAYS:
        raise TrainingError(
            f"own must be one of {', '.join(WAYS)}, not {own!r}.{did_you_mean(own, WAYS)}",
            given=own,
            expected=WAYS,
        )


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
