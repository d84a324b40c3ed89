"""The one call that puts adapters, or a composition of them, to work in a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from hubkit.adapters.fusion import Fusion
from hubkit.adapters.mix import LearnedMix
from hubkit.adapters.tree import Attachable, Leaf, Trained, Tree
from hubkit.composition import Batch, Fuse, Mix, Parallel, Stack
from hubkit.methods.method import kept_layers
from hubkit.methods.sites import is_in
from hubkit.models.build import Builder
from hubkit.models.copies import batch_size, repeat_rows
from hubkit.models.fit import Fitting
from hubkit.models.generation import Generation
from hubkit.models.head import note_other_head, restore_outlet
from hubkit.nn.batch import Copies, Rows
from hubkit.nn.hooks import SUBMODULE, Attachment
from hubkit.nn.host import BaseModel, backbone
from registry.arguments import checked
from registry.errors import CompositionError, did_you_mean


class Attached(AbstractContextManager["Attached"]):
    """A composition at work in a model: a context manager, or until :meth:`detach`.

    Attributes:
        model: The model that carries it.
        composition: What it carries.
    """

    def __init__(self, attachment: Attachment, composition: Attachable, rows: Rows | None) -> None:
        self.model = attachment.model
        self.composition = composition
        self._attachment = attachment
        self._rows = rows

    def detach(self) -> None:
        """Leave the base model as it was, to the bit. A second call does nothing."""
        if self._attachment.at_work:
            restore_outlet(self.model)
        self._attachment.detach()

    @contextmanager
    @checked
    def rows(self, names: Sequence[str | None]) -> Iterator[None]:
        """Choose a named entry of a batch for every row of the input, inside the block.

        Args:
            names: For each row the name of an entry, or None for the base model as it is.

        Raises:
            CompositionError: The composition holds no batch with named entries, or has none of
                that name.
        """
        batch = Tree.of(self.composition).row_choice
        if not isinstance(batch, Batch) or batch.names is None or self._rows is None:
            raise CompositionError(
                f"Rows are chosen in a batch with names, such as hubkit.Batch({{'u1': a, 'u2': b}})"
                f"; this model carries {self.composition}."
            )
        places = dict(batch.names)
        for row, name in enumerate(names):
            if name is not None and name not in places:
                raise CompositionError(
                    f"Row {row} asks for {name!r}, which is not one of the {len(places)} names of "
                    f"the batch.{did_you_mean(str(name), places)}"
                )
        with self._rows.chosen([None if name is None else places[name] for name in names]):
            yield

    @contextmanager
    @checked
    def every_row(self, name: str) -> Iterator[None]:
        """Choose one named entry for all rows, however many an input has, inside the block.

        Raises:
            CompositionError: As :meth:`rows`.
        """
        with self.rows([name]):
            assert self._rows is not None
            with self._rows.generating(1):
                yield

    def __exit__(self, *_: object) -> None:
        self.detach()


def attach(
    model: PreTrainedModel, composition: Attachable, *, allow_base_mismatch: bool = False
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
        allow_base_mismatch: Go on with another base model than the one that an adapter was trained
            on: other weights, another configuration, or another pooler before the head.

    Raises:
        UnsupportedModelError: ``model`` is not a transformers model, or hubkit knows no sites for
            its architecture.
        BaseModelMismatchError: An adapter was trained on other weights, on another configuration,
            or on a model of another architecture, depth or width; or what the model's head reads
            from, such as a pooler, has other weights than in training.
        CompositionError: The model carries adapters already, a leaf is not a loaded adapter, or the
            composition makes no sense.
    """
    fitting = Fitting(model, allow_base_mismatch=allow_base_mismatch)
    if isinstance(composition, Fuse):
        composition = Fusion.create_in(model, composition)
    elif isinstance(composition, Mix) and composition.weights is None:
        composition = LearnedMix.create(composition)
    tree = Tree.of_one_base(composition)
    _check_weights(tree, fitting.host)
    for adapter in {id(one): one for one in tree.adapters}.values():
        fitting.check(adapter)
    for leaf in _predicting(tree):
        fitting.check_parts(leaf)
    builder = Builder(model, tree)
    attachment = Attachment(model, builder.nodes(), builder.couplings(), composition)
    if builder.rows is not None:
        attachment.keep(_check_rows(model, builder.rows))
        attachment.keep(Generation(model, builder.rows))
    if isinstance(builder.rows, Copies):
        for hook in repeat_rows(model, _layers_of(fitting.host, tree), builder.rows):
            attachment.keep(hook)
    if (last := _last(tree)) is not None and last.head is not None:
        note_other_head(model, str(last), last.head)
    return Attached(attachment, composition, builder.rows)


def attached_to(model: PreTrainedModel) -> Attachable | None:
    """The composition that ``model`` carries; None if it carries none."""
    carried = getattr(model, SUBMODULE, None)
    return None if carried is None else carried.composition


def _check_weights(tree: Tree, host: BaseModel) -> None:
    """Make sure that what is trained has weights, at the sites of its parts and only there.

    A fusion has none in the layers that it leaves out.
    """
    for one in tree.inside():
        value = one.composition
        if isinstance(value, Fuse) or (isinstance(value, Mix) and value.weights is None):
            kind = "a fusion" if isinstance(value, Fuse) else "a mix"
            raise CompositionError(
                f"{tree.composition} holds {kind} without weights: train that one first."
            )
        if not isinstance(value, Trained):
            continue
        expected = {site for part in one.parts for site in part.sites}
        if isinstance(value, Fusion) and value.leave_out:
            kept = kept_layers(host, value.leave_out)
            expected = {site for site in expected if any(is_in(site, layer) for layer in kept)}
        if odd := value.own_weights.keys() ^ expected:
            raise CompositionError(
                f"{value} and its parts do not have the same sites: "
                f"{', '.join(sorted(map(str, odd)))}. Give it the parts that it was trained over."
            )


def _check_rows(model: PreTrainedModel, rows: Rows) -> RemovableHandle:
    """Before a forward pass begins, look whether each row of its input has an entry."""

    return backbone(model).register_forward_pre_hook(_CheckRows(rows), with_kwargs=True)


class _CheckRows:
    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __call__(self, model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._rows.check(batch_size(model, arguments, named))


def _last(tree: Tree) -> Leaf | None:
    """The part whose head predicts: the last one. None if rows choose."""
    while isinstance(tree.composition, Stack | Mix):
        tree = tree.parts[-1]
    return tree.composition if isinstance(tree.composition, Leaf) else None


def _predicting(tree: Tree) -> Iterator[Leaf]:
    """The parts whose heads may be meant to predict: several, where rows choose."""
    while isinstance(tree.composition, Stack | Mix):
        tree = tree.parts[-1]
    if isinstance(tree.composition, Batch | Parallel):
        for part in tree.parts:
            yield from _predicting(part)
    elif isinstance(tree.composition, Leaf):
        yield tree.composition


def _layers_of(host: BaseModel, tree: Tree) -> list[str]:
    """The layers that a composition changes."""
    return [layer for layer in host.layers if any(is_in(site, layer) for site in tree.sites)]
