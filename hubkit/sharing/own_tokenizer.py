"""Whether a folder's own tokenizer reads texts otherwise than the base model's, which is used."""

from __future__ import annotations

import os
from pathlib import Path

from hubkit.bases.load import find_tokenizer
from hubkit.bases.tokenization import tokenizer_digest
from registry.folders.bounded import shown
from registry.storage.place import Place


def note_own_tokenizer(folder: Place, base: Path) -> list[str]:
    """Compare the tokenizer that an adapter's folder brings with that of its base model.

    PEFT's trainers save one beside the adapter. Tokens that were added for the training have rows
    in the embeddings that are resized, or that were spare: without them, texts are cut otherwise.

    Args:
        folder: The adapter's; without a tokenizer, there is nothing to compare.
        base: The base model's.

    Returns:
        A sentence for each thing that a person should know.
    """
    own = find_tokenizer(Path(os.fspath(folder)))
    theirs = None if own is None else find_tokenizer(base)
    if own is None or theirs is None or tokenizer_digest(own) == tokenizer_digest(theirs):
        return []
    known = theirs.get_vocab()
    others = [
        token
        for token, number in sorted(own.get_vocab().items(), key=lambda pair: pair[1])
        if known.get(token) != number
    ]
    which = f" ({len(others)} tokens are others, such as {shown(others[0])})" if others else ""
    return [
        f"{folder} has a tokenizer of its own, which reads texts otherwise than the base model's"
        f"{which}. hubkit uses the base model's: if the adapter was trained with the other, name a "
        "base model that was saved with it."
    ]
