"""Train an adapter, a fusion or a mix of adapters, and publish it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from hubkit import processes
from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.load import Published, load_published
from hubkit.adapters.mix import LearnedMix
from hubkit.adapters.tree import Attachable, Leaf, Trained
from hubkit.bases.stored import cache_in, pinned, where_base_is
from hubkit.composing.combine import Chosen, choose, pins
from hubkit.composition import Composition, Fuse, Mix, Stack
from hubkit.methods.table import new_method
from hubkit.models.attach import attach
from hubkit.models.freeze import train_only
from hubkit.nn.host import BaseModel
from hubkit.training.fusing.own import Own, train_with_own
from hubkit.training.job import Job
from hubkit.training.plan import planned
from hubkit.training.run import Run
from hubkit.training.runs import run_folder
from hubkit.training.start import Start, keep_precision, start_of
from registry import AdapterRef, Catalog, Parent, Version
from registry.arguments import checked


@checked
def train_adapter(
    catalog: Catalog,
    job: Job,
    *,
    base: str,
    method: str = "seq_bn",
    over: AdapterRef | None = None,
    **parameters: Any,
) -> Version:
    """Train a new adapter and a head on a frozen base model, and publish them.

    With ``over``, the new adapter reads what another one has changed, which stays frozen, as a task
    adapter over a language adapter does (MAD-X, Pfeiffer et al. 2020, arXiv 2005.00052). It is
    published without the other, and is to be stacked over it, or over its like.

    Args:
        base: A hub id, or a folder that holds a model.
        method: A key of ``hubkit.methods.table.METHODS``.
        over: A published adapter, fusion, stack or mix to train it over.
        parameters: Parameters of the method, such as ``bottleneck_size`` or ``rank``.

    Raises:
        BaseModelNotFoundError: The base model cannot be loaded.
        BaseModelMismatchError: ``over`` was trained on another base model.
        DataError: The data cannot be trained on.
        HubkitError: As ``fit`` and ``Catalog.publish``.
    """
    below = None if over is None else load_published(catalog, catalog.resolve(over))
    known = () if below is None else (Chosen(below.version, below.manifest),)
    start = start_of(catalog, job, base, known)
    model = start.model
    adapter = Adapter.create(
        model, str(job.name), new_method(method, BaseModel(model), **parameters)
    )
    if below is None:
        attach(model, adapter)
    else:
        # The base model was compared before it was prepared.
        attach(model, Stack(below.composition, adapter), allow_base_mismatch=True)
    train_only(model, adapter)
    adapter = replace(adapter, base=start.base)
    chosen = {"base": base, "method": method, **parameters}
    if below is not None:
        chosen["over"] = str(below.version.ref)
    return _run(catalog, job, start, adapter, chosen, over=below)


@checked
def train_fusion(
    catalog: Catalog,
    job: Job,
    *,
    refs: Sequence[AdapterRef | Chosen],
    leave_out: Sequence[int] = (),
    own: Own = "none",
    **options: Any,
) -> Version:
    """Train AdapterFusion over published adapters and a new head, and publish them.

    The base model and the adapters stay frozen; the result pins the adapters by digest.

    Args:
        refs: The adapters to fuse, two or more on one base model; or what :func:`choose` returned.
        leave_out: The numbers of layers, from 0, in which nothing is fused, and the adapters add
            nothing.
        own: Whether an adapter for the rows of the job is trained, too, and fused with the others:
            ``before`` the fusion, on the same rows; ``apart``, on one half of the rows, and the
            fusion on the other; or ``joint``, in the same steps. It is of the method and sizes of
            the first of ``refs``, and is published as the name of the job with ``-own``.
        options: Options of :meth:`Fusion.create`, such as ``value`` or ``shared``.

    Raises:
        AdapterError: The base model has no such layer, or no other one.
        CompositionError: Fewer than two adapters, or one of them twice; or an option is out of
            range.
        BaseModelMismatchError: The adapters belong to different base models, or the base model is
            not the one that they were trained on.
        HubkitError: As :func:`train_adapter`.
    """
    how = {**({"leave_out": [*leave_out]} if leave_out else {}), **options}

    def create(parts: Sequence[Attachable], model: PreTrainedModel) -> Fusion:
        return Fusion.create_in(model, Fuse(*parts), str(job.name), **how)

    return _train_over(catalog, job, refs, Fuse, create, how, own)


@checked
def train_mix(
    catalog: Catalog, job: Job, *, refs: Sequence[AdapterRef | Chosen], **options: Any
) -> Version:
    """Learn the weights of a mix of published adapters (ScaLearn), and a new head; publish them.

    The base model and the adapters stay frozen; the result pins the adapters by digest.

    Args:
        refs: The adapters to mix, one or more on one base model; or what :func:`choose` returned.
        options: Options of :meth:`LearnedMix.create`, such as ``vectors`` or ``shared``.

    Raises:
        CompositionError: One of the adapters is given twice, or an option is out of range.
        BaseModelMismatchError: As :func:`train_fusion`.
        HubkitError: As :func:`train_adapter`.
    """

    def create(parts: Sequence[Attachable], _model: PreTrainedModel) -> LearnedMix:
        return LearnedMix.create(Mix(*parts), str(job.name), **options)

    return _train_over(catalog, job, refs, Mix, create, options)


def _train_over(
    catalog: Catalog,
    job: Job,
    refs: Sequence[AdapterRef | Chosen],
    verb: type[Composition],
    create: Callable[[Sequence[Attachable], PreTrainedModel], Trained],
    options: Mapping[str, Any],
    own: Own = "none",
) -> Version:
    chosen = choose(catalog, refs, verb)
    base = chosen[0][1].base_model
    published = [load_published(catalog, *one) for one in chosen]
    where = where_base_is(base, cache_in(catalog.home))
    start = start_of(catalog, job, where, chosen, pinned(base, where))
    model = start.model
    parts = [part.composition for part in published]
    named = {"refs": [str(version.ref) for version, _ in chosen], **options}
    parents = tuple(pins(chosen))
    if own != "none":
        named["own"] = own
        return train_with_own(catalog, job, start, parts, parents, own, options, named)
    composition = create(parts, model)
    # The base model was compared before it was prepared.
    attach(model, composition, allow_base_mismatch=True)
    train_only(model, composition)
    return _run(catalog, job, start, composition, named, parents=parents, options=options)


def _run(
    catalog: Catalog,
    job: Job,
    start: Start,
    composition: Leaf,
    chosen: Mapping[str, Any],
    *,
    parents: tuple[Parent, ...] = (),
    over: Published | None = None,
    options: Mapping[str, Any] | None = None,
) -> Version:
    """Train what ``composition`` has attached to the model, and publish it."""
    plan = planned(catalog, job, start, composition, parents=parents, over=over, options=options)
    keep_precision(start.model, start.checked.settings)
    run = Run(catalog, plan, start, composition, chosen)
    with run_folder(catalog.home, plan.identity) as folder:
        found = run.learn(folder)
        return processes.from_first(lambda: run.publish(found, folder))
