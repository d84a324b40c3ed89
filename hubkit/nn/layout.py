"""Where the sites are: one declarative row for each architecture family.

A *site* is a place in a frozen base model where deltas are added: the output of a layer's attention
sub-block or of its feed-forward sub-block. A row of the table names, for both, the module whose
output is ``h``, the module that receives the residual, and the LayerNorm that follows the sum
(``None`` in pre-LN models, where a delta may read the plain sum). No model code is copied, so a new
release of transformers needs at most a new row. Add one at run time with :func:`register_layout`.
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
    ``residual`` is called with the residual as the parameter number ``residual_argument`` of its
    ``forward``, by position or by name; ``norm`` is the LayerNorm applied to ``h + residual``.
    """

    output: str
    residual: str
    residual_argument: int
    norm: str | None


@dataclass(frozen=True)
class Layout:
    """Layers that are built alike: where their lists are inside the backbone, and their sub-blocks.

    A list that a model class lacks (the decoder of an encoder-decoder, say) has no sites.
    """

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
_MPNET = Layout(
    layers=("encoder.layer",),
    attention=SubBlock("attention.dropout", "attention", 0, "attention.LayerNorm"),
    feed_forward=SubBlock("output.dropout", "output", 1, "output.LayerNorm"),
)
_MODERNBERT = Layout(
    layers=("layers",),
    attention=SubBlock("attn", "attn_norm", 0, None),
    feed_forward=SubBlock("mlp", "mlp_norm", 0, None),
)
_GPT2 = Layout(
    layers=("h",),
    attention=SubBlock("attn", "ln_1", 0, None),
    feed_forward=SubBlock("mlp", "ln_2", 0, None),
)
_LLAMA = Layout(
    layers=("layers",),
    attention=SubBlock("self_attn", "input_layernorm", 0, None),
    feed_forward=SubBlock("mlp", "post_attention_layernorm", 0, None),
)
_VIT = Layout(
    layers=("layers",),
    attention=SubBlock("attention", "layernorm_before", 0, None),
    feed_forward=SubBlock("mlp", "layernorm_after", 0, None),
)
_T5_ATTENTION = SubBlock("layer.0.dropout", "layer.0.layer_norm", 0, None)
_T5 = (
    Layout(
        layers=("encoder.block",),
        attention=_T5_ATTENTION,
        feed_forward=SubBlock("layer.1.dropout", "layer.1.layer_norm", 0, None),
    ),
    # A decoder's second sub-layer attends to the encoder.
    Layout(
        layers=("decoder.block",),
        attention=_T5_ATTENTION,
        feed_forward=SubBlock("layer.2.dropout", "layer.2.layer_norm", 0, None),
    ),
)
_BART = Layout(
    layers=("encoder.layers", "decoder.layers"),
    attention=SubBlock("self_attn", "self_attn", 0, "self_attn_layer_norm"),
    feed_forward=SubBlock("fc2", "fc1", 0, "final_layer_norm"),
)
_MBART = Layout(
    layers=("encoder.layers", "decoder.layers"),
    attention=SubBlock("self_attn", "self_attn_layer_norm", 0, None),
    feed_forward=SubBlock("fc2", "final_layer_norm", 0, None),
)

_LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "bert": (_BERT,),
    "roberta": (_BERT,),
    "xlm-roberta": (_BERT,),
    "electra": (_BERT,),
    "deberta-v2": (_BERT,),
    "distilbert": (_DISTILBERT,),
    "mpnet": (_MPNET,),
    "modernbert": (_MODERNBERT,),
    "gpt2": (_GPT2,),
    "llama": (_LLAMA,),
    "mistral": (_LLAMA,),
    "qwen2": (_LLAMA,),
    "qwen3": (_LLAMA,),
    "gemma": (_LLAMA,),
    "vit": (_VIT,),
    "t5": _T5,
    "mt5": _T5,
    "bart": (_BART,),
    "mbart": (_MBART,),
}


def register_layout(model_type: str, *layouts: Layout) -> None:
    """Teach hubkit the architecture whose ``config.json`` says ``"model_type": model_type``.

    One layout does, unless the layers are not all built alike.
    """
    _LAYOUTS[model_type] = layouts


def backbone(model: PreTrainedModel) -> PreTrainedModel:
    """The base model without its head: ``model`` itself where it has none."""
    base = model.base_model
    assert isinstance(base, PreTrainedModel)
    return base


def layouts_of(model: PreTrainedModel) -> tuple[Layout, ...]:
    """The layouts of ``model``.

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
    modules = dict(backbone(model).named_modules())
    for layout in layouts_of(model):
        for path in layout.layers:
            layers = modules[path].children() if path in modules else ()
            for index, _ in enumerate(layers):
                for place in places:
                    yield Site(f"{path}.{index}", place)


def sub_block_at(model: PreTrainedModel, site: Site) -> SubBlock:
    """The sub-block of ``model`` at ``site``."""
    path = site.layer.rpartition(".")[0]
    layout = next(layout for layout in layouts_of(model) if path in layout.layers)
    return layout.sub_block(site.place)


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
