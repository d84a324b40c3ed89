from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig, GenerationConfig

from hubkit.bases.configuration import generation_settings_of, settings_of


def of(kind: str, **changes: Any) -> dict[str, Any]:
    return settings_of(AutoConfig.for_model(kind, **changes))


# What transformers 4.57 writes to config.json, and 5 writes otherwise or not at all.
WRITTEN_BY_4 = {
    "bert": {
        "architectures": ["BertForMaskedLM"],
        "classifier_dropout": None,
        "gradient_checkpointing": False,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "transformers_version": "4.57.6",
    },
    "llama": {"rope_theta": 10000.0, "rope_scaling": None, "torch_dtype": "bfloat16"},
    "phi3": {"rope_theta": 10000.0, "rope_scaling": None, "partial_rotary_factor": 1.0},
    "gpt_neox": {"rotary_pct": 0.25, "rotary_emb_base": 10000, "rope_theta": 10000},
    "mt5": {"tokenizer_class": "T5Tokenizer", "dropout_rate": 0.1},
    "modernbert": {
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "repad_logits_with_grad": False,
    },
}


@pytest.mark.parametrize("kind", sorted(WRITTEN_BY_4))
def test_files_of_transformers_4_and_5_have_the_same_settings(kind: str) -> None:
    assert of(kind, **WRITTEN_BY_4[kind]) == of(kind)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("bert", {"num_attention_heads": 6}),
        ("bert", {"hidden_act": "relu"}),
        ("bert", {"layer_norm_eps": 0.5}),
        ("bert", {"is_decoder": True}),
        ("roberta", {"pad_token_id": 7}),
        ("llama", {"rope_theta": 500.0}),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
        ("mistral", {"sliding_window": 16}),
        ("deberta-v2", {"position_buckets": 8}),  # not declared, and read by the model
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("modernbert", {"classifier_pooling": "mean"}),
        ("t5", {"feed_forward_proj": "gated-gelu"}),
        ("clip", {"text_config": {"hidden_act": "relu"}}),
    ],
)
def test_what_changes_the_computation_counts(kind: str, change: dict[str, Any]) -> None:
    assert of(kind, **change) != of(kind)


@pytest.mark.parametrize(
    "change",
    [
        {"id2label": {0: "a", 1: "b", 2: "c"}},
        {"num_labels": 7},
        {"problem_type": "regression"},
        {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.0},
        {"classifier_dropout": 0.5},
        {"initializer_range": 0.5},
        {"use_cache": False},
        {"output_hidden_states": True},
        {"dtype": "bfloat16"},
        {"name_or_path": "/somewhere", "transformers_version": "4.0"},
        {"attn_implementation": "eager"},
        {"layer_norm_eps": 1e-12},
    ],
)
def test_names_labels_dtype_and_training_do_not_count(change: dict[str, Any]) -> None:
    assert of("bert", **change) == of("bert")


def test_nested_settings_are_named_by_their_path() -> None:
    assert of("llama")["rope_parameters.rope_theta"] == 10000
    assert of("clip")["text_config.hidden_act"] == "quick_gelu"
    assert "text_config.attention_dropout" not in of("clip")


def test_a_number_has_one_spelling() -> None:
    assert of("llama", rope_theta=10000) == of("llama", rope_theta=10000.0)
    assert type(of("llama", rope_theta=10000.0)["rope_parameters.rope_theta"]) is int


def test_a_quantized_base_model_is_another_one() -> None:
    quantized = of("llama", quantization_config={"quant_method": "gptq", "bits": 4})
    assert (of("llama")["quantization"], quantized["quantization"]) == (None, "gptq 4")


def test_a_generation_configuration_counts_but_for_its_defaults() -> None:
    def written(**told: Any) -> dict[str, Any]:
        return generation_settings_of(GenerationConfig(**told))

    told = {"num_beams": 4, "forced_bos_token_id": 7, "eos_token_id": [2, 3], "min_length": 5}
    assert written(**told, max_length=9, pad_token_id=1, use_cache=False) == told
    assert written(num_beams=1, repetition_penalty=1.0, length_penalty=1.0) == written() == {}
