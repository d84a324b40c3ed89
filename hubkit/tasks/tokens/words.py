"""Which tokens of a text make a word, as its tokenizer joins them."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from hubkit.tasks.tokens.pieces import is_in_words

_HALF = "\ufffd"
"""The character by which a tokenizer spells a part of a character's bytes."""


def words_of(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]
) -> list[tuple[str, list[int]]]:
    """The words that ``tokens`` make, each with the positions of its tokens.

    Punctuation and special tokens are words of their own. A tokenizer that does not say how its
    tokens are joined has a word for each token.
    """
    special = {str(token) for token in tokenizer.all_special_tokens}
    places: list[list[int]] = []
    for at in range(len(tokens)):
        pair = tokens[at - 1 : at + 1]
        if at and special.isdisjoint(pair) and _goes_on(tokenizer, *pair):
            places[-1].append(at)
        else:
            places.append([at])
    return [(_spelled(tokenizer, [tokens[at] for at in own]), own) for own in places]


def _goes_on(tokenizer: PreTrainedTokenizerBase, before: str, token: str) -> bool:
    """Whether ``token`` continues the word of the one before it."""
    alone = tokenizer.convert_tokens_to_string([before]).lstrip()
    rest = tokenizer.convert_tokens_to_string([before, token]).lstrip()[len(alone) :]
    if not (alone and rest):
        return True  # the mark of a space, or another byte of one character
    return all(char == _HALF or is_in_words(char) for char in (alone[-1], rest[0]))


def _spelled(tokenizer: PreTrainedTokenizerBase, tokens: list[str]) -> str:
    return tokenizer.convert_tokens_to_string(tokens).strip() or "".join(tokens)
