"""Where the trunk of a model ends, and how the rest of it runs from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit.nn.hooks import SUBMODULE
from hubkit.nn.host import BaseModel, backbone
from hubkit.nn.layout import layouts_of
from registry.errors import NoTrunkError


class Cut:
    """A model that carries what is trained, cut below the lowest layer that is.

    The trunk is all before that layer, with the frozen adapters in it. Nothing of it learns, so
    that what it gives for a row without dropout is always the same.

    Args:
        model: Carries adapters or a fusion, of which those that require gradients are trained.

    Raises:
        NoTrunkError: Its lowest layer or its embeddings are trained, or its architecture cannot be
            cut, as it is built of an encoder and a decoder.
        UnsupportedModelError: hubkit knows no layers of its architecture.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._base = base = backbone(model)
        lists = _lists(model)
        if len(lists) > 1:
            raise NoTrunkError(
                f"A {type(model).__name__} ({model.config.model_type}) has layers in two places, "
                f"{' and '.join(lists)}, so nothing is below all that is trained.",
                model.config.model_type,
            )
        layers = BaseModel(model).layers
        lowest = min((_place(base, layers, path) for path in _trained(model)), default=len(layers))
        if lowest == 0:
            raise NoTrunkError(
                f"{layers[0]}, the lowest layer of this {type(model).__name__}, or what is before "
                "it is trained, so nothing below could be computed once."
            )
        self._layers = [base.get_submodule(layer) for layer in layers[:lowest]]
        before = _children_before(base, layers)
        self._modules = [*self._layers, *(base.get_submodule(name) for name in before)]
        self._others: int | None = None

    def without_dropout(self) -> None:
        """Put the trunk in eval mode; the trainer puts it in train mode again."""
        for module in self._modules:
            module.eval()

    def states(self, inputs: Mapping[str, Any]) -> Tensor:
        """What the trunk gives for ``inputs``, without gradients. *Shape:* ``(rows, length, d)``.

        Raises:
            NoTrunkError: The layers hand on more than a hidden state.
        """
        hook = self._layers[-1].register_forward_hook(self._reached)
        try:
            with torch.no_grad():
                self._base.forward(**inputs)
        except _ReachedError as reached:
            return reached.states
        finally:
            hook.remove()
        raise AssertionError("The last layer of the trunk did not run.")

    @contextmanager
    def going_on(self, given: Callable[[], Tensor | None]) -> Iterator[None]:
        """Inside the block, the model runs from what ``given`` returns in place of its trunk.

        Where that is None, it runs as a whole.
        """
        last = self._layers[-1]
        for layer in self._layers:
            vars(layer)["forward"] = _Skipped(self, layer.forward, given, layer is last)
        try:
            yield
        finally:
            for layer in self._layers:
                del vars(layer)["forward"]

    def as_output(self, states: Tensor) -> Any:
        """``states`` in the form in which a layer returns them."""
        return states if self._others is None else (states, *[None] * self._others)

    def _reached(self, _layer: nn.Module, _arguments: Any, output: Any) -> None:
        states, *others = output if isinstance(output, tuple) else [output]
        if any(other is not None for other in others):
            name = type(self._base).__name__
            raise NoTrunkError(f"The layers of {name} hand on more than a hidden state.", name)
        self._others = len(others) if isinstance(output, tuple) else None
        raise _ReachedError(states)


def can_be_cut(model: PreTrainedModel) -> bool:
    """Whether the layers of a model are in one place, so that some can be below all others.

    Raises:
        UnsupportedModelError: hubkit knows no layers of its architecture.
    """
    return len(_lists(model)) == 1


def _lists(model: PreTrainedModel) -> list[str]:
    return [path for layout in layouts_of(model) for path in layout.layers]


class _ReachedError(Exception):
    """Ends a forward pass where the trunk ends."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


class _Skipped:
    """The forward pass of a layer of the trunk, which hands on what it is given."""

    def __init__(
        self, cut: Cut, whole: Callable[..., Any], given: Callable[[], Tensor | None], last: bool
    ) -> None:
        self._cut = cut
        self._whole = whole
        self._given = given
        self._last = last

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        states = self._given()
        if states is None:
            return self._whole(*arguments, **named)
        if not self._last:
            states = arguments[0] if arguments else named["hidden_states"]
        return self._cut.as_output(states)


def _trained(model: PreTrainedModel) -> Iterator[str]:
    """The paths inside the backbone of what is trained, the sites of adapters among them."""
    for name, parameter in backbone(model).named_parameters():
        if parameter.requires_grad and not name.startswith(f"{SUBMODULE}."):
            yield name
    for name, node in getattr(model, SUBMODULE, nn.ModuleDict()).items():
        if any(parameter.requires_grad for parameter in node.parameters()):
            yield name


def _place(base: nn.Module, layers: list[str], path: str) -> int:
    """The number of the layer that holds ``path``; 0 before the layers, their number after them.

    Args:
        path: Of a module, or the name that a site's node has.
    """
    name = _named(path)
    for number, layer in enumerate(layers):
        if name.startswith(f"{_named(layer)}-"):
            return number
    before = tuple(f"{one}-" for one in _children_before(base, layers))
    return 0 if f"{name}-".startswith(before) else len(layers)


def _named(path: str) -> str:
    """``path`` as the nodes of sites are named."""
    return path.replace(".", "-")


def _children_before(base: nn.Module, layers: list[str]) -> list[str]:
    """The children of the backbone that run before its layers."""
    names = [name for name, _ in base.named_children()]
    return names[: names.index(layers[0].partition(".")[0])]
