"""The one call that puts adapters, or a composition of them, to work in a model."""

from __future__ import annotations

from copy import deepcopy
from types import TracebackType
from typing import Any, Self, TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion, adapters_of, check_one_base, sites_of
from hubkit.composition import Fuse, Stack
from hubkit.nn.attach import SUBMODULE, Attachment
from hubkit.nn.fingerprint import fingerprint
from hubkit.nn.layout import backbone, hidden_size, sites
from hubkit.nn.nodes import DeltaNode, FusionNode, Node, StackNode
from hubkit.nn.sites import Site
from registry.errors import BaseModelMismatchError, CompositionError

_Module = TypeVar("_Module", bound=nn.Module)


class Attached:
    """A composition at work in a model: a context manager, or until :meth:`detach`.

    Attributes:
        model: The model that carries it.
        composition: What it carries.
    """

    def __init__(self, attachment: Attachment, composition: Any) -> None:
        self.model = attachment.model
        self.composition = composition
        self._attachment = attachment
        attachment.nodes.composition = composition

    def detach(self) -> None:
        """Leave the model as it was, to the bit. A second call does nothing."""
        self._attachment.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.detach()


def attach(model: PreTrainedModel, composition: Adapter | Fusion | Stack | Fuse) -> Attached:
    """Let ``model`` run with ``composition``, until it is detached.

    ``with attach(model, adapter): model(**inputs)`` takes it out at the end of the block. Weights
    are shared with the adapters, not copied, unless the model has another dtype or device. A
    :class:`~hubkit.composition.Fuse` becomes a new :class:`~hubkit.adapters.fusion.Fusion` to
    train, found as ``attach(...).composition``.

    Raises:
        UnsupportedModelError: hubkit knows no sites for this architecture.
        BaseModelMismatchError: An adapter was trained on other weights, or on a model of another
            architecture, depth or width.
        CompositionError: The model carries adapters already, or a leaf is not a loaded adapter.
    """
    if isinstance(composition, Fuse):
        composition = Fusion.create(composition)
    if _holds_fuse(composition):
        raise CompositionError(
            f"{composition} holds a fusion without weights: train that one first."
        )
    check_one_base(composition)
    for adapter in adapters_of(composition):
        _check_fits(model, adapter)
    weight = next(backbone(model).parameters())
    nodes = {site: _node_at(site, composition, weight) for site in sites_of(composition)}
    return Attached(Attachment(model, nodes), composition)


def attached_to(model: PreTrainedModel) -> Any:
    """The composition that ``model`` carries; None if it carries none."""
    return getattr(getattr(model, SUBMODULE, None), "composition", None)


def _holds_fuse(composition: Any) -> bool:
    parts = getattr(composition, "parts", ())
    return any(isinstance(part, Fuse) or _holds_fuse(part) for part in parts)


def _check_fits(model: PreTrainedModel, adapter: Adapter) -> None:
    expected = set(sites(model, adapter.method.places))
    if adapter.model_type != model.config.model_type or expected != set(adapter.deltas):
        raise BaseModelMismatchError(
            f"Adapter {adapter} fits a {adapter.model_type} with deltas at {len(adapter.deltas)} "
            f"sites; {type(model).__name__} is a {model.config.model_type} with {len(expected)}. "
            "Load the base model that the adapter was trained on."
        )
    width = next(iter(adapter.deltas.values())).up.out_features
    if width != hidden_size(model):
        raise BaseModelMismatchError(
            f"Adapter {adapter} has width {width}; {type(model).__name__} has hidden size "
            f"{hidden_size(model)}. Load the base model that the adapter was trained on."
        )
    base = adapter.base
    if base and base.fingerprint and base.fingerprint != (found := fingerprint(model)):
        raise BaseModelMismatchError(
            f"Adapter {adapter} was trained on {base.id} with weights {base.fingerprint[:12]}, but "
            f"this {type(model).__name__} ({model.config.name_or_path or 'unnamed'}) has "
            f"{found[:12]}. Load the base model that the adapter was trained on."
        )


def _node_at(site: Site, composition: Any, weight: Tensor) -> Node:
    """What ``composition`` computes at a ``site`` that it has, on the device of ``weight``."""
    if isinstance(composition, Adapter):
        return DeltaNode(_placed(composition.deltas[site], weight))
    parts = [part for part in composition.parts if site in sites_of(part)]
    nodes = [_node_at(site, part, weight) for part in parts]
    if isinstance(composition, Fusion):
        return FusionNode(nodes, _placed(composition.layers[site], weight))
    return StackNode(nodes) if len(nodes) > 1 else nodes[0]


def _placed(module: _Module, weight: Tensor) -> _Module:
    """``module`` on the device and in the dtype of ``weight``."""
    own = next(module.parameters())
    if own.device == weight.device and own.dtype == weight.dtype:
        return module
    # What is to be trained must stay the one that its owner saves. A frozen adapter keeps its own
    # precision: another model may still want it.
    target = module if own.requires_grad else deepcopy(module)
    return target.to(device=weight.device, dtype=weight.dtype)
