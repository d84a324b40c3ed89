"""Put nodes into a frozen base model, and take them out again.

Hooks do it. At a sub-block, one sees the residual that it receives, another adds the delta to its
output; at a linear layer, one sees both. The base model's modules, classes and state_dict keys stay
as they are; the deltas become the submodule ``hubkit_adapters``, so that optimisers, ``.to()`` and
checkpoints find them. Taking it out restores the model to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from hubkit.methods.sites import BlockSite, LinearSite, Site
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.host import embeddings, linear_at, module_at, output_embeddings, sub_block_at
from hubkit.nn.invertible import CouplingNode
from hubkit.nn.nodes import Norm, Reading, add
from hubkit.nn.recording import answer_for_attention
from registry.errors import CompositionError

SUBMODULE = "hubkit_adapters"
"""The name under which a model carries what is attached to it."""

EMBEDDINGS = "embeddings"
"""The name of the node of the invertible adapters inside the submodule."""


def node_name(site: Site) -> str:
    """The name of a site's node inside the submodule; module names hold no dots."""
    return str(site).replace(".", "-")


class Attachment:
    """Nodes at work in a model, until :meth:`detach`.

    Args:
        model: The model.
        nodes: What is added at each site.
        couplings: The invertible adapters; None if there are none.

    Raises:
        CompositionError: The model carries adapters already.
        BaseModelMismatchError: It has no such site.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        nodes: Mapping[Site, nn.Module],
        couplings: CouplingNode | None = None,
    ) -> None:
        if hasattr(model, SUBMODULE):
            raise CompositionError(
                f"This {type(model).__name__} carries adapters already; detach them first, or "
                "attach both at once with hubkit.Stack or hubkit.Fuse."
            )
        self.model = model
        self.nodes = nn.ModuleDict({node_name(site): node for site, node in nodes.items()})
        if couplings is not None:
            self.nodes[EMBEDDINGS] = couplings
        self.nodes.train(model.training)
        self._hooks: list[RemovableHandle] = []
        try:
            # What a sub-block returns is what its linear layers have become.
            for site in sorted(nodes, key=lambda site: isinstance(site, BlockSite)):
                if isinstance(site, LinearSite):
                    self._hook_linear(site, nodes[site])
                else:
                    self._hook_block(site, nodes[site])
            if couplings is not None:
                self._hook_embeddings(couplings)
        except BaseException:
            self._unhook()
            raise
        for hook in answer_for_attention(model, nodes):
            self.keep(hook)
        layers = [module for module in self.nodes.modules() if isinstance(module, FusionLayer)]
        if layers:
            self._hooks.append(model.register_forward_hook(_add_regularization(layers)))
        model.add_module(SUBMODULE, self.nodes)

    def detach(self) -> None:
        """Leave the model as it was. A second call does nothing."""
        self._unhook()
        if getattr(self.model, SUBMODULE, None) is self.nodes:
            delattr(self.model, SUBMODULE)

    def keep(self, hook: RemovableHandle) -> None:
        """Remove ``hook``, too, when the nodes are taken out."""
        self._hooks.append(hook)

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _hook_linear(self, site: LinearSite, node: nn.Module) -> None:
        def add_delta(_module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
            reading, delta = add(node, Reading(output, arguments[0], None))
            return reading.output + delta

        self.keep(linear_at(self.model, site).register_forward_hook(add_delta))

    def _hook_block(self, site: BlockSite, node: nn.Module) -> None:
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
            reading, delta = add(node, Reading(hidden, residuals.pop(), norm))
            changed = reading.output + delta
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        output = module_at(self.model, site, block.output)
        self.keep(residual.register_forward_pre_hook(keep_residual, with_kwargs=True))
        self.keep(output.register_forward_hook(add_delta))

    def _hook_embeddings(self, couplings: CouplingNode) -> None:
        def map_embeddings(_module: nn.Module, _arguments: Any, output: Any) -> Any:
            mapped: Tensor = couplings(output)
            return mapped

        def map_back(_module: nn.Module, arguments: tuple[Any, ...]) -> Any:
            return (couplings(arguments[0], inverse=True), *arguments[1:])

        self.keep(embeddings(self.model).register_forward_hook(map_embeddings))
        head = output_embeddings(self.model)
        if head is not None:
            self.keep(head.register_forward_pre_hook(map_back))


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
