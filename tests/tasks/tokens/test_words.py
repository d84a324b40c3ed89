import pytest
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from hubkit.tasks.tokens.words import words_of


def tokenizer(decoder: object) -> PreTrainedTokenizerFast:
    backend = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    backend.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", cls_token="<s>")


@pytest.mark.parametrize(
    ("decoder", "tokens", "words"),
    [
        (
            decoders.WordPiece(),
            ["<s>", "un", "##lucky", "film", ".", "don", "'", "t", "<s>"],
            ["<s>", "unlucky", "film", ".", "don", "'", "t", "<s>"],
        ),
        (
            decoders.ByteLevel(),
            ["<s>", "un", "lucky", "Ġfil", "m", ",", "ĠÃ", "©", "t", "Ã©"],
            ["<s>", "unlucky", "film", ",", "été"],
        ),
        (
            decoders.Metaspace(),
            ["▁un", "lucky", "▁", "film", "!"],
            ["unlucky", "film", "!"],
        ),
        (None, ["un", "##lucky"], ["un", "##lucky"]),
    ],
    ids=["word piece", "bytes", "sentence piece", "none"],
)
def test_pieces_are_joined_as_the_tokenizer_does(
    decoder: object, tokens: list[str], words: list[str]
) -> None:
    found = words_of(tokenizer(decoder), tokens)
    assert [name for name, _ in found] == words
    assert [place for _, places in found for place in places] == list(range(len(tokens)))
