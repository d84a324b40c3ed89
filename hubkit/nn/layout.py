"""Where the sites are: one declarative row for each architecture family.

A *site* is a place in a frozen base model where deltas are added: the output of a layer's attention
sub-block or of its feed-forward sub-block. A row of the table names, for both, the module whose
output is ``h``, the module that receives the residual, and the LayerNorm that follows the sum
(``None`` in pre-LN models). No model code is copied, so a new release of transformers needs at most
a new row. Add one at run time with :func:`register_layout`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from hubkit.nn.sites import Place, Site
from registry.errors import UnsupportedModelError


@dataclass(frozen=True)
class SubBlock:
    """One sub-block of a layer; module paths are relative to the layer.

    ``output`` is the module that returns ``h`` (a tensor, or a tuple that starts with it);
    ``residual`` is called with the residual as its positional argument number
    ``residual_argument``; ``norm`` is the LayerNorm applied to ``h + residual``.
    """

    output: str
    residual: str
    residual_argument: int
    norm: str | None


@dataclass(frozen=True)
class Layout:
    """One architecture family: its lists of layers (paths inside the backbone) and sub-blocks."""

    layers: tuple[str, ...]
    attention: SubBlock
    feed_forward: SubBlock

    def sub_block(self, place: Place) -> SubBlock:
        """The sub-block at ``place``."""
        return self.attention if place == "attention" else self.feed_forward


_BERT = Layout(
    layers=("encoder.layer",),
    attention=SubBlock(
        "attention.output.dropout", "attention.output", 1, "attention.output.LayerNorm"
    ),
    feed_forward=SubBlock("output.dropout", "output", 1, "output.LayerNorm"),
)
_DISTILBERT = Layout(
    layers=("transformer.layer",),
    attention=SubBlock("attention", "attention", 0, "sa_layer_norm"),
    feed_forward=SubBlock("ffn", "ffn", 0, "output_layer_norm"),
)

_LAYOUTS: dict[str, Layout] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT,
    "distilbert": _DISTILBERT,
}


def register_layout(model_type: str, layout: Layout) -> None:
    """Teach hubkit the architecture whose ``config.json`` says ``"model_type": model_type``."""
    _LAYOUTS[model_type] = layout


def backbone(model: PreTrainedModel) -> PreTrainedModel:
    """The base model without its head: ``model`` itself where it has none."""
    base = model.base_model
    assert isinstance(base, PreTrainedModel)
    return base


def layout_of(model: PreTrainedModel) -> Layout:
    """The layout of ``model``.

    Raises:
        UnsupportedModelError: No row for its ``model_type``; the message says how to add one.
    """
    model_type = model.config.model_type
    try:
        return _LAYOUTS[model_type]
    except KeyError:
        raise UnsupportedModelError(
            f"No layout for the architecture {model_type!r} ({type(model).__name__}); hubkit knows "
            f"{', '.join(sorted(_LAYOUTS))}. Say where its layers, residuals and LayerNorms are "
            f"with hubkit.register_layout({model_type!r}, Layout(...))."
        ) from None


def sites(model: PreTrainedModel, places: tuple[Place, ...]) -> Iterator[Site]:
    """Every site of ``model`` at one of ``places``, from the first layer to the last."""
    layout = layout_of(model)
    base = backbone(model)
    for path in layout.layers:
        for index, _ in enumerate(base.get_submodule(path).children()):
            for place in places:
                yield Site(f"{path}.{index}", place)


def hidden_size(model: PreTrainedModel) -> int:
    """The width ``d`` of the vectors at every site."""
    size: int = model.config.hidden_size
    return size


def num_layers(model: PreTrainedModel) -> int:
    """How many layers can carry adapters."""
    return len(list(sites(model, ("feed_forward",))))


def module_at(model: PreTrainedModel, site: Site, path: str) -> nn.Module:
    """The module at ``path``, which is relative to the layer of ``site``."""
    return backbone(model).get_submodule(f"{site.layer}.{path}")
