from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from hubkit.tasks.language.generation import Generating, generate
from registry.errors import ArgumentError, DataError
from tests.support.language import DECODER, ENCODER_DECODER, language_model
from tests.support.models import randomize, tiny_inputs

INPUTS = {name: values[:1] for name, values in tiny_inputs(rows=2).items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3, "length_penalty": 0.5},
        {"min_new_tokens": 5, "no_repeat_ngram_size": 2},
        {"repetition_penalty": 1.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("auto_class", [DECODER, ENCODER_DECODER], ids=["gpt2", "t5"])
def test_what_is_written_is_what_the_stock_model_writes(auto_class: Any, options: Any) -> None:
    architecture = "gpt2" if auto_class is DECODER else "t5"
    model = language_model(architecture, auto_class)
    found = generate(model, INPUTS, Generating(max_new_tokens=6, **options))
    config = GenerationConfig(max_new_tokens=6, pad_token_id=1, eos_token_id=3, **options)
    if auto_class is ENCODER_DECODER:
        config.decoder_start_token_id = 1
    expected = model.generate(**INPUTS, generation_config=config, do_sample=False)
    if auto_class is DECODER:
        expected = expected[:, INPUTS["input_ids"].shape[1] :]
    assert torch.equal(found, expected)


def test_chance_begins_at_the_seed_and_leaves_that_of_others_alone() -> None:
    model = language_model("gpt2", DECODER)
    options = Generating(max_new_tokens=8, do_sample=True, temperature=2.0, seed=5)
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    one = generate(model, INPUTS, options)
    assert torch.equal(torch.rand(1), first)
    assert torch.equal(generate(model, INPUTS, options), one)
    other = Generating(max_new_tokens=8, do_sample=True, temperature=2.0, seed=6)
    assert not torch.equal(generate(model, INPUTS, other), one)


def test_a_model_that_was_saved_to_draw_by_chance_does_not_unless_it_is_asked(
    recwarn: pytest.WarningsRecorder,
) -> None:
    model = language_model("gpt2", DECODER)
    expected = generate(model, INPUTS, Generating(max_new_tokens=6))
    model.generation_config.do_sample = True
    model.generation_config.temperature = 5.0
    for _ in range(3):
        assert torch.equal(generate(model, INPUTS, Generating(max_new_tokens=6)), expected)
    assert list(recwarn) == []


@pytest.mark.parametrize("options", [{"repetition_penalty": 3.0}, {"no_repeat_ngram_size": 1}])
def test_a_row_goes_on_beside_a_longer_one_as_alone(options: dict[str, Any]) -> None:
    # The token that fills up ends a text, too: a penalty for it would hit short rows alone.
    model = language_model("gpt2", DECODER, pad_token_id=3)
    model.generation_config.pad_token_id = 3
    ids = torch.tensor([[3, 3, 3, 3, 9, 8], [5, 6, 7, 8, 9, 10]])
    mask = (ids != 3).long()
    how = Generating(max_new_tokens=8, **options)
    for seed in range(4):
        randomize(model, seed)
        together = generate(model, {"input_ids": ids, "attention_mask": mask}, how)
        for row, own in enumerate((ids[0, 4:], ids[1])):
            (alone,) = generate(model, {"input_ids": own[None]}, how)
            assert [one for one in together[row].tolist() if one not in (-100, 3)] == [
                one for one in alone.tolist() if one != 3
            ]


def test_what_fills_a_row_up_is_no_part_of_its_least_length() -> None:
    model = language_model("gpt2", DECODER)
    ids = torch.tensor([[1, 1, 1, 1, 9, 8], [5, 6, 7, 8, 9, 10]])
    how = Generating(max_new_tokens=8)
    end = int(generate(model, {"input_ids": ids[:1, 4:]}, how)[0, 0])
    model.generation_config.eos_token_id = end
    model.generation_config.min_length = 6
    (alone,) = generate(model, {"input_ids": ids[:1, 4:]}, how)
    assert end not in alone[:4]
    together = generate(model, {"input_ids": ids, "attention_mask": (ids != 1).long()}, how)
    assert together[0, : len(alone)].tolist() == alone.tolist()


def test_a_short_row_has_its_own_places_beside_a_long_one() -> None:
    model = language_model("gpt2", DECODER, pad_token_id=1, eos_token_id=None)
    model.generation_config.pad_token_id = 1
    ids = torch.full((2, 36), 1)
    ids[0, 34:] = torch.tensor([7, 8])
    ids[1] = torch.arange(36) % 30 + 4
    mask = torch.ones_like(ids)
    mask[0, :34] = 0
    found = generate(
        model, {"input_ids": ids, "attention_mask": mask}, Generating(max_new_tokens=20)
    )
    alone = generate(model, {"input_ids": ids[:1, 34:]}, Generating(max_new_tokens=20))
    assert alone.shape == (1, 20)
    assert torch.equal(found[:1], alone)
    assert (found[1] >= 0).sum() == 4


def test_a_base_that_writes_several_texts_for_a_row_writes_one() -> None:
    model = language_model("gpt2", DECODER)
    expected = generate(model, INPUTS, Generating(max_new_tokens=6, num_beams=3))
    model.generation_config.num_return_sequences = 3
    model.generation_config.return_dict_in_generate = True
    assert torch.equal(generate(model, INPUTS, Generating(max_new_tokens=6, num_beams=3)), expected)


def test_a_decoder_stops_where_it_can_tell_no_more_places() -> None:
    model = language_model("gpt2", DECODER, max_position_embeddings=10, eos_token_id=None)
    assert generate(model, INPUTS, Generating(max_new_tokens=50)).shape == (1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1, not 0"),
        ({"temperature": 0}, "temperature must be over 0, not 0"),
        ({"length_penalty": float("nan")}, "length_penalty must be finite, not nan"),
        ({"do_sample": True, "top_p": 1.5}, "top_p must be at most 1, not 1.5"),
        ({"seed": 2**64}, "seed must be below 2 to the 64, not 18446744073709551616"),
        ({"top_k": 5}, "top_k says how tokens are drawn by chance, but do_sample is False"),
        ({"max_new_tokens": 2, "min_new_tokens": 3}, "min_new_tokens is 3, more than max_new_t"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Generating(**options)


@pytest.mark.parametrize("wrong", [{"num_beams": 2.5}, {"max_new_tokens": "8"}, {"do_sample": 1}])
def test_options_of_another_type_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"{min(wrong)} must be"):
        Generating(**wrong)


@pytest.mark.parametrize("architecture", ["bart", "marian"])
def test_what_an_encoder_decoder_writes_ends_where_it_can_tell_no_more_places(
    architecture: str,
) -> None:
    changes = {"max_position_embeddings": 10, "forced_eos_token_id": None}
    model = language_model(architecture, ENCODER_DECODER, **changes)
    how = Generating(max_new_tokens=50, min_new_tokens=50)
    assert generate(model, INPUTS, how).shape == (1, 10)  # with the token that begins it


def test_a_least_length_over_what_is_written_at_most_is_refused() -> None:
    model = language_model("gpt2", DECODER)
    model.generation_config.max_new_tokens = 8
    with pytest.raises(DataError, match="min_new_tokens is 9, more than the 8 tokens"):
        generate(model, INPUTS, Generating(min_new_tokens=9))
    assert generate(model, INPUTS, Generating(min_new_tokens=8)).shape == (1, 8)
