"""Put nodes into a frozen base model, and take them out again.

Two hooks a site do it: one sees the residual that the sub-block receives, one adds the delta to the
sub-block's output. The base model's modules, classes and state_dict keys stay as they are; the
deltas become the submodule ``hubkit_adapters``, so that optimisers, ``.to()`` and checkpoints find
them. Taking it out restores the model to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from hubkit.nn.fusion import FusionLayer
from hubkit.nn.layout import module_at, sub_block_at
from hubkit.nn.nodes import Node, Norm, Reading
from hubkit.nn.sites import Site
from registry.errors import CompositionError

SUBMODULE = "hubkit_adapters"
"""The name under which a model carries what is attached to it."""


def node_name(site: Site) -> str:
    """The name of a site's node inside the submodule; module names hold no dots."""
    return str(site).replace(".", "-")


class Attachment:
    """Nodes at work in a model, until :meth:`detach`."""

    def __init__(self, model: PreTrainedModel, nodes: Mapping[Site, Node]) -> None:
        if hasattr(model, SUBMODULE):
            raise CompositionError(
                f"This {type(model).__name__} carries adapters already; detach them first, or "
                "attach both at once with hubkit.Stack or hubkit.Fuse."
            )
        self.model = model
        self.nodes = nn.ModuleDict({node_name(site): node for site, node in nodes.items()}).train(
            model.training
        )
        model.add_module(SUBMODULE, self.nodes)
        self._hooks: list[RemovableHandle] = []
        for site, node in nodes.items():
            self._hook(site, node)
        if layers := [module for module in self.nodes.modules() if isinstance(module, FusionLayer)]:
            self._hooks.append(model.register_forward_hook(_add_regularization(layers)))

    def detach(self) -> None:
        """Leave the model as it was. A second call does nothing."""
        for hook in self._hooks:
            hook.remove()
        if self._hooks:
            delattr(self.model, SUBMODULE)
        self._hooks.clear()

    def _hook(self, site: Site, node: Node) -> None:
        block = sub_block_at(self.model, site)
        norm: Norm | None = module_at(self.model, site, block.norm) if block.norm else None
        residual = module_at(self.model, site, block.residual)
        position = block.residual_argument
        name = list(signature(residual.forward).parameters)[position]
        residuals: list[Tensor] = []

        def keep_residual(
            _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
        ) -> None:
            residuals[:] = [arguments[position] if position < len(arguments) else named[name]]

        def add_delta(_module: nn.Module, _arguments: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            # Taken out, so that no graph outlives its forward pass.
            reading, delta = node(Reading(hidden, residuals.pop(), norm))
            changed = reading.output + delta
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        output = module_at(self.model, site, block.output)
        self._hooks.append(residual.register_forward_pre_hook(keep_residual, with_kwargs=True))
        self._hooks.append(output.register_forward_hook(add_delta))


def _add_regularization(layers: list[FusionLayer]) -> Callable[..., None]:
    """Add the fusion regulariser to the loss that the model itself computes while training.

    As a hook it is there in any training loop, the stock ``Trainer`` included.
    """

    def hook(model: nn.Module, _arguments: Any, output: Any) -> None:
        trained = [layer for layer in layers if layer.query.weight.requires_grad]
        if not (model.training and trained and isinstance(output, ModelOutput)):
            return
        if output.get("loss") is not None:
            output["loss"] = output["loss"] + sum(layer.regularization() for layer in trained)

    return hook
