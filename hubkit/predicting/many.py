"""Many adapters on one frozen base model, each row with its own, in mixed batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hubkit.adapters.load import Published, load_published
from hubkit.adapters.older import completed
from hubkit.bases.compare import identity
from hubkit.composition import Batch
from hubkit.formats.heads import Head
from hubkit.inference import Base, load_base, require_rows, shortened
from hubkit.models.attach import Attached, attach
from hubkit.models.head import head_alone, head_tensors, outlet_tensors, outlets_of_rows, wearing
from hubkit.models.peft import runs_through_peft
from hubkit.models.place import device_of, dtype_of
from hubkit.nn.host import backbone
from hubkit.tasks.running import Cut, encode
from hubkit.tasks.table import task_type
from hubkit.tasks.task import Encoded, HeadPlan, Options, Prediction, TaskType, in_order, joined
from registry import AdapterRef, Catalog, open_catalog
from registry.arguments import checked
from registry.errors import AdapterError, DataError, did_you_mean
from registry.manifest import TextInfo


@dataclass(frozen=True)
class _One:
    """An adapter with what its answers depend on."""

    published: Published
    head: Head
    task: TaskType[Any]
    plan: HeadPlan
    text: TextInfo


class ManyAdapters:
    """A frozen base model that carries many adapters, in eval mode.

    Attributes:
        model: The base model.
        processor: Its tokenizer.
        names: The names of the adapters, as given.
        base_digest: Which base model it is: a digest of all that it is compared by.
    """

    def __init__(self, loaded: Base, attached: Attached, ones: Mapping[str, _One]) -> None:
        self.model = loaded.model
        self.processor = loaded.processor
        self.base_digest = identity(loaded.described)
        self.names = tuple(ones)
        self._attached = attached
        self._ones = ones

    @checked
    def predict(
        self,
        texts: Iterable[Any],
        adapter: Iterable[str],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        **options: Any,
    ) -> list[Prediction]:
        """What each row's own adapter says of it, in the order of the rows.

        Rows of different adapters share a forward pass, each with the head of its own adapter.

        Args:
            texts: As ``AdaptedModel.predict`` takes them.
            adapter: The name of an adapter for each row.
            batch_size: Rows at a time.
            max_length: Tokens of a row at most; default: as in the training of its adapter.
            options: Those of the task types.

        Raises:
            DataError: There is not one known adapter for each row, or as ``AdaptedModel.predict``.
        """
        found, cut = self.predict_block(
            texts, adapter, batch_size=batch_size, max_length=max_length, **options
        )
        cut.note()
        return found

    @checked
    def predict_block(
        self,
        texts: Iterable[Any],
        adapter: Iterable[str],
        *,
        batch_size: int = 32,
        max_length: int | None = None,
        **options: Any,
    ) -> tuple[list[Prediction], Cut]:
        """As :meth:`predict` for some of many rows, with what was cut off in place of a note.

        Raises:
            DataError: As :meth:`predict`.
        """
        require_rows(texts)
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, not {batch_size}.", batch_size)
        items, chosen = list(texts), list(adapter)
        if len(items) != len(chosen):
            raise DataError(f"There are {len(items)} rows, but adapters for {len(chosen)}.")
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(chosen):
            if name not in self._ones:
                raise DataError(
                    f"Row {row + 1} asks for {name!r}, which is not among the {len(self.names)} "
                    f"adapters.{did_you_mean(str(name), self.names)}",
                    name,
                )
            rows_of.setdefault(name, []).append(row)
        how = {name: self._options(name, options) for name in rows_of}
        given = {
            name: self._ones[name].task.given([items[row] for row in rows])
            for name, rows in rows_of.items()
        }
        encoded = {}
        for name, rows in given.items():
            one = self._ones[name]
            one.task.require_form(rows, one.text)
            text = one.text if max_length is None else shortened(one.text, max_length)
            encoded[name] = encode(one.task, self.processor, self.model, rows, one.plan, text)
        found: dict[str, list[tuple[int, tuple[Tensor, ...]]]] = {name: [] for name in given}
        for batch in self._batches(encoded, batch_size):
            for name, positions, outputs in self._run(batch, encoded, how):
                for place, position in enumerate(positions):
                    own = tuple(output[place : place + 1] for output in outputs)
                    found[name].append((position, own))
        answers: list[Any] = [None] * len(items)
        for name, rows in given.items():
            one, order = self._ones[name], [position for position, _ in found[name]]
            arrays = in_order(joined([row for _, row in found[name]]), order)
            said = one.task.predictions(arrays, encoded[name], rows, one.plan, how[name])
            for row_number, prediction in zip(rows_of[name], said, strict=True):
                answers[row_number] = prediction
        cut = sum(one.cut for one in encoded.values())
        return answers, Cut(len(items), cut, "their adapters read")

    def _options(self, name: str, given: Mapping[str, Any]) -> Options:
        one = self._ones[name]
        options = one.task.options_of(given)
        one.task.check_options(options, one.plan)
        return options

    def _batches(
        self, encoded: Mapping[str, Encoded], batch_size: int
    ) -> Iterator[list[tuple[str, int]]]:
        """Features by length, those of one adapter next to each other where they are as long."""
        groups: dict[str, list[tuple[int, str, int]]] = {}
        for name, features in encoded.items():
            for at in range(len(features)):
                length = len(features.feature(at).get("input_ids", ()))
                groups.setdefault(self._ones[name].task.name, []).append((-length, name, at))
        for group in groups.values():
            group.sort()
            for start in range(0, len(group), batch_size):
                yield [(name, at) for _, name, at in group[start : start + batch_size]]

    @torch.inference_mode()
    def _run(
        self,
        batch: Sequence[tuple[str, int]],
        encoded: Mapping[str, Encoded],
        how: Mapping[str, Options],
    ) -> Iterator[tuple[str, list[int], tuple[Tensor, ...]]]:
        """The outputs of each adapter in a batch, after one pass through the backbone."""
        names = [name for name, _ in batch]
        task = self._ones[names[0]].task
        collate = task.collator(self.processor, self.model)
        features = collate([encoded[name].feature(at) for name, at in batch])
        inputs = {key: value.to(self.model.device) for key, value in features.items()}
        base = backbone(self.model)
        rows: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            rows.setdefault(name, []).append(place)
        heads = [(places, self._ones[name].head.tensors) for name, places in rows.items()]
        with self._attached.rows(names), outlets_of_rows(self.model, heads):
            hidden = base(**inputs)
        for name, places in rows.items():
            at = torch.tensor(places, device=self.model.device)
            own = {key: value[at] for key, value in inputs.items()}
            part = {k: v[at] for k, v in hidden.items() if isinstance(v, Tensor)}
            with (
                self._attached.rows([name] * len(places)),
                wearing(self.model, self._ones[name].head.tensors),
                head_alone(self.model, type(hidden)(**part)),
            ):
                outputs = task.run(self.model, own, how[name])[1]
            yield name, [batch[place][1] for place in places], outputs


@checked
def load_many(
    base: str | None,
    refs: Iterable[str],
    *,
    allow_base_mismatch: bool = False,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    catalog: Catalog | None = None,
) -> ManyAdapters:
    """Load many published adapters on one base model, which is in memory once.

    Args:
        base: Where the base model is: a hub id, or a folder. None: where it was in the training of
            the first adapter.
        refs: ``[owner/]name[@version|@alias]`` of each; they name the adapters.
        allow_base_mismatch: Go on with another base model than they were trained on, and note
            that. They were all trained on one.
        device: Where to compute; default: the first CUDA GPU where there is one.
        dtype: What the base model and the heads compute in, as for ``hubkit.load``; adapters stay
            in float32. Default: as the base model is stored.
        catalog: The registry; default: the user's.

    Raises:
        DataError: No adapter is named, or one twice.
        NotFoundError: There is no such adapter.
        UnsupportedModelError: There is no such device or dtype.
        BaseModelMismatchError: One was trained on another base model.
        AdapterError: One runs through PEFT only, has no head of transformers' classes, or needs
            another model class than the others.
    """
    place, catalog = device_of(device), catalog or open_catalog()
    numbers = None if dtype is None else dtype_of(dtype)
    names = list(refs)
    if not names or len(set(names)) < len(names):
        raise DataError("load_many takes a list of adapters, at least one, each once.", refs)
    ones = {name: _load_one(catalog, name) for name in names}
    first = ones[names[0]]
    for name, one in ones.items():
        own, others = one.task.names.auto_class, first.task.names.auto_class
        if own != others:
            raise AdapterError(
                f"{name} predicts with a model of {own}, and {names[0]} with one of {others}; "
                "expected one class for all. Load those of each class by themselves."
            )
        if one.text.padding_side != first.text.padding_side:
            raise AdapterError(f"{name} and {names[0]} were padded on different sides in training.")
    loaded = load_base(catalog, first.published, base, allow_base_mismatch=allow_base_mismatch)
    if first.text.padding_side is not None:  # each may read more than those before it
        for one in ones.values():
            one.task.prepare(loaded.processor, loaded.model, one.plan, one.text)
    places = {**head_tensors(loaded.model), **outlet_tensors(loaded.model)}
    for name, one in ones.items():
        if odd := one.head.tensors.keys() - places.keys():
            raise AdapterError(f"{name} has a head with {min(odd)}, which no such model has.")
        if missing := set(loaded.new) - one.head.tensors.keys():
            raise AdapterError(f"{name} has no weights for {min(missing)} of its head.")
    model = loaded.model
    model.requires_grad_(False)
    model.train(False)
    batch = Batch({name: one.published.composition for name, one in ones.items()})
    attached = attach(model, batch, allow_base_mismatch=allow_base_mismatch)
    if numbers is not None:
        # Each was compared with the base model as it is stored; adapters keep their own numbers.
        attached.detach()
        model.to(numbers)  # type: ignore[arg-type]
        attached = attach(model, batch, allow_base_mismatch=True)
    model.to(place)  # type: ignore[arg-type]
    return ManyAdapters(loaded, attached, ones)


def _load_one(catalog: Catalog, name: str) -> _One:
    version = catalog.resolve(AdapterRef.parse(name))
    manifest = catalog.manifest(version)
    if runs_through_peft(manifest):
        raise AdapterError(
            f"{name} is of the method {manifest.method.type}, which runs through PEFT, one adapter "
            "at a time: load it with hubkit.load."
        )
    published = load_published(catalog, version, manifest)
    head = published.head
    if head is None or head.flexible is not None:
        raise AdapterError(
            f"{name} has no head of a class of transformers: load it with hubkit.load, if it runs."
        )
    task = task_type(manifest.task_type, name)
    if task.names.pretrained_head or not task.shares_passes:
        raise AdapterError(
            f"{name} has the task type {task.name}; expected one whose answers come from one pass "
            "of the model and a head of the adapter's own. Load it with hubkit.load."
        )
    whole = completed(manifest, head)
    return _One(published, head, task, task.plan_of(whole), whole.text or TextInfo())
