"""Which base models are decoders."""

from __future__ import annotations

from transformers import PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)


def is_decoder(config: PreTrainedConfig) -> bool:
    """Whether a model reads from left to right, and predicts the next token: GPT-2, Llama.

    transformers can run an encoder such as BERT as a decoder. It is one here only if its
    configuration says ``is_decoder``: the weights of other encoders were not trained for that.
    """
    kind = config.model_type
    return (
        kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and not config.is_encoder_decoder
        and (kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES or getattr(config, "is_decoder", False))
    )
