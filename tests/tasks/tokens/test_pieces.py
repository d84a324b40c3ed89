from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, WhitespaceSplit
from tokenizers.processors import RobertaProcessing
from transformers import PreTrainedTokenizerFast

from hubkit.tasks.rows import Rows
from hubkit.tasks.task import HeadPlan
from hubkit.tasks.tokens.token_classification import TOKEN_CLASSIFICATION as TASK
from registry.manifest import TextInfo
from tests.tasks.tokens.conftest import facts, span

PLAN = HeadPlan(5, ("B-LOC", "B-PER", "I-LOC", "I-PER", "O"))


def spaced_tokenizer() -> PreTrainedTokenizerFast:
    """One that takes all between two spaces for a word, as XLM-RoBERTa's does."""
    letters = [(char, -2.0) for char in "\u2581abcdefghijklmnopqrstuvwxyzBP,.\u5317\u4eac\u6211"]
    special = [("<unk>", 0.0), ("<pad>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    words = [("\u2581Paris", -1.0), ("\u2581Ber", -1.0), ("lin", -1.0)]
    backend = Tokenizer(Unigram([*special, *words, *letters], unk_id=0))
    backend.pre_tokenizer = Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", model_max_length=99
    )


def test_a_vowel_upon_a_letter_is_a_part_of_its_word() -> None:
    word = "\u0939\u093f\u0928\u094d\u0926\u0940"  # "Hindi", in Hindi
    backend = Tokenizer(BPE({char: at for at, char in enumerate(dict.fromkeys("[]" + word))}, []))
    backend.pre_tokenizer = WhitespaceSplit()
    token = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[", cls_token="]", model_max_length=32
    )
    rows = Rows("r", {"text": [f"{word} {word}"]})
    encoded = TASK.encode(token, rows, PLAN, TextInfo())
    assert [piece.word for piece in encoded.beside["pieces"][0]] == [*[0] * 6, *[1] * 6]


def test_words_hold_no_punctuation_whatever_the_tokenizer_takes_for_words() -> None:
    token = spaced_tokenizer()
    text = "Paris, \u6211 \u5317\u4eac Berlin."
    spans = [span(0, 5), span(9, 11), span(12, 18)]
    rows = Rows("r", {"text": [text], "spans": [spans]})
    plan = TASK.fit_plan(rows)
    encoded = TASK.encode(token, rows, plan, TextInfo())
    pieces = token.convert_ids_to_tokens(encoded.features["input_ids"][0])
    learned = [plan.labels[one] if one != -100 else None for one in encoded.features["labels"][0]]
    assert list(zip(pieces, learned, strict=True)) == [
        ("\u2581Paris", "B-A"),
        (",", "O"),
        *zip(["\u2581", "\u6211"], ["O", None], strict=True),
        *zip(["\u2581", "\u5317", "\u4eac"], ["B-A", None, "I-A"], strict=True),
        *zip(["\u2581Ber", "lin"], ["B-A", None], strict=True),
        (".", "O"),
    ]
    logits = np.eye(3, dtype=np.float32)[[[max(n, 0) for n in encoded.features["labels"][0]]]]
    (found,) = TASK.predictions((logits,), encoded, rows, plan, TASK.options())
    assert facts(found) == [("A", 0, 5), ("A", 9, 11), ("A", 12, 18)]
    assert TASK.metrics((logits,), encoded, rows, plan)["f1"] == 1.0


@pytest.mark.parametrize("trim", [True, False])
def test_bytes_of_a_character_are_one_word(trim: bool) -> None:
    special = ("<s>", "<pad>", "</s>", "<unk>")
    letters = {char: i for i, char in enumerate([*special, *sorted(ByteLevel.alphabet())])}
    backend = Tokenizer(BPE(letters, [], unk_token="<unk>"))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.post_processor = RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=trim, add_prefix_space=False
    )
    token = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", model_max_length=99
    )
    text = "in Zo\u00e9\U0001f600, Z"
    rows = Rows("r", {"text": [text], "spans": [[span(3, 6), span(9, 10)]]})
    plan = TASK.fit_plan(rows)
    encoded = TASK.encode(token, rows, plan, TextInfo())
    labels = np.array([max(label, 0) for label in encoded.features["labels"][0]])
    outputs = (np.eye(3, dtype=np.float32)[labels][None],)
    (found,) = TASK.predictions(outputs, encoded, rows, plan, TASK.options())
    assert facts(found) == [("A", 3, 6), ("A", 9, 10)]
    assert TASK.metrics(outputs, encoded, rows, plan)["f1"] == 1.0
    assert sum(label != -100 for label in encoded.features["labels"][0]) == 5
