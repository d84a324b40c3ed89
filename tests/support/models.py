"""Tiny models, their folders, and adapters for them; every weight comes from a seed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from hubkit.adapters.adapter import Adapter
from hubkit.methods.table import new_method
from hubkit.nn.host import BaseModel

REFERENCES = Path(__file__).parents[1] / "fixtures" / "adapterhub"
PEFT_REFERENCES = REFERENCES.parent / "peft"
ARCHITECTURES = ("bert", "roberta", "distilbert")
DECODERS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma")
ENCODER_DECODERS = ("t5", "mt5", "bart", "mbart")
REFERENCED = (*ARCHITECTURES, "xlm-roberta", "electra", "deberta-v2", "mpnet", "modernbert", "vit")
REFERENCED += DECODERS + ENCODER_DECODERS
METHODS = ("seq_bn", "double_seq_bn", "par_bn")
WORDS = ("the", "film", "was", "very", "good", "bad", "dull", "great", "plot", "a", "not", "ball")


def tiny_config(architecture: str = "bert", **changes: Any) -> PreTrainedConfig:
    """A configuration with hidden size 16, two layers, one decoder layer, a vocabulary of 40."""
    if architecture == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    elif architecture == "gpt2":
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3}
    elif architecture in ("t5", "mt5"):
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 2}
        sizes |= {"num_decoder_layers": 1}
    elif architecture in ("bart", "mbart", "marian"):
        sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1}
        sizes |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
        sizes |= {f"{side}_ffn_dim": 32 for side in ("encoder", "decoder")}
    else:
        sizes = {"hidden_size": 16, "num_hidden_layers": 2}
        sizes |= {"num_attention_heads": 2, "intermediate_size": 32}
    if architecture in ("llama", "mistral", "qwen2", "qwen3", "gemma"):
        sizes |= {"num_key_value_heads": 1, "head_dim": 8}
    if architecture == "vit":
        sizes |= {"image_size": 8, "patch_size": 4}
    if architecture == "modernbert":
        sizes |= dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 2)
        sizes |= {"pad_token_id": 1, "local_attention": 4}
    sizes |= {"vocab_size": 40, "max_position_embeddings": 40}
    return AutoConfig.for_model(architecture, **{**sizes, **changes})


def tiny_model(
    architecture: str = "bert",
    auto_class: Any = AutoModel,
    *,
    seed: int = 0,
    **changes: Any,
) -> PreTrainedModel:
    """A model in eval mode in which no tensor has its initial value."""
    model: PreTrainedModel = auto_class.from_config(tiny_config(architecture, **changes))
    randomize(model, seed)
    return model.eval()


def tiny_classifier(
    architecture: str = "bert", *, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """The same, with a head for two labels, unless `changes` says another."""
    auto_class = AutoModelForSequenceClassification
    return tiny_model(architecture, auto_class, seed=seed, **{"num_labels": 2, **changes})


def randomize(module: nn.Module, seed: int, sigma: float = 0.2) -> None:
    """Fill every parameter with noise; scales of a norm are around one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            is_scale = re.search(r"(norm|\bln)[^.]*\.weight$", name.lower())
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(sigma * noise + float(bool(is_scale)))


def random_adapter(
    model: PreTrainedModel,
    name: str = "a",
    method: str = "seq_bn",
    *,
    bottleneck_size: Any = 4,
    seed: int = 1,
    **parameters: Any,
) -> Adapter:
    """A frozen adapter for `model` in which no tensor has its initial value."""
    parameters["rank" if method == "lora" else "bottleneck_size"] = bottleneck_size
    adapter = Adapter.create(model, name, new_method(method, BaseModel(model), **parameters))
    for index, module in enumerate(adapter.modules()):
        randomize(module, 100 * seed + index)
        module.requires_grad_(False).eval()
    return adapter


def tiny_inputs(rows: int = 3, length: int = 7, seed: int = 0) -> dict[str, Tensor]:
    """Token ids and a mask that pads the last row."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[-1, length // 2 :] = 0
    ids = torch.randint(2, 40, (rows, length), generator=generator)
    return {"input_ids": ids.masked_fill(mask == 0, 1), "attention_mask": mask}


def inputs_for(model: PreTrainedModel) -> dict[str, Tensor]:
    """What `model` takes: text, images, or text for an encoder and for a decoder."""
    if model.config.model_type == "vit":
        generator = torch.Generator().manual_seed(0)
        size = model.config.image_size
        return {"pixel_values": torch.randn(3, 3, size, size, generator=generator)}
    inputs = tiny_inputs()
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = tiny_inputs(seed=1)["input_ids"]
    return inputs


def tiny_batch(seed: int = 0) -> dict[str, Tensor]:
    """The same with labels for a classifier."""
    return {**tiny_inputs(seed=seed), "labels": torch.tensor([0, 1, 1])}


@torch.no_grad()
def run(model: PreTrainedModel, inputs: dict[str, Tensor] | None = None) -> Tensor:
    """The model's first output."""
    output: Tensor = model(**(inputs or tiny_inputs()))[0]
    return output


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the state_dict."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two state_dicts have the same keys and bits."""
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def reference_base(architecture: str) -> PreTrainedModel:
    """The base model of the reference checkpoints."""
    model: PreTrainedModel = AutoModel.from_pretrained(REFERENCES / architecture / "base")
    return model.eval()


def reference_outputs(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs, and the outputs of the reference library by the name of the case."""
    tensors = load_file(folder / "expected.safetensors")
    inputs, outputs = (
        {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        for prefix in ("in.", "out.")
    )
    return inputs, outputs


def tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer that knows WORDS and single letters; its padding token has the id 1."""
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    letters = [f"##{letter}" for letter in "abcdefghij"]
    vocabulary = {token: index for index, token in enumerate([*special, *WORDS, *letters])}
    backend = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = BertNormalizer()
    backend.pre_tokenizer = BertPreTokenizer()
    backend.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
        model_input_names=["input_ids", "attention_mask"],
    )


def base_folder(
    folder: Path,
    architecture: str = "bert",
    auto_class: Any = AutoModel,
    *,
    seed: int = 0,
    **changes: Any,
) -> Path:
    """A base model, with its tokenizer, as `save_pretrained` writes it."""
    model = tiny_model(architecture, auto_class, seed=seed, pad_token_id=1, **changes)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
