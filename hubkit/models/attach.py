"""The one call that puts adapters, or a composition of them, to work in a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.mix import LearnedMix
from hubkit.adapters.parts import adapters_of, check_one_base, sites_of
from hubkit.composition import Batch, Composition, Fuse, Mix, Parallel, Stack, inside, row_choice
from hubkit.methods.sites import BlockSite
from hubkit.models.build import Builder
from hubkit.models.fit import Fitting
from hubkit.models.head import note_other_head
from hubkit.nn.batch import Rows
from hubkit.nn.copies import batch_size, repeat_rows
from hubkit.nn.hooks import SUBMODULE, Attachment
from hubkit.nn.host import BaseModel, backbone
from registry.errors import CompositionError, did_you_mean


class Attached:
    """A composition at work in a model: a context manager, or until :meth:`detach`.

    Attributes:
        model: The model that carries it.
        composition: What it carries.
    """

    def __init__(self, attachment: Attachment, composition: Any, rows: Rows | None) -> None:
        self.model = attachment.model
        self.composition = composition
        self._attachment = attachment
        self._rows = rows
        attachment.nodes.composition = composition

    def detach(self) -> None:
        """Leave the model as it was, to the bit. A second call does nothing."""
        self._attachment.detach()

    @contextmanager
    def rows(self, names: Sequence[str | None]) -> Iterator[None]:
        """Choose a named entry of a batch for every row of the input, inside the block.

        Args:
            names: For each row the name of an entry, or None for the base model as it is.

        Raises:
            CompositionError: The composition holds no batch with named entries, or has none of
                that name.
        """
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise CompositionError(f"Rows are a list with a name for each, not {names!r}.")
        batch = row_choice(self.composition)
        if not isinstance(batch, Batch) or batch.names is None or self._rows is None:
            raise CompositionError(
                f"Rows are chosen in a batch with names, such as hubkit.Batch({{'u1': a, 'u2': b}})"
                f"; this model carries {self.composition}."
            )
        places = dict(batch.names)
        for row, name in enumerate(names):
            if name is not None and name not in places:
                raise CompositionError(
                    f"Row {row} asks for {name!r}, which is none of the {len(places)} names of the "
                    f"batch.{did_you_mean(str(name), places)}"
                )
        with self._rows.chosen([None if name is None else places[name] for name in names]):
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.detach()


def attach(
    model: PreTrainedModel,
    composition: Adapter | Fusion | LearnedMix | Composition,
    *,
    allow_base_mismatch: bool = False,
) -> Attached:
    """Let ``model`` run with ``composition``, until it is detached.

    ``with attach(model, adapter): model(**inputs)`` takes it out at the end of the block. Weights
    are shared with the adapters, not copied, unless the model has another dtype or device. A
    :class:`~hubkit.composition.Fuse` becomes a new :class:`~hubkit.adapters.fusion.Fusion` to
    train, and a :class:`~hubkit.composition.Mix` without weights a new
    :class:`~hubkit.adapters.mix.LearnedMix`, found as ``attach(...).composition``.

    Args:
        model: A transformers model of a known architecture, with or without a head.
        composition: Adapters, or how they combine.
        allow_base_mismatch: Go on with other weights than those that an adapter was trained on, or
            with the same in another dtype.

    Raises:
        UnsupportedModelError: ``model`` is none, or hubkit knows no sites for its architecture.
        BaseModelMismatchError: An adapter was trained on other weights, or on a model of another
            architecture, depth or width.
        CompositionError: The model carries adapters already, a leaf is not a loaded adapter, or the
            composition makes no sense.
    """
    if isinstance(composition, Fuse):
        composition = Fusion.create(composition)
    elif isinstance(composition, Mix) and composition.weights is None:
        composition = LearnedMix.create(composition)
    _check_is_trained(composition)
    _check_weights(composition)
    check_one_base(composition)
    fitting = Fitting(model, allow_base_mismatch=allow_base_mismatch)
    for adapter in {id(one): one for one in adapters_of(composition)}.values():
        fitting.check(adapter)
    builder = Builder(model, composition)
    attachment = Attachment(model, builder.nodes(), builder.couplings())
    if builder.rows is not None:
        attachment.keep(_check_rows(model, builder.rows))
    part = row_choice(composition)
    if isinstance(part, Parallel):
        for hook in repeat_rows(model, _layers_of(fitting.host, part), len(part.parts)):
            attachment.keep(hook)
    trained = _last(composition)
    if isinstance(trained, Adapter | Fusion) and trained.head is not None:
        note_other_head(model, str(trained), trained.head)
    return Attached(attachment, composition, builder.rows)


def attached_to(model: PreTrainedModel) -> Any:
    """The composition that ``model`` carries; None if it carries none."""
    return getattr(getattr(model, SUBMODULE, None), "composition", None)


def _check_is_trained(composition: Any) -> None:
    for part in getattr(composition, "parts", ()):
        for one in inside(part):
            if isinstance(one, Fuse) or (isinstance(one, Mix) and one.weights is None):
                kind = "a fusion" if isinstance(one, Fuse) else "a mix"
                raise CompositionError(
                    f"{composition} holds {kind} without weights: train that one first."
                )
        _check_is_trained(part)


def _check_weights(composition: Any) -> None:
    """Make sure that what is trained has weights at the sites of its parts, and only there."""
    if isinstance(composition, Fusion | LearnedMix):
        weights = composition.layers if isinstance(composition, Fusion) else composition.weights
        if odd := weights.keys() ^ sites_of(composition).keys():
            raise CompositionError(
                f"{composition} and its parts do not have the same sites: "
                f"{', '.join(sorted(map(str, odd)))}. Give it the parts that it was trained over."
            )
    for part in getattr(composition, "parts", ()):
        _check_weights(part)


def _check_rows(model: PreTrainedModel, rows: Rows) -> RemovableHandle:
    """Before a forward pass begins, look whether each row of its input has an entry."""

    return backbone(model).register_forward_pre_hook(_CheckRows(rows), with_kwargs=True)


class _CheckRows:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __call__(self, model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._rows.check(batch_size(model, arguments, named))


def _last(composition: Any) -> Any:
    """The part whose head predicts, as in what is published."""
    while isinstance(composition, Stack | Mix):
        composition = composition.parts[-1]
    return composition


def _layers_of(host: BaseModel, composition: Any) -> list[str]:
    """The layers that ``composition`` changes."""
    sites = [site for adapter in adapters_of(composition) for site in adapter.deltas]
    return [
        layer
        for layer in host.layers
        if any(
            site.layer == layer
            if isinstance(site, BlockSite)
            else site.path.startswith(f"{layer}.")
            for site in sites
        )
    ]
