"""Where the sites are: one declarative row for each architecture family.

A *site* is a place in a frozen base model where deltas are added: the output of a layer's attention
sub-block or of its feed-forward sub-block. A row of the table names, for both, the module whose
output is ``h``, the module that receives the residual, and the LayerNorm that follows the sum
(``None`` in pre-LN models, where a delta may read the plain sum). No model code is copied, so a new
release of transformers needs at most a new row. Add one at run time with :func:`register_layout`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from transformers import PreTrainedModel

from hubkit.methods.sites import Place
from registry.arguments import check_fields, checked
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

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Layout:
    """Layers that are built alike: where their lists are inside the backbone, and their sub-blocks.

    A list that a model class lacks (the decoder of an encoder-decoder, say) has no sites.

    Attributes:
        layers: Module paths of the lists of layers, inside the backbone.
        attention: The attention sub-block of each layer.
        feed_forward: The feed-forward sub-block of each layer.
        embeddings: The module that returns the embedded input, through which an invertible adapter
            goes; None where there is none.
        queries_and_values: The ends of the paths of the linear layers that make queries and values;
            LoRA adapts these by default.
    """

    layers: tuple[str, ...]
    attention: SubBlock
    feed_forward: SubBlock
    embeddings: str | None = None
    queries_and_values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)

    def sub_block(self, place: Place) -> SubBlock:
        """The sub-block at ``place``."""
        return self.attention if place == "attention" else self.feed_forward


_BERT = Layout(
    layers=("encoder.layer",),
    attention=SubBlock(
        "attention.output.dropout", "attention.output", 1, "attention.output.LayerNorm"
    ),
    feed_forward=SubBlock("output.dropout", "output", 1, "output.LayerNorm"),
    embeddings="embeddings",
    queries_and_values=("query", "value"),
)
_DISTILBERT = Layout(
    layers=("transformer.layer",),
    attention=SubBlock("attention", "attention", 0, "sa_layer_norm"),
    feed_forward=SubBlock("ffn", "ffn", 0, "output_layer_norm"),
    embeddings="embeddings",
    queries_and_values=("q_lin", "v_lin"),
)
_MPNET = Layout(
    layers=("encoder.layer",),
    attention=SubBlock("attention.dropout", "attention", 0, "attention.LayerNorm"),
    feed_forward=SubBlock("output.dropout", "output", 1, "output.LayerNorm"),
    embeddings="embeddings",
    queries_and_values=("attn.q", "attn.v"),
)
_MODERNBERT = Layout(
    layers=("layers",),
    attention=SubBlock("attn", "attn_norm", 0, None),
    feed_forward=SubBlock("mlp", "mlp_norm", 0, None),
    embeddings="embeddings",
    queries_and_values=("Wqkv",),
)
_GPT2 = Layout(
    layers=("h",),
    attention=SubBlock("attn", "ln_1", 0, None),
    feed_forward=SubBlock("mlp", "ln_2", 0, None),
    embeddings="drop",
    queries_and_values=("c_attn",),
)
_LLAMA = Layout(
    layers=("layers",),
    attention=SubBlock("self_attn", "input_layernorm", 0, None),
    feed_forward=SubBlock("mlp", "post_attention_layernorm", 0, None),
    embeddings="embed_tokens",
    queries_and_values=("q_proj", "v_proj"),
)
_VIT = Layout(
    layers=("layers",),
    attention=SubBlock("attention", "layernorm_before", 0, None),
    feed_forward=SubBlock("mlp", "layernorm_after", 0, None),
    embeddings="embeddings",
    queries_and_values=("q_proj", "v_proj"),
)
_T5_ATTENTION = SubBlock("layer.0.dropout", "layer.0.layer_norm", 0, None)
_T5 = (
    Layout(
        layers=("encoder.block",),
        attention=_T5_ATTENTION,
        feed_forward=SubBlock("layer.1.dropout", "layer.1.layer_norm", 0, None),
        embeddings="encoder.embed_tokens",
        queries_and_values=("q", "v"),
    ),
    # A decoder's second sub-layer attends to the encoder.
    Layout(
        layers=("decoder.block",),
        attention=_T5_ATTENTION,
        feed_forward=SubBlock("layer.2.dropout", "layer.2.layer_norm", 0, None),
        queries_and_values=("q", "v"),
    ),
)
_BART = Layout(
    layers=("encoder.layers", "decoder.layers"),
    attention=SubBlock("self_attn", "self_attn", 0, "self_attn_layer_norm"),
    feed_forward=SubBlock("fc2", "fc1", 0, "final_layer_norm"),
    embeddings="encoder.layernorm_embedding",
    queries_and_values=("q_proj", "v_proj"),
)
_MBART = Layout(
    layers=("encoder.layers", "decoder.layers"),
    attention=SubBlock("self_attn", "self_attn_layer_norm", 0, None),
    feed_forward=SubBlock("fc2", "final_layer_norm", 0, None),
    embeddings="encoder.layernorm_embedding",
    queries_and_values=("q_proj", "v_proj"),
)

_LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "bert": (_BERT,),
    "roberta": (_BERT,),
    "xlm-roberta": (_BERT,),
    "electra": (_BERT,),
    "deberta-v2": (replace(_BERT, queries_and_values=("query_proj", "value_proj")),),
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
    "marian": (replace(_BART, embeddings=None),),
}


@checked
def register_layout(model_type: str, *layouts: Layout) -> None:
    """Teach hubkit the architecture whose ``config.json`` says ``"model_type": model_type``.

    Args:
        model_type: The architecture.
        layouts: One, or several where the layers are not all built alike.

    Raises:
        UnsupportedModelError: There is no layout, or an argument has another type.
    """
    if not isinstance(model_type, str) or not layouts:
        raise UnsupportedModelError(
            f"register_layout takes a model type and layouts, not {model_type!r} and {layouts!r}."
        )
    for layout in layouts:
        if not isinstance(layout, Layout) or isinstance(layout.layers, str):
            raise UnsupportedModelError(
                f"The layout of {model_type!r} is a hubkit.Layout whose layers are a tuple of "
                f"paths, not {layout!r}."
            )
        for block in (layout.attention, layout.feed_forward):
            if not isinstance(block, SubBlock) or not isinstance(block.residual_argument, int):
                raise UnsupportedModelError(
                    f"A sub-block of {model_type!r} is a hubkit.SubBlock with the number of an "
                    f"argument, not {block!r}."
                )
    _LAYOUTS[model_type] = layouts


def has_layouts(model_type: str) -> bool:
    """Whether there is a row for an architecture, as ``config.json`` spells it."""
    return model_type in _LAYOUTS


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
