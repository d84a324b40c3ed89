"""Train an adapter, or a fusion of adapters, and publish it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version as installed_version
from typing import Any

from transformers import PreTrainedModel, set_seed

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.load import load_published
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.bases.fingerprint import fingerprint
from hubkit.bases.known import require_known_base
from hubkit.bases.load import describe, load_model, load_tokenizer
from hubkit.bases.stored import cache_in, where_base_is
from hubkit.composing.combine import Chosen, choose, pins
from hubkit.composition import Fuse
from hubkit.methods.table import new_method
from hubkit.models.attach import attach
from hubkit.models.freeze import train_only
from hubkit.models.head import head_of
from hubkit.nn.host import BaseModel
from hubkit.plots import training_curves
from hubkit.tasks.table import TASK_TYPES
from hubkit.training.data import check_trainable
from hubkit.training.fit import Fit, fit
from hubkit.training.job import Job
from hubkit.training.runs import run_folder
from registry import AdapterRef, Catalog, Metric, Parent, Training, Version
from registry.folders import read_folder

_LIBRARIES = ("hubkit", "torch", "transformers")


def train_adapter(
    catalog: Catalog,
    job: Job,
    *,
    base: str,
    method: str = "seq_bn",
    **parameters: Any,
) -> Version:
    """Train a new adapter and a head on a frozen base model, and publish them.

    Args:
        base: A hub id, or a folder that holds a model.
        method: A key of ``hubkit.methods.table.METHODS``.
        parameters: What the method takes, such as ``bottleneck_size`` or ``rank``.

    Raises:
        BaseModelNotFoundError: The base model cannot be loaded.
        DataError: The data cannot be trained on.
        HubkitError: As ``fit`` and ``Catalog.publish``.
    """
    model = _load_model(job, base)
    adapter = Adapter.create(
        model, str(job.name), new_method(method, BaseModel(model), **parameters)
    )
    attach(model, adapter)
    train_only(model, adapter)
    adapter = replace(adapter, base=describe(model))
    return _run(catalog, job, model, adapter, ())


def train_fusion(catalog: Catalog, job: Job, *, refs: Sequence[AdapterRef | Chosen]) -> Version:
    """Train AdapterFusion over published adapters and a new head, and publish them.

    The base model and the adapters stay frozen; the result pins the adapters by digest.

    Args:
        refs: The adapters to fuse, two or more on one base model; or what :func:`choose` returned.

    Raises:
        CompositionError: Fewer than two adapters, or one of them twice.
        BaseModelMismatchError: The adapters belong to different base models, or the base model is
            not the one that they were trained on.
        HubkitError: As :func:`train_adapter`.
    """
    chosen = choose(catalog, refs, Fuse)
    base = chosen[0][1].base_model
    published = [load_published(catalog, *one) for one in chosen]
    where = where_base_is(base, cache_in(catalog.home))
    model = _load_model(job, where)
    for version, manifest in chosen:
        require_known_base(catalog.home, version, manifest, fingerprint(model), base=where)
    fusion = Fusion.create(Fuse(*(part.composition for part in published)), str(job.name))
    attach(model, fusion)
    train_only(model, fusion)
    return _run(catalog, job, model, fusion, tuple(pins(chosen)))


def _load_model(job: Job, base: str) -> PreTrainedModel:
    """The base model with a new head for the labels of the job's data."""
    check_trainable(job.data)
    labels = job.data.label_names
    # The head starts at random weights.
    set_seed(job.settings.seed)
    return load_model(
        base,
        TASK_TYPES[job.task_type].load_class(),
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )


def _run(
    catalog: Catalog,
    job: Job,
    model: PreTrainedModel,
    composition: Adapter | Fusion,
    parents: tuple[Parent, ...],
) -> Version:
    """Train what ``composition`` has attached to ``model``, and publish it."""
    if job.validation is None:
        train, validation = job.data.split(job.settings.seed)
    else:
        train, validation = job.data, job.validation
    validation.label_ids(job.data.label_names)
    arguments = asdict(job.settings)
    plan = manifest_of(
        composition,
        parents=parents,
        task=job.task,
        task_type=job.task_type,
        tags=job.tags,
        description=job.description,
        labels=job.data.label_names,
    )
    catalog.check(job.name, plan)
    identity = {
        "name": str(job.name),
        "plan": plan.digest,
        "train": train.sha256,
        "validation": validation.sha256,
        "settings": arguments,
    }
    with run_folder(catalog.home, identity) as folder:
        result = fit(
            model,
            load_tokenizer(str(model.config.name_or_path), model),
            TASK_TYPES[job.task_type],
            train,
            validation,
            job.data.label_names,
            job.settings,
            folder / "checkpoints",
        )
        composition = replace(composition, head=head_of(model))
        manifest = plan.model_copy(
            update={
                "metrics": _metrics(result, validation.name),
                "training": Training(
                    arguments=arguments,
                    seed=job.settings.seed,
                    examples=len(train),
                    data_sha256=train.sha256,
                    seconds=round(result.seconds, 1),
                    library_versions={name: installed_version(name) for name in _LIBRARIES},
                ),
            }
        )
        finished = folder / "finished"
        save_folder(
            composition, manifest, finished, {"training.png": training_curves(result.history)}
        )
        return catalog.publish(job.name, read_folder(finished))


def _metrics(result: Fit, dataset: str) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            dataset=dataset,
            split="validation",
            name=name,
            value=value,
            higher_is_better=name != "loss",
        )
        for name, value in result.metrics.items()
    )
