"""Models that AdapterHub's library knows only through an interface: which modules it hooks.

It saves the interface beside each adapter of such a model, as ``adapter_interface.json``. An
adapter at other modules, or one that reads others, computes something else.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from registry.errors import FolderError
from registry.folders.bounded import shown
from registry.folders.configs import read_config
from registry.folders.source import Source

INTERFACE = "adapter_interface.json"

_DECODER: Mapping[str, str | None] = {
    "model_layers": "layers",
    "model_embeddings": "embed_tokens",
    "layer_self_attn": "self_attn",
    "attn_o_proj": "o_proj",
    "layer_output_proj": "mlp.down_proj",
    "layer_pre_ffn": "post_attention_layernorm",
    "layer_ln_2": None,
}
_KNOWN: Mapping[str, Mapping[str, str | None]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma"), _DECODER),
    "modernbert": {
        **_DECODER,
        "model_embeddings": "embeddings",
        "layer_self_attn": "attn",
        "attn_o_proj": "Wo",
        "layer_output_proj": "mlp.Wo",
        "layer_pre_ffn": "mlp_norm",
    },
    "mpnet": {
        "model_layers": "encoder.layer",
        "model_embeddings": "embeddings",
        "layer_self_attn": "attention",
        "attn_o_proj": "attn.o",
        "layer_output_proj": "output.dense",
        "layer_pre_ffn": "intermediate",
        "layer_ln_2": "output.LayerNorm",
    },
}
"""The modules that hubkit's adapters are at and read, by architecture."""


def odd_interface(
    folder: Source, model_type: str | None, options: Mapping[str, Any], layers: Iterable[int]
) -> str | None:
    """Return why an adapter computes something else through its interface than hubkit would.

    Args:
        folder: The adapter's folder.
        model_type: The architecture of the base model.
        options: The adapter's configuration, of a method that hubkit composes.
        layers: The numbers of the layers that have it.

    Returns:
        Half a sentence; None if it is the same, or there is no interface.

    Raises:
        FolderError: The interface is malformed.
        OSError: It cannot be read.
    """
    where = folder / INTERFACE
    if not where.is_file():
        return None
    interface = read_config(where).get("interface")
    if not isinstance(interface, dict):
        raise FolderError(
            f"{where}: interface is {shown(interface)}; expected the names of modules. Copy the "
            "whole folder.",
            where,
        )
    known = _KNOWN.get(model_type or "")
    if known is None:
        return f"its {INTERFACE} is for the architecture {model_type}, of which hubkit knows none"
    merged, methods = interface.get("attn_qkv_proj"), interface.get("adapter_methods")
    if model_type == "modernbert" and merged == "Wqkv" and "lora" in (methods or ()):
        return (
            "AdapterHub's library gives each Wqkv of a ModernBERT a bias at random if its "
            "interface is for lora, too, and saves it nowhere"
        )
    for key in _that_count(options):
        if interface.get(key) != known[key]:
            return (
                f"its {INTERFACE} has the {key} {shown(interface.get(key))}, where hubkit's "
                f"adapters of a {model_type} have {shown(known[key])}"
            )
    if options.get("inv_adapter") and model_type == "gemma":
        return "its invertible part is before the embeddings are scaled, where hubkit has none"
    if "layer_ln_2" in _that_count(options) and known["layer_ln_2"] and len({*layers}) > 1:
        return "AdapterHub's library has the LayerNorm of the last layer in each layer of it"
    return None


def _that_count(options: Mapping[str, Any]) -> list[str]:
    """Return the names in an interface that change what an adapter computes."""
    if options.get("architecture") == "lora":
        return []  # its tensors name the modules
    keys = ["model_layers"]
    if options.get("mh_adapter"):
        keys += ["layer_self_attn", "attn_o_proj"]
    if options.get("output_adapter"):
        keys.append("layer_output_proj")
    parallel, norm = options.get("is_parallel"), options.get("original_ln_before")
    if parallel or norm:
        keys.append("layer_pre_ffn")
    if norm and not parallel:
        keys.append("layer_ln_2")
    if options.get("inv_adapter"):
        keys.append("model_embeddings")
    return keys
