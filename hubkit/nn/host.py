"""A base model as its layout describes it: its backbone, layers, sub-blocks and linear layers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hubkit.methods.sites import BlockSite, LinearSite, Place, Site
from hubkit.nn.layout import SubBlock, layouts_of
from registry.errors import BaseModelMismatchError, UnsupportedModelError


class BaseModel:
    """What adapter methods ask of a base model.

    Args:
        model: A model of a known architecture, with or without a head.

    Raises:
        UnsupportedModelError: No layout for its architecture.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._layouts = layouts_of(model)

    @property
    def hidden_size(self) -> int:
        """The width ``d`` at the sub-blocks."""
        return hidden_size(self._model)

    @property
    def embedding_size(self) -> int:
        """The width of the embedded input."""
        return embedding_size(self._model)

    @cached_property
    def layers(self) -> list[str]:
        """The module paths of the layers, from the first to the last."""
        found = [site.layer for site in sites(self._model, ("feed_forward",))]
        if not found:
            lists = ", ".join(path for layout in self._layouts for path in layout.layers)
            raise UnsupportedModelError(
                f"The layout of {self._model.config.model_type!r} has its layers at {lists}, where "
                f"{type(self._model).__name__} has none. Register another layout with "
                "hubkit.register_layout."
            )
        return found

    @cached_property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The inputs and outputs of the backbone's linear layers, by module path."""
        # A model may be its own backbone: adapters leave its head alone.
        head = output_embeddings(self._model)
        return {
            path: linear_sizes(module)
            for path, module in backbone(self._model).named_modules()
            if is_linear(module) and module is not head
        }

    @property
    def queries_and_values(self) -> tuple[str, ...]:
        """The ends of the paths of the linear layers that make queries and values."""
        ends = (end for layout in self._layouts for end in layout.queries_and_values)
        return tuple(dict.fromkeys(ends))


def backbone(model: PreTrainedModel) -> PreTrainedModel:
    """The base model without its head: ``model`` itself where it has none."""
    base = model.base_model
    assert isinstance(base, PreTrainedModel)
    return base


def sites(model: PreTrainedModel, places: tuple[Place, ...]) -> Iterator[BlockSite]:
    """Every sub-block of ``model`` at one of ``places``, from the first layer to the last."""
    modules = dict(backbone(model).named_modules())
    for layout in layouts_of(model):
        for path in layout.layers:
            layers = modules[path].children() if path in modules else ()
            for index, _ in enumerate(layers):
                for place in places:
                    yield BlockSite(f"{path}.{index}", place)


def sub_block_at(model: PreTrainedModel, site: BlockSite) -> SubBlock:
    """The sub-block of ``model`` at ``site``.

    Raises:
        BaseModelMismatchError: There is none.
    """
    path = site.layer.rpartition(".")[0]
    for layout in layouts_of(model):
        if path in layout.layers and site in sites(model, (site.place,)):
            return layout.sub_block(site.place)
    raise _lacks(model, "sub-block", site)


def embeddings(model: PreTrainedModel) -> nn.Module:
    """The module of ``model`` that returns the embedded input.

    Raises:
        UnsupportedModelError: The layout names none.
    """
    for layout in layouts_of(model):
        if layout.embeddings is not None:
            return backbone(model).get_submodule(layout.embeddings)
    raise UnsupportedModelError(
        f"The layout of {model.config.model_type!r} names no embeddings, so it carries no "
        "invertible adapter. Give it with Layout(..., embeddings=...)."
    )


def output_embeddings(model: PreTrainedModel) -> nn.Module | None:
    """The linear layer that gives a language model's scores of words; None in other models."""
    found: nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return found


def embedding_size(model: PreTrainedModel) -> int:
    """The width of what :func:`embeddings` returns."""
    size: int = getattr(model.config, "embedding_size", None) or hidden_size(model)
    return size


def hidden_size(model: PreTrainedModel) -> int:
    """The width ``d`` of the vectors at every sub-block."""
    size: int = model.config.hidden_size
    return size


def num_layers(model: PreTrainedModel) -> int:
    """How many layers can carry adapters."""
    return len(list(sites(model, ("feed_forward",))))


def module_at(model: PreTrainedModel, site: BlockSite, path: str) -> nn.Module:
    """The module at ``path``, which is relative to the layer of ``site``.

    Raises:
        UnsupportedModelError: There is no such module: the layout is for another architecture.
    """
    try:
        return backbone(model).get_submodule(f"{site.layer}.{path}")
    except AttributeError:
        raise UnsupportedModelError(
            f"The layout of {model.config.model_type!r} names {path!r} in each layer, but "
            f"{type(model).__name__} has no module {site.layer}.{path}. Register another layout "
            "with hubkit.register_layout."
        ) from None


def linear_at(model: PreTrainedModel, site: LinearSite) -> nn.Module:
    """The linear layer of ``model`` at ``site``.

    Raises:
        BaseModelMismatchError: There is none.
    """
    try:
        module = backbone(model).get_submodule(site.path)
    except AttributeError:
        module = None
    if module is None or not is_linear(module):
        raise _lacks(model, "linear layer", site)
    return module


def _lacks(model: PreTrainedModel, kind: str, site: Site) -> BaseModelMismatchError:
    return BaseModelMismatchError(
        f"{type(model).__name__} has no {kind} {site}. Load the base model that the adapter was "
        "trained on."
    )


def site_sizes(model: PreTrainedModel, site: Site) -> tuple[int, int]:
    """The widths of the input and of the output of a delta at ``site``."""
    if isinstance(site, LinearSite):
        return linear_sizes(linear_at(model, site))
    return hidden_size(model), hidden_size(model)


def is_linear(module: nn.Module) -> bool:
    """Whether ``module`` computes a matrix product: torch's ``Linear``, or GPT-2's ``Conv1D``."""
    return isinstance(module, nn.Linear | Conv1D)


def linear_sizes(module: nn.Module) -> tuple[int, int]:
    """The inputs and outputs of a linear layer."""
    rows, columns = module.weight.shape  # type: ignore[misc]
    # GPT-2 stores its weights transposed.
    return (rows, columns) if isinstance(module, Conv1D) else (columns, rows)
