"""Which fields of a configuration change what a model computes.

All of them do but those listed here, so that a new architecture is safe by default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from pydantic import JsonValue
from transformers import GenerationConfig, PreTrainedConfig

_DOES_NOT_COUNT = {
    # Names, paths and versions.
    *("name_or_path", "model_name", "architectures", "auto_map", "transformers_version"),
    *("tokenizer_class", "finetuning_task", "task_specific_params", "prefix", "model_card"),
    # Labels and what the outputs mean: these belong to the head and travel with it.
    *("id2label", "label2id", "num_labels", "problem_type", "keys_to_ignore_at_inference"),
    # In which dtype the weights are, and how they are stored: the fingerprint tells.
    *("dtype", "torch_dtype", "tie_word_embeddings", "tie_encoder_decoder", "pruned_heads"),
    # How the same numbers are computed, or which of them are returned.
    *("use_cache", "gradient_checkpointing", "chunk_size_feed_forward", "pretraining_tp"),
    *("torchscript", "use_bfloat16", "tf_legacy_loss", "return_dict", "output_attentions"),
    *("output_hidden_states", "output_past", "output_router_logits", "attn_implementation"),
    *("experts_implementation", "reference_compile", "deterministic_flash_attn", "xla_device"),
    # Training alone.
    *("layerdrop", "label_smoothing", "apply_spec_augment", "router_aux_loss_coef"),
    *("sparse_prediction", "sparse_pred_ignore_index", "repad_logits_with_grad", "use_mems_train"),
    "rescale_prenorm_residual",
    # The tokenizer tells, and Trainer writes the tokenizer's here.
    "bos_token_id",
}
_KINDS_THAT_DO_NOT_COUNT = re.compile(
    r"^_"  # private to transformers
    r"|(?<!token_)dropout|drop_path|pdrop|layerdrop"  # ESM computes with token_dropout
    r"|(^|_)init(ializer)?(_|$)"
    r"|(^|_)loss(_|$)"
    r"|^mask_(time|feature)_"  # SpecAugment
)
_READ_NO_MORE = {"position_embedding_type", "global_attn_every_n_layers", "hidden_activation"}
_IN_ROPE_PARAMETERS = {"rope_theta", "rope_scaling", "partial_rotary_factor", "rotary_pct"}
"""Fields of earlier versions of transformers. They count only if today's class of the configuration
has them."""


def settings_of(config: PreTrainedConfig) -> dict[str, JsonValue]:
    """The fields of a configuration that change what its model computes, defaults filled in.

    They are equal for the files that transformers 4 and 5 write of one checkpoint. Those of a
    nested configuration or mapping have names such as ``rope_parameters.rope_theta``.
    """
    return {"model_type": config.model_type, **dict(_fields(config, ""))}


_GENERATION_DOES_NOT_COUNT = re.compile(
    # Versions, and how the same tokens are computed and returned.
    r"^_|^transformers_version$|cache|compile|^output_|^return_dict|low_memory|prefill_chunk_size"
    r"|continuous_batching|^is_assistant$|assistant_|^num_assistant"
    # What hubkit or the caller sets.
    r"|^(max_length|max_new_tokens|pad_token_id|bos_token_id|do_sample)$"
    r"|^num_return_sequences$"
)


def generation_settings_of(config: GenerationConfig) -> dict[str, JsonValue]:
    """The fields of a generation configuration that change what is written, without defaults."""
    plain = config.to_dict()
    # Some files spell out what transformers takes anyway.
    default = GenerationConfig._get_default_generation_params()
    return {
        name: _json(plain[name])
        for name in sorted(plain)
        if plain[name] not in (None, default.get(name))
        and not _GENERATION_DOES_NOT_COUNT.search(name)
    }


def _fields(config: PreTrainedConfig, inside: str) -> Iterator[tuple[str, JsonValue]]:
    declared = {field.name for field in fields(config)} if is_dataclass(config) else set()
    plain = config.to_dict()
    for name in sorted(plain):
        if name in _DOES_NOT_COUNT or _KINDS_THAT_DO_NOT_COUNT.search(name):
            continue
        value = getattr(config, name, plain[name])
        if name not in declared and _is_left_over(config, name, value, declared):
            continue
        if isinstance(value, PreTrainedConfig):
            yield f"{inside}{name}.model_type", value.model_type
            yield from _fields(value, f"{inside}{name}.")
        elif name != "model_type":
            yield from _flat(f"{inside}{name}", value)
    if not inside:
        yield "quantization", _quantization(config)


def _is_left_over(config: PreTrainedConfig, name: str, value: object, declared: set[str]) -> bool:
    if name == "quantization_config" or value is None:
        return True
    if name in _IN_ROPE_PARAMETERS:
        return "rope_parameters" in declared
    return name in _READ_NO_MORE and type(config).__module__.startswith("transformers.")


def _quantization(config: PreTrainedConfig) -> JsonValue:
    """How the weights are quantized; None if they are not."""
    given = getattr(config, "quantization_config", None)
    if given is None:
        return None
    plain = given if isinstance(given, dict) else given.to_dict()
    method = str(plain.get("quant_method", type(given).__name__)).rpartition(".")[2].lower()
    bits = [name for name in ("load_in_4bit", "load_in_8bit") if plain.get(name)]
    return " ".join([method, *bits, *(str(plain[n]) for n in ("bits", "num_bits") if n in plain)])


def _flat(name: str, value: object) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict) and value:
        for key in sorted(value, key=str):
            yield from _flat(f"{name}.{key}", value[key])
    else:
        yield name, _json(value)


def _json(value: object) -> JsonValue:
    if isinstance(value, float):
        # JSON files spell 10000.0 as 10000, too.
        if not math.isfinite(value):
            return str(value)
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(key): _json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return [*sorted(str(inner) for inner in value)]
    return str(value)
