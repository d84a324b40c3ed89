"""Put nodes into a frozen base model, and take them out again.

Hooks add the deltas. At a sub-block, one hook keeps the residual that goes in, and another adds the
delta to the output. At a linear layer, one hook does both. The base model's modules, classes and
state_dict keys stay as they are; the deltas become the submodule ``hubkit_adapters``, so that
optimisers, ``.to()`` and checkpoints find them. Taking it out restores the model to the bit.

The hooks are objects that hold their nodes as attributes, so that a deep copy or a pickle of the
model has its own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from hubkit.methods.sites import BlockSite, LinearSite, Site
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.host import (
    backbone,
    embeddings,
    linear_at,
    module_at,
    output_embeddings,
    sub_block_at,
)
from hubkit.nn.invertible import CouplingNode
from hubkit.nn.nodes import Reading, add
from hubkit.nn.recording import answer_for_attention
from hubkit.nn.threads import PerThread
from registry.errors import CompositionError, UnsupportedModelError

SUBMODULE = "hubkit_adapters"
"""The name under which a model carries what is attached to it."""

EMBEDDINGS = "embeddings"
"""The name of the node of the invertible adapters inside the submodule."""

_HALF = (torch.bfloat16, torch.float16)

_CARRIES = "_hubkit_carries"
"""Marks a backbone that carries adapters: several models may share it."""


def node_name(site: Site) -> str:
    """The name of a site's node inside the submodule; module names hold no dots."""
    return str(site).replace(".", "-")


def require_bare(model: PreTrainedModel) -> None:
    """Make sure that ``model`` carries nothing.

    Raises:
        CompositionError: It carries adapters, or another model with its backbone does.
    """
    if getattr(backbone(model), _CARRIES, False):
        raise CompositionError(
            f"This {type(model).__name__} carries adapters already; detach them first, or "
            "attach both at once with hubkit.Stack or hubkit.Fuse."
        )


class Removable(Protocol):
    """Something in a model that can be taken out again."""

    def remove(self) -> None:
        """Take it out."""


class Carried(nn.ModuleDict):
    """The adapters in a model: the node at each site, and the composition that they compute."""

    def __init__(self, nodes: Mapping[str, nn.Module], composition: object) -> None:
        super().__init__(nodes)
        self.composition = composition
        # By this name, `save_pretrained` learns which weights it may write once for all.
        self._tied_weights_keys = _repeated(self)


def _repeated(module: nn.Module) -> dict[str, str]:
    """The names of the weights that have another name before, with that one."""
    first: dict[nn.Parameter, str] = {}
    named = module.named_parameters(remove_duplicate=False)
    names = {name: first.setdefault(parameter, name) for name, parameter in named}
    return {name: source for name, source in names.items() if name != source}


class Attachment:
    """Nodes at work in a model, until :meth:`detach`.

    Args:
        model: The model.
        nodes: What is added at each site.
        couplings: The invertible adapters; None if there are none.
        composition: What the nodes compute, as ``attached_to`` returns it.

    Raises:
        CompositionError: The model carries adapters already.
        BaseModelMismatchError: It has no such site.
        UnsupportedModelError: Its layout names modules that it does not have.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        nodes: Mapping[Site, nn.Module],
        couplings: CouplingNode | None = None,
        composition: object = None,
    ) -> None:
        require_bare(model)
        self.model = model
        named = {node_name(site): node for site, node in nodes.items()}
        self.nodes = Carried(named, composition)
        if couplings is not None:
            self.nodes[EMBEDDINGS] = couplings
        self.nodes.train(model.training)
        self._hooks: list[Removable] = []
        try:
            # Linear layers first: one may be the output of a sub-block, which then has its delta.
            for site in sorted(nodes, key=lambda site: isinstance(site, BlockSite)):
                if isinstance(site, LinearSite):
                    hook = _AddToLinear(nodes[site])
                    self.keep(linear_at(model, site).register_forward_hook(hook))
                else:
                    self._hook_block(site, nodes[site])
            if couplings is not None:
                self.keep(embeddings(model).register_forward_hook(_MapEmbeddings(couplings)))
                head = output_embeddings(model)
                if head is not None:
                    self.keep(head.register_forward_pre_hook(_MapBack(couplings)))
        except BaseException:
            self._unhook()
            raise
        for handle in answer_for_attention(model, nodes):
            self.keep(handle)
        layers = [module for module in self.nodes.modules() if isinstance(module, FusionLayer)]
        if layers:
            self.keep(model.register_forward_hook(_AddRegularization(layers)))
        model.add_module(SUBMODULE, self.nodes)
        setattr(backbone(model), _CARRIES, True)
        _forget_compiled()

    @property
    def at_work(self) -> bool:
        """Whether the model carries these nodes."""
        return getattr(self.model, SUBMODULE, None) is self.nodes

    def detach(self) -> None:
        """Leave the model as it was. A second call does nothing."""
        self._unhook()
        if self.at_work:
            delattr(self.model, SUBMODULE)
            delattr(backbone(self.model), _CARRIES)
            _forget_compiled()

    def keep(self, hook: Removable) -> None:
        """Remove ``hook``, too, when the nodes are taken out."""
        self._hooks.append(hook)

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _hook_block(self, site: BlockSite, node: nn.Module) -> None:
        block = sub_block_at(self.model, site)
        norm = module_at(self.model, site, block.norm) if block.norm else None
        residual = module_at(self.model, site, block.residual)
        output = module_at(self.model, site, block.output)
        position, names = block.residual_argument, list(signature(residual.forward).parameters)
        if position >= len(names):
            raise UnsupportedModelError(
                f"The layout of {self.model.config.model_type!r} takes argument {position} of "
                f"{site.layer}.{block.residual} for the residual, but it has {len(names)}: "
                f"{', '.join(names)}. Register another layout."
            )
        residuals = _Residuals()
        keep = _KeepResidual(position, names[position], residuals)
        self.keep(residual.register_forward_pre_hook(keep, with_kwargs=True))
        self.keep(output.register_forward_hook(_AddToBlock(node, norm, residuals)))


class _Residuals:
    """The residual of a sub-block from its entry to its exit, for each thread that runs it."""

    def __init__(self) -> None:
        self._per_thread = PerThread()
        self._traced: list[Tensor] = []

    def _here(self) -> list[Tensor]:
        # The compiler follows lists, and traces in one thread at a time.
        return self._traced if torch.compiler.is_compiling() else self._per_thread.items

    def put(self, residual: Tensor) -> None:
        self._here()[:] = [residual]

    def take(self) -> Tensor:
        """Return the residual and let go of it: no graph must outlive its forward pass."""
        return self._here().pop()


class _KeepResidual:
    def __init__(self, position: int, name: str, residuals: _Residuals) -> None:
        self._position = position
        self._name = name
        self._residuals = residuals

    def __call__(self, _module: nn.Module, arguments: tuple[Any, ...], named: Any) -> None:
        given = self._position < len(arguments)
        self._residuals.put(arguments[self._position] if given else named[self._name])


class _AddToBlock:
    def __init__(self, node: nn.Module, norm: nn.Module | None, residuals: _Residuals) -> None:
        self._node = node
        self._norm = norm
        self._residuals = residuals

    def __call__(self, _module: nn.Module, _arguments: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        residual, dtype = self._residuals.take(), _own_dtype(self._node, hidden)
        reading, delta = add(self._node, Reading(hidden, residual, self._norm, dtype))
        changed = reading.sum(delta)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed


class _AddToLinear:
    def __init__(self, node: nn.Module) -> None:
        self._node = node

    def __call__(self, _module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        dtype = _own_dtype(self._node, output)
        reading, delta = add(self._node, Reading(output, arguments[0], None, dtype))
        return reading.sum(delta)


def _own_dtype(node: nn.Module, output: Tensor) -> torch.dtype | None:
    """The dtype of ``node``, if the base model gives half precision and ``node`` has another."""
    if output.dtype not in _HALF or torch.is_autocast_enabled(output.device.type):
        return None
    own = next(node.parameters()).dtype
    return None if own == output.dtype else own


def _through(couplings: CouplingNode, x: Tensor, *, inverse: bool = False) -> Tensor:
    """``x`` through ``couplings``, computed in their dtype and given back in its own."""
    dtype = _own_dtype(couplings, x)
    if dtype is None:
        return couplings(x, inverse=inverse)  # type: ignore[no-any-return]
    changed: Tensor = couplings(x.to(dtype), inverse=inverse)
    return changed.to(x.dtype)


class _MapEmbeddings:
    def __init__(self, couplings: CouplingNode) -> None:
        self._couplings = couplings

    def __call__(self, _module: nn.Module, _arguments: Any, output: Tensor) -> Any:
        return _through(self._couplings, output)


class _MapBack:
    def __init__(self, couplings: CouplingNode) -> None:
        self._couplings = couplings

    def __call__(self, _module: nn.Module, arguments: tuple[Any, ...]) -> Any:
        return (_through(self._couplings, arguments[0], inverse=True), *arguments[1:])


def regularization(model: nn.Module) -> Tensor | float:
    """The regulariser of the fusions in ``model`` that are trained; 0 where there is none.

    For a loss that the model does not compute itself: hooks add it to the model's own.
    """
    layers = [module for module in model.modules() if isinstance(module, FusionLayer)]
    return _regularization(layers)


def _regularization(layers: Sequence[FusionLayer]) -> Tensor | float:
    trained = [layer for layer in layers if layer.query.weight.requires_grad]
    return sum(layer.regularization() for layer in trained)


class _AddRegularization:
    """Add the fusion regulariser to the loss that the model itself computes while training.

    As a hook it is there in any training loop, the stock ``Trainer`` included.
    """

    def __init__(self, layers: Sequence[FusionLayer]) -> None:
        self._layers = list(layers)

    def __call__(self, model: nn.Module, _arguments: Any, output: Any) -> None:
        if not (model.training and isinstance(output, ModelOutput)):
            return
        if output.get("loss") is not None:
            output["loss"] = output["loss"] + _regularization(self._layers)


def _forget_compiled() -> None:
    """Drop compiled code: the compiler assumes that hooks never change."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
