"""A small encoder-decoder, made from pairs of texts: none comes as a package.

It learns to write the second text of each pair after reading the first. It is kept in the user's
cache folder, under a name that depends on the pairs, the sizes and the time; what was interrupted
goes on where its last checkpoint is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import platformdirs
import torch
from story import console
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch.nn.utils import clip_grad_norm_
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

Pair = tuple[str, str]
_PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"


@dataclass(frozen=True)
class Sizes:
    """How large the model is, and how it is trained.

    Attributes:
        words: Pieces of words that it knows.
        width: Of a token's vector.
        layers: Of the encoder, and of the decoder.
        tokens: Of a text at most.
        batch: Tokens in a batch at most, padding included.
        rate: The learning rate at its highest.
        warmup: Steps in which it rises; then it falls with the root of the steps.
        save_every: Seconds between checkpoints.
    """

    words: int = 8000
    width: int = 256
    layers: int = 3
    tokens: int = 64
    batch: int = 2048
    rate: float = 1e-3
    warmup: int = 500
    save_every: float = 60.0


def small_marian(
    pairs: Sequence[Pair], minutes: float, sizes: Sizes | None = None, cache: Path | None = None
) -> Path:
    """The folder of a model that was trained on the pairs for so long.

    Args:
        pairs: Texts to read, each with the one to write.
        minutes: Of training. The time before an interruption counts.
        sizes: Of the model; default: about 10 million parameters.
        cache: Where the folders are kept; default: the user's cache folder.
    """
    sizes = sizes or Sizes()
    key = json.dumps([list(pairs), asdict(sizes), minutes])
    name = f"small-marian-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    kept = (cache or Path(platformdirs.user_cache_dir("hubkit")) / "base-models") / name
    if (kept / "config.json").exists():
        return kept
    kept.mkdir(parents=True, exist_ok=True)
    checkpoint = kept / "checkpoint.pt"
    if checkpoint.exists():
        words = PreTrainedTokenizerFast.from_pretrained(kept)
    else:
        words = _tokenizer(pairs, sizes)
        words.save_pretrained(kept)
    model = _model(words, sizes)
    _train(model, words, pairs, minutes * 60, sizes, checkpoint)
    # The configuration comes last and at once: a folder that has one is whole.
    whole = kept / "whole"
    model.save_pretrained(whole)
    for path in sorted(whole.iterdir(), key=lambda path: path.name == "config.json"):
        path.rename(kept / path.name)
    whole.rmdir()
    checkpoint.unlink()
    return kept


def _tokenizer(pairs: Sequence[Pair], sizes: Sizes) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.Unigram())
    words.normalizer = normalizers.NFKC()
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=sizes.words,
        special_tokens=[_PAD, _END, _UNKNOWN],
        unk_token=_UNKNOWN,
        show_progress=False,
    )
    words.train_from_iterator((text for pair in pairs for text in pair), trainer)
    words.post_processor = TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=_PAD,
        eos_token=_END,
        unk_token=_UNKNOWN,
        model_max_length=2 * sizes.tokens,
        model_input_names=["input_ids", "attention_mask"],
    )


def _model(words: PreTrainedTokenizerFast, sizes: Sizes) -> MarianMTModel:
    sides: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        sides |= {
            f"{side}_layers": sizes.layers,
            f"{side}_attention_heads": max(1, sizes.width // 64),
            f"{side}_ffn_dim": 4 * sizes.width,
        }
    torch.manual_seed(42)
    return MarianMTModel(
        MarianConfig(
            vocab_size=len(words),
            d_model=sizes.width,
            max_position_embeddings=2 * sizes.tokens,
            scale_embedding=True,
            dropout=0.1,
            activation_function="swish",
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            forced_eos_token_id=None,
            **sides,
        )
    )


def _train(
    model: MarianMTModel,
    words: PreTrainedTokenizerFast,
    pairs: Sequence[Pair],
    seconds: float,
    sizes: Sizes,
    checkpoint: Path,
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=sizes.rate, betas=(0.9, 0.98))
    step, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    read, written = (
        words([pair[side] for pair in pairs], truncation=True, max_length=sizes.tokens)["input_ids"]
        for side in (0, 1)
    )
    model.train()
    saved = started = monotonic() - spent
    with console.status("") as status:
        for places in _batches(read, written, sizes.batch, step):
            spent = monotonic() - started
            if spent >= seconds:
                break
            step += 1
            rate = sizes.rate * min(step / sizes.warmup, (sizes.warmup / step) ** 0.5)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batch = words.pad({"input_ids": [read[at] for at in places]}, return_tensors="pt")
            labels = words.pad({"input_ids": [written[at] for at in places]}, return_tensors="pt")
            target = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
            loss = model(**batch, labels=target).loss
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            status.update(f"Making a small Marian: {spent:.0f} s, step {step}, loss {loss:.2f}")
            if monotonic() - saved > sizes.save_every:
                _save(checkpoint, model, optimizer, step, spent)
                saved = monotonic()
    _save(checkpoint, model, optimizer, step, spent)
    console.print(f"  small Marian: {step} steps in {spent:.0f} s")
    model.eval()


def _save(path: Path, model: Any, optimizer: Any, step: int, spent: float) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    scratch = path.with_suffix(".tmp")
    torch.save({**state, "step": step, "spent": spent}, scratch)
    os.replace(scratch, path)


def _batches(
    read: Sequence[Sequence[int]], written: Sequence[Sequence[int]], most: int, first: int
) -> Iterator[list[int]]:
    """The places of pairs of like length, without end; each passage is in an order of its own.

    Args:
        read: Token ids.
        written: Token ids of what belongs to each.
        most: Tokens in a batch at most.
        first: How many batches to leave out, which an earlier process has seen.
    """
    lengths = [max(len(one), len(other)) for one, other in zip(read, written, strict=True)]
    passage = 0
    while True:
        draw = np.random.default_rng(passage)
        order = sorted(draw.permutation(len(read)).tolist(), key=lambda at: lengths[at])
        cut: list[list[int]] = [[]]
        for at in order:
            if cut[-1] and (len(cut[-1]) + 1) * lengths[at] > most:
                cut.append([])
            cut[-1].append(at)
        for number in draw.permutation(len(cut)).tolist():
            if first == 0:
                yield cut[number]
            else:
                first -= 1
        passage += 1
