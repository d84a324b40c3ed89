"""Train an adapter, or a fusion of adapters, and publish it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, set_seed

from hubkit import processes
from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.load import OVER, Published, load_published
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.bases.check import require_known_model
from hubkit.bases.load import describe, load_model
from hubkit.bases.stored import cache_in, pinned, where_base_is
from hubkit.composing.combine import Chosen, choose, pins, require_same_kind
from hubkit.composition import Fuse, Stack
from hubkit.methods.table import new_method
from hubkit.models.attach import attach
from hubkit.models.flexible_head import load_with_flexible_head
from hubkit.models.freeze import train_only
from hubkit.models.head import head_of, head_to_train, made_outlet
from hubkit.nn.host import BaseModel
from hubkit.plots import training_curves
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import task_type
from hubkit.tasks.task import Encoded, HeadPlan, TaskType
from hubkit.training.configuration import CONFIGURATION_NAME, configuration
from hubkit.training.data import hold_out, note_doubts
from hubkit.training.fit import Fit, Measured, fit
from hubkit.training.job import Job
from hubkit.training.progress import require_reporters
from hubkit.training.runs import run_folder
from hubkit.training.settings import Settings
from hubkit.training.weights import class_weights
from registry import AdapterRef, Catalog, Manifest, Metric, Parent, Training, Version
from registry.errors import DataError, PrecisionError, TrainingError
from registry.folders import read_folder
from registry.manifest import BaseModelInfo, TextInfo, manifest_errors

logger = logging.getLogger(__name__)

_LIBRARIES = ("hubkit", "torch", "transformers")


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
        parameters: What the method takes, such as ``bottleneck_size`` or ``rank``.

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
    start = start_of(catalog, job, where, chosen, pinned(base, where))
    model = start.model
    fusion = Fusion.create(Fuse(*(part.composition for part in published)), str(job.name))
    # The base model was compared before it was prepared.
    attach(model, fusion, allow_base_mismatch=True)
    train_only(model, fusion)
    named = {"refs": [str(version.ref) for version, _ in chosen]}
    return _run(catalog, job, start, fusion, named, parents=tuple(pins(chosen)))


@dataclass(frozen=True)
class Checked:
    """What is known of a run before a model is loaded: its rows can be trained on."""

    task: TaskType[Any]
    settings: Settings
    plan: HeadPlan
    train: Rows
    validation: Rows | None


@dataclass(frozen=True)
class Start:
    """What a run starts from: checked rows, and a base model with a new head for them."""

    checked: Checked
    model: PreTrainedModel
    base: BaseModelInfo
    processor: Any
    text: TextInfo

    def encode(self, rows: Rows) -> Encoded:
        """The rows as the model reads them."""
        return self.checked.task.encode(self.processor, rows, self.checked.plan, self.text)

    def features(self) -> tuple[Measured, Measured | None]:
        """What is trained on, and what the best epoch is chosen by, as the model reads them."""
        task, validation = self.checked.task, self.checked.validation
        learned = Measured(self.checked.train, self.encode(self.checked.train))
        if validation is None:
            return learned, None
        measured = Measured(validation, self.encode(validation))
        if task.generates:
            asked = self.encode(task.rows_for_metrics(validation))
            measured = replace(measured, asked=asked)
        return learned, measured


def checked_job(job: Job) -> Checked:
    """Make sure that a job can be trained, as far as that is known without a model.

    Raises:
        DataError: Its rows cannot be trained on.
        TrainingError: Its settings do not suit this machine.
    """
    task = task_type(job.task_type, str(job.name))
    settings = replace(job.settings, max_length=job.settings.max_length or task.max_length)
    require_reporters(settings.report_to)
    _require_precision(settings)
    _join(settings)
    plan = task.fit_plan(job.data)
    train, validation = _parts(job, task)
    if validation is not None:
        task.check(validation, plan)
    if settings.class_weights is not None:
        class_weights(settings.class_weights, task, train, plan)
    return Checked(task, settings, plan, train, validation)


def start_of(
    catalog: Catalog,
    job: Job,
    base: str,
    known: Sequence[Chosen] = (),
    revision: str | None = None,
) -> Start:
    """Check the rows, then load the base model, with a head for what the rows have.

    Args:
        base: Where the base model is.
        known: Published adapters that have to fit it.
        revision: Its commit on a hub; default: of the main branch.
    """
    checked = checked_job(job)
    note_doubts(checked.task, checked.train, checked.validation)
    return loaded(catalog, job, checked, base, known, revision)


def loaded(
    catalog: Catalog,
    job: Job,
    checked: Checked,
    base: str,
    known: Sequence[Chosen] = (),
    revision: str | None = None,
) -> Start:
    """Load the base model of a job that was checked; the arguments are those of `start_of`."""
    task, settings, plan = checked.task, checked.settings, checked.plan
    # The head starts at random weights.
    set_seed(settings.seed)
    model: PreTrainedModel
    if job.head == "flexible":
        flexible = task.flexible_head(job.data, plan)
        model, _ = load_with_flexible_head(base, flexible, revision=revision, **plan.config())
    else:
        model = load_model(base, task.load_class(base), revision=revision, **plan.config())
    processor, asked = task.load_processor(base, model), _asked(job, settings)
    # Before it is prepared: that may give it another token for padding.
    for version, manifest in known:
        _require_base_of(catalog, version, manifest, model, processor, base)
    described = describe(model)
    task.prepare(processor, model, plan, asked)
    return Start(checked, model, described, processor, text_of(job, checked, model, processor))


def text_of(job: Job, checked: Checked, model: PreTrainedModel, processor: Any) -> TextInfo:
    """How the texts of a job are cut and joined, for a model that is prepared.

    Raises:
        DataError: Something was chosen that the task type does not have, or the rows to validate
            with have another form than those to train on.
    """
    text = checked.task.text_info(processor, model, _asked(job, checked.settings), job.data)
    if checked.validation is not None:
        checked.task.require_form(checked.validation, text)
    return text


def _require_base_of(
    catalog: Catalog,
    version: Version,
    manifest: Manifest,
    model: PreTrainedModel,
    processor: Any,
    base: str,
) -> None:
    """Make sure that a published adapter fits the model that another is to be trained in."""
    require_known_model(
        catalog.home,
        version,
        manifest,
        model,
        processor,
        base=base,
        own=(*head_to_train(model), *made_outlet(model)),
    )


def _asked(job: Job, settings: Settings) -> TextInfo:
    """What a person chose of how texts are cut and written."""
    with manifest_errors(f"What is asked for {job.name}"):
        return TextInfo(
            max_length=settings.max_length,
            target_max_length=settings.target_max_length,
            source_language=job.source_language,
            target_language=job.target_language,
        )


def _parts(job: Job, task: TaskType[Any]) -> tuple[Rows, Rows | None]:
    """What is trained on, and what the best epoch is chosen by."""
    if isinstance(job.validation, Rows):
        if not len(job.validation):
            raise DataError(f"There are no rows to validate {job.name} with.", job.name)
        return job.data, job.validation
    if job.validation == 0:
        return job.data, None
    return hold_out(job.data, task.strata(job.data), job.settings.seed, job.validation)


def _join(settings: Settings) -> None:
    """Meet the other processes of this training."""
    if processes.count() > settings.batch_size:
        raise TrainingError(
            f"A batch of {settings.batch_size} rows is shared by {processes.count()} processes; "
            "expected a row or more for each.",
            given=settings.batch_size,
            expected=processes.count(),
        )
    processes.join()


def _require_precision(settings: Settings) -> None:
    if settings.precision == "fp16" and not torch.accelerator.is_available():
        raise PrecisionError(
            "The precision fp16 needs a GPU, and this machine has none; a processor computes in "
            "bf16, or in float32.",
            given="fp16",
            expected=("bf16", "no"),
        )


def _run(
    catalog: Catalog,
    job: Job,
    start: Start,
    composition: Adapter | Fusion,
    chosen: Mapping[str, Any],
    *,
    parents: tuple[Parent, ...] = (),
    over: Published | None = None,
) -> Version:
    """Train what ``composition`` has attached to the model, and publish it."""
    model, checked = start.model, start.checked
    plan = planned(catalog, job, start, composition, parents=parents, over=over)
    keep_precision(model, checked.settings)
    learned, measured = start.features()
    note_cut([learned] if measured is None else [learned, measured], start.text)
    with run_folder(catalog.home, plan.identity) as folder:
        result = fit(
            model,
            start.processor,
            checked.task,
            learned,
            measured,
            checked.plan,
            checked.settings,
            folder / "checkpoints",
            catalog.home / "logs" / str(job.name) / folder.name,
        )

        def publish() -> Version:
            finished = folder / "finished"
            pictures = {"training.png": training_curves(result.history), **result.pictures}
            shown = replace(result, pictures=pictures)
            save_trained(plan, start, composition, shown, chosen, finished)
            return catalog.publish(job.name, read_folder(finished))

        return processes.from_first(publish)


@dataclass(frozen=True)
class Plan:
    """What is to be published, as far as that is known before training.

    Attributes:
        job: What is trained on, and how.
        checked: Its rows.
        manifest: Without metrics, training and files.
        arguments: What a person chose, for the manifest.
    """

    job: Job
    checked: Checked
    manifest: Manifest
    arguments: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what the run computes; JSON."""
        validation = self.checked.validation
        return {
            "name": str(self.job.name),
            "plan": self.manifest.digest,
            "train": self.checked.train.sha256,
            "validation": None if validation is None else validation.sha256,
            "settings": self.arguments,
        }


def planned(
    catalog: Catalog,
    job: Job,
    start: Start,
    composition: Adapter | Fusion,
    *,
    parents: tuple[Parent, ...] = (),
    over: Published | None = None,
) -> Plan:
    """Make sure that what is to be trained could be published.

    Raises:
        HubkitError: As ``Catalog.check`` and :func:`require_same_kind`.
    """
    arguments: dict[str, Any] = {
        name: [*value] if isinstance(value, tuple) else value
        for name, value in asdict(start.checked.settings).items()
        if value is not None
    }
    if processes.count() > 1:
        arguments["processes"] = processes.count()
    if job.head != "transformers":
        arguments["head"] = job.head
    if job.part is not None:
        arguments["each"] = {"column": job.part[0], "value": job.part[1]}
    if over is not None:
        arguments[OVER] = {"ref": str(over.version.ref), "digest": over.version.manifest_digest}
    plan = start.checked.plan
    manifest = manifest_of(
        replace(composition, head=head_of(start.model, made_outlet(start.model))),
        parents=parents,
        task=job.task,
        task_type=job.task_type,
        tags=job.tags,
        description=job.description,
        labels=plan.labels,
        problem_type=plan.problem_type,
        outputs=plan.outputs,
        text=start.text,
    )
    catalog.check(job.name, manifest)
    require_same_kind(catalog, job.name, manifest, replace=job.replace)
    return Plan(job, start.checked, manifest, arguments)


def save_trained(
    plan: Plan,
    start: Start,
    composition: Adapter | Fusion,
    result: Fit,
    chosen: Mapping[str, Any],
    folder: Path,
) -> None:
    """Write what was trained, with the head that is in the model, as a folder to publish."""
    checked, validation = plan.checked, plan.checked.validation
    composition = replace(composition, head=head_of(start.model, made_outlet(start.model)))
    manifest = plan.manifest.changed(
        f"What was trained as {plan.job.name}",
        metrics=() if validation is None else _metrics(result, checked.task, validation.dataset),
        training=Training(
            arguments=plan.arguments,
            seed=checked.settings.seed,
            examples=len(checked.train),
            data_sha256=checked.train.sha256,
            seconds=round(result.seconds, 1),
            library_versions={name: installed_version(name) for name in _LIBRARIES},
        ),
    )
    files = {
        CONFIGURATION_NAME: configuration(plan.job, **chosen),
        **result.pictures,
    }
    save_folder(composition, manifest, folder, files)


def note_cut(parts: Sequence[Measured], text: TextInfo) -> None:
    """Tell how many rows are longer than what is read of them."""
    if cut := sum(part.encoded.cut for part in parts):
        logger.warning(
            "%d of %d rows have more than %s tokens; the rest of them is cut off.",
            cut,
            sum(len(part.rows) for part in parts),
            text.max_length,
        )


def keep_precision(model: PreTrainedModel, settings: Settings) -> None:
    """Train in float32 also on a base model of less: small steps would be lost in rounding."""
    on_processor = model.dtype == torch.float16 and not torch.cuda.is_available()
    if settings.precision == "no" or on_processor:
        nn.Module.to(model, torch.float32)  # a processor computes float16 in part only
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def _metrics(result: Fit, task: TaskType[Any], dataset: str) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            dataset=dataset,
            split="validation",
            name=name,
            value=value,
            higher_is_better=task.metrics_up.get(name, False),
        )
        for name, value in result.metrics.items()
    )
