"""Train an adapter for each of many jobs in one run, and publish them."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from hubkit import processes
from hubkit.adapters.adapter import Adapter
from hubkit.adapters.load import Published, load_published
from hubkit.composing.combine import Chosen
from hubkit.composition import Batch, Stack
from hubkit.methods.table import new_method
from hubkit.models.attach import Attached, attach
from hubkit.models.freeze import train_only
from hubkit.models.head import head_to_train, outlet_tensors, outlet_to_keep
from hubkit.nn.host import BaseModel
from hubkit.training.check import Checked, checked_job
from hubkit.training.choosing.doubts import note_doubts
from hubkit.training.choosing.trials import note_short
from hubkit.training.each.course import Course, Slot
from hubkit.training.each.mixed import Asked, MixedPass
from hubkit.training.each.training import EachTraining
from hubkit.training.fit import Fit
from hubkit.training.job import Job
from hubkit.training.plan import planned
from hubkit.training.run import Run
from hubkit.training.runs import run_folder
from hubkit.training.start import keep_precision, loaded, note_cut, text_of
from hubkit.training.trunk.cache import trunk_cached
from registry import AdapterRef, Catalog, Version
from registry.errors import DataError, DivergedError, TrainingError, UnfitRowsError
from registry.folders import read_folder
from registry.storage.files import MANIFEST_NAME

logger = logging.getLogger(__name__)

TOGETHER = 8
"""Adapters in one pass. With batches of 16 rows of text, more gain little on a processor."""

_SHOWN = 5


def train_each(
    catalog: Catalog,
    jobs: Sequence[Job],
    *,
    base: str,
    method: str = "seq_bn",
    over: AdapterRef | None = None,
    together: int = TOGETHER,
    skip_unfit: bool = False,
    **parameters: Any,
) -> list[Version]:
    """Train an adapter and a head for each job on one frozen base model, and publish them.

    Each becomes what :func:`~hubkit.training.train.train_adapter` would make of it: the weights are
    the same but for rounding, and its metrics, settings and data are its own. The base model is
    loaded once, and runs on the rows of several adapters at a time, if these have the same labels
    and settings. Each has its own optimiser, schedule, early stopping, head and random numbers.
    When one ends, it is published, and the next takes its place. An interrupted run resumes with
    those that had not ended. No pictures are drawn: they would take longer than the training of a
    small adapter.

    Args:
        catalog: Where they are published.
        jobs: As for ``train_adapter``, each with a name of its own.
        base: A hub id, or a folder that holds a model.
        method: A key of ``hubkit.methods.table.METHODS``.
        over: A published adapter, fusion, stack or mix to train all of them over.
        together: How many adapters share a pass at most; each has a batch in it.
        skip_unfit: Whether to leave out jobs whose rows cannot be trained on, with a note; or else
            nothing is trained if there are any.
        parameters: Parameters of the method, such as ``bottleneck_size`` or ``rank``.

    Returns:
        The versions, in the order of the jobs; those that were left out are not among them.

    Raises:
        UnfitRowsError: Jobs whose rows cannot be trained on.
        DataError: There is no job, or two have one name.
        TrainingError: A setting is for one adapter alone, or the task type needs more than one
            pass for a row.
        DivergedError: Of some adapters the loss is not a number; the others are published.
        HubkitError: As ``train_adapter``.
    """
    if together < 1:
        raise TrainingError(f"together must be at least 1, not {together}.", given=together)
    if processes.count() > 1:
        raise TrainingError(
            f"Many adapters are trained together in one process, not in {processes.count()}.",
            given=processes.count(),
            expected=1,
        )
    _require_names(jobs)
    usable = _usable(jobs, skip=skip_unfit)
    for task in dict.fromkeys(checked.task for _, checked in usable):
        own = [checked for _, checked in usable if checked.task is task]
        note_doubts(task, [(checked.train, checked.validation) for checked in own])
    below = None if over is None else load_published(catalog, catalog.resolve(over))
    chosen = {"base": base, "method": method, **parameters}
    if below is not None:
        chosen["over"] = str(below.version.ref)
    chosen |= {
        "together": together if together != TOGETHER else None,
        "skip_unfit": True if skip_unfit else None,
    }
    new = _New(catalog, base, method, parameters, below, chosen)
    groups: list[_Group] = []
    for members in _alike(usable):
        groups.append(new.group(members, together))
        _share_memory(groups[-1].runs[0].start.model, groups[0].runs[0].start.model)
    plans = [run.plan for group in groups for run in group.runs]
    identity = {
        "name": f"{plans[0].job.name} and {len(plans) - 1} more",
        "runs": [plan.identity for plan in plans],
    }
    versions: dict[str, Version] = {}
    diverged: list[str] = []
    with run_folder(catalog.home, identity) as folder:
        bar = tqdm(total=len(plans), unit="adapter", disable=None, leave=False)
        for number, group in enumerate(groups):
            for name, finished in group.train(folder / str(number)):
                if finished is None:
                    diverged.append(str(name))
                else:
                    versions[str(name)] = catalog.publish(name, read_folder(finished))
                bar.update()
        bar.close()
        if diverged:
            rate = " and ".join(map(str, plans[0].checked.rates))
            raise DivergedError(
                f"Training of {_listed(diverged)} diverged at a learning rate of {rate}. The other "
                f"{len(versions)} adapters are published.",
                given=rate,
            )
    return [versions[str(job.name)] for job, _ in usable]


@dataclass(frozen=True)
class _Group:
    """Jobs with the same settings and the same outputs, and a model for them.

    Attributes:
        runs: One run for each job.
        attached: The adapters in the model.
        slots: The places for adapters in it.
        head: The initial weights of what is trained beside each adapter.
    """

    runs: Sequence[Run]
    attached: Attached
    slots: Sequence[Slot]
    head: Mapping[str, Tensor]

    def train(self, folder: Path) -> Iterator[tuple[AdapterRef, Path | None]]:
        """Yield a name when its run has ended, with the folder to publish; None if it diverged."""
        waiting = []
        for number, run in enumerate(self.runs):
            finished = folder / str(number)
            if (finished / MANIFEST_NAME).is_file():  # before the run was broken off
                yield run.plan.job.name, finished
            else:
                waiting.append((run, finished))
        model, processor = self.attached.model, self.runs[0].start.processor
        mixed = MixedPass(model, self.attached, getattr(processor, "pad_token_id", None) or 0)
        with ExitStack() as stack:
            limit = self.runs[0].start.checked.settings.cache_trunk
            if limit is not None:
                stack.enter_context(trunk_cached(model, folder, limit))
            yield from self._trained(waiting, mixed, folder)

    def _trained(
        self, waiting: list[tuple[Run, Path]], mixed: MixedPass, folder: Path
    ) -> Iterator[tuple[AdapterRef, Path | None]]:
        free = list(self.slots)
        waiting.reverse()
        active: list[_Active] = []
        results: list[Fit] = []
        accelerator, rows, cut = None, 0, 0

        def share(course: Course) -> None:
            # One for all, which changes the model once.
            nonlocal accelerator
            accelerator = course.share(accelerator)

        while active or waiting:
            while free and waiting:
                run, finished = waiting.pop()
                training = EachTraining(
                    run.start, free.pop(), self.attached, self.head, folder / "trainer", share
                )
                rows, cut = rows + training.rows, cut + training.cut
                steps = training.steps()
                active.append(_Active(run, finished, training, steps, next(steps)))
            losses = mixed.losses([one.asked for one in active])
            going = []
            for one, loss in zip(active, losses, strict=True):
                try:
                    going.append(replace(one, asked=one.steps.send(loss)))
                except StopIteration:
                    free.append(one.training.slot)
                    found = one.training.found
                    results += [] if found is None else [found.result]
                    yield one.run.plan.job.name, _ended(one)
            active = going
        job = self.runs[0].plan.job
        note_cut(cut, rows, self.runs[0].start.text)
        note_short(results, str(job.source.get("name", job.name)))


@dataclass(frozen=True)
class _Active:
    """A run that is under way, and the batch that it waits for."""

    run: Run
    finished: Path
    training: EachTraining
    steps: Generator[Asked, float, None]
    asked: Asked


def _ended(one: _Active) -> Path | None:
    training, run = one.training, one.run
    if training.found is None:
        return None
    adapter = replace(training.slot.adapter, name=run.composition.name, base=run.start.base)
    with training.course.in_place():
        replace(run, composition=adapter).save(training.found, one.finished, curves=False)
    return one.finished


@dataclass(frozen=True)
class _New:
    """What the adapters of all groups have in common; the fields are those of `train_each`."""

    catalog: Catalog
    base: str
    method: str
    parameters: Mapping[str, Any]
    below: Published | None
    chosen: Mapping[str, Any]

    def group(self, members: Sequence[tuple[Job, Checked]], together: int) -> _Group:
        """Load the base model with a head for alike jobs, and attach places for their adapters."""
        job, checked = members[0]
        below, catalog = self.below, self.catalog
        known = () if below is None else (Chosen(below.version, below.manifest),)
        first = loaded(catalog, job, checked, self.base, known)
        model = first.model
        # Random numbers continue from where loading left them, as in a run of one.
        state = torch.get_rng_state()
        slots = []
        for number in range(min(together, len(members))):
            torch.set_rng_state(state)
            made = new_method(self.method, BaseModel(model), **self.parameters)
            slots.append(Slot(str(number), Adapter.create(model, str(number), made)))
        batch = Batch({slot.name: slot.adapter for slot in slots})
        # The base model was compared before it was prepared.
        attached = attach(
            model,
            batch if below is None else Stack(below.composition, batch),
            allow_base_mismatch=below is not None,
        )
        train_only(model, *(slot.adapter for slot in slots))
        runs = []
        for job, checked in members:
            text = text_of(job, checked, model, first.processor)
            start = replace(first, checked=checked, text=text)
            adapter = replace(slots[0].adapter, name=str(job.name), base=first.base)
            plan = planned(catalog, job, start, adapter, over=below)
            runs.append(Run(catalog, plan, start, adapter, self.chosen))
        keep_precision(model, checked.settings)
        outlet = outlet_tensors(model)
        head = head_to_train(model) | {name: outlet[name] for name in outlet_to_keep(model)}
        return _Group(runs, attached, slots, head)


def _alike(jobs: Sequence[tuple[Job, Checked]]) -> Iterable[list[tuple[Job, Checked]]]:
    """The jobs that can share a pass: they have the same outputs and the same settings."""
    alike: dict[str, list[tuple[Job, Checked]]] = {}
    for job, checked in jobs:
        same = (checked.plan, checked.settings, job.head, job.source_language, job.target_language)
        alike.setdefault(repr(same), []).append((job, checked))
    return alike.values()


def _share_memory(model: torch.nn.Module, other: torch.nn.Module) -> None:
    """Let two models share the memory of the frozen weights that they have in common."""
    own = dict(model.named_parameters())
    for name, parameter in other.named_parameters():
        if not parameter.requires_grad and name in own and not own[name].requires_grad:
            own[name].data = parameter.data


def _usable(jobs: Sequence[Job], *, skip: bool) -> list[tuple[Job, Checked]]:
    """The jobs whose rows can be trained on."""
    found, unfit = [], {}
    for job in jobs:
        try:
            checked = checked_job(job)
        except DataError as error:
            unfit[str(job.name)] = str(error)
        else:
            _require_common(job, checked)
            found.append((job, checked))
    if not unfit:
        return found
    listed = [f"{name} ({reason.rstrip('.')})" for name, reason in unfit.items()]
    told = f"{len(unfit)} of {len(jobs)} adapters cannot be trained: {_listed(listed)}."
    if not skip or not found:
        raise UnfitRowsError(told, found=unfit)
    logger.warning("%s They are left out.", told)
    return found


def _require_common(job: Job, checked: Checked) -> None:
    """Make sure that a run can share its passes with others."""
    settings = checked.settings
    if checked.task.generates or not checked.task.shares_passes:
        raise TrainingError(
            f"{checked.task.name} takes more than one pass for a row, which adapters cannot share: "
            "train each of them by itself.",
            checked.task.name,
        )
    alone = {
        "reports": bool(settings.report_to),
        "gradient checkpointing": settings.gradient_checkpointing,
        "the precision fp16": settings.precision == "fp16",
    }
    if given := next((name for name, asked in alone.items() if asked), None):
        raise TrainingError(
            f"{job.name} is trained together with others, which does not allow {given}.",
            given=given,
        )


def _require_names(jobs: Sequence[Job]) -> None:
    """Make sure that there are jobs, each with a name of its own."""
    if not jobs:
        raise DataError("There is nothing to train: no row names an adapter.")
    taken: dict[str, AdapterRef] = {}
    for job in jobs:
        if (other := taken.setdefault(job.name.folded, job.name)) is not job.name:
            raise DataError(f"Two adapters would be named {other} and {job.name}.", job.name)


def _listed(names: Sequence[str]) -> str:
    """The first few of many."""
    more = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
