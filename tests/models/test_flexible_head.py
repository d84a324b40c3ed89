"""Flexible heads give what the library ``adapters`` gives, on each kind of base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    BartForConditionalGeneration,
    GPT2LMHeadModel,
    PreTrainedModel,
    T5ForConditionalGeneration,
    set_seed,
)

from hubkit import Adapter, attach, insert_adapter, save_adapter, set_head, with_flexible_head
from hubkit.models.flexible_head import FlexibleHeadModel
from hubkit.models.head import head_of
from hubkit.nn.hooks import SUBMODULE
from registry.errors import AdapterError, DataError
from registry.folders.flexible_heads import FlexibleHead
from tests.support.models import (
    REFERENCES,
    reference_base,
    reference_outputs,
    same,
    tiny_batch,
    tiny_inputs,
    tiny_model,
)
from tests.support.references import check_close

FOLDERS = sorted(REFERENCES.glob("*/flexible/*/"))
PARTS = ("logits", "start_logits", "end_logits", "loss")


def case_id(folder: Path) -> str:
    return f"{folder.parts[-3]}-{folder.name}"


def rebuilt(folder: Path) -> tuple[FlexibleHeadModel, Adapter]:
    """The base model of a reference folder with the head in it, and the adapter."""
    adapter = Adapter.load(folder)
    assert adapter.head is not None
    assert adapter.head.flexible is not None
    base = reference_base(folder.parts[-3])
    if base.config.pad_token_id is None:
        base.config.pad_token_id = 0
    model = with_flexible_head(base, adapter.head.flexible)
    set_head(model, adapter.head)
    return model, adapter


def asked(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inputs and labels that ``make_adapterhub.py`` gave, and what the library computed."""
    inputs, expected = reference_outputs(folder.parent)
    name, given = folder.name, dict(inputs)
    if name == "choices":
        given = {key: torch.stack([one, one.roll(1, 0)], 1) for key, one in inputs.items()}
    if name in ("classes", "answers"):
        given.pop("decoder_input_ids", None)
    labels: dict[str, Any] = {
        "answers": {"start_positions": [1, 2, 0], "end_positions": [2, 3, 1]},
        "number": {"labels": [0.5, -1.0, 2.0]},
        "several": {"labels": [[1.0, 0, 1], [0, 0, 0], [0, 1, 0]]},
        "choices": {"labels": [0, 1, 0]},
        "classes": {"labels": [0, 1, 2]},
        "deep": {"labels": [0, 1, 2]},
        "pooled": {"labels": [0, 1, 2]},
    }
    if name in labels:
        given |= {key: torch.tensor(value) for key, value in labels[name].items()}
    elif name == "tags":
        # The library leaves padding out of the loss by the mask; here, labels say it.
        given["labels"] = (inputs["input_ids"] % 3).where(inputs["attention_mask"] == 1, -100)
    else:
        given["labels"] = inputs.get("decoder_input_ids", inputs["input_ids"])
    return given, {key.partition(".")[2]: one for key, one in expected.items() if f"{name}." in key}


@pytest.mark.parametrize("folder", FOLDERS, ids=case_id)
def test_outputs_and_losses_are_those_of_the_library(folder: Path) -> None:
    model, adapter = rebuilt(folder)
    given, expected = asked(folder)
    with attach(model, adapter), torch.no_grad():
        found = model(**given)
    assert {part for part in PARTS if part in found} == expected.keys()
    for part, output in expected.items():
        check_close(found[part], output)


@pytest.mark.parametrize("folder", FOLDERS, ids=case_id)
def test_the_head_of_such_a_model_is_the_one_it_was_given(folder: Path) -> None:
    model, adapter = rebuilt(folder)
    found = head_of(model)
    assert found is not None
    assert adapter.head is not None
    assert (found.labels, found.flexible) == (adapter.head.labels, adapter.head.flexible)
    assert found.problem_type == adapter.head.problem_type
    assert same(dict(found.tensors), {name: adapter.head.tensors[name] for name in found.tensors})
    assert found.tensors.keys() == adapter.head.tensors.keys()


GENERATORS = {
    "gpt2-plain": GPT2LMHeadModel,
    "t5-words": T5ForConditionalGeneration,
    "bart-words": BartForConditionalGeneration,
}


@pytest.mark.parametrize("name", GENERATORS)
def test_generation_is_that_of_the_stock_class_with_the_same_head(name: str) -> None:
    architecture, head = name.split("-")
    model, adapter = rebuilt(REFERENCES / architecture / "flexible" / head)
    stock = GENERATORS[name].from_pretrained(REFERENCES / architecture / "base").eval()
    stock.config.pad_token_id = stock.generation_config.pad_token_id = model.config.pad_token_id
    model.generation_config.pad_token_id = model.config.pad_token_id
    ids = torch.tensor([[5, 9, 7, 30, 12], [8, 3, 40, 21, 2]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for settings in ({}, {"num_beams": 2}):
        settings = {"max_new_tokens": 6, "do_sample": False, **settings}
        with attach(model, adapter), attach(stock, adapter):
            found, expected = (
                one.generate(**inputs, **settings)  # type: ignore[operator]
                for one in (model, stock)
            )
        assert torch.equal(found, expected)
        assert len({*found.flatten().tolist()}) > 1


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_decoder_classifies_by_the_last_word_wherever_it_is_padded(side: str) -> None:
    model, _ = rebuilt(REFERENCES / "llama" / "flexible" / "classes")
    alone, long = torch.tensor([[5, 9, 7]]), torch.tensor([[8, 3, 40, 21, 2]])
    padding = torch.full((1, 2), int(model.config.pad_token_id))
    parts = (padding, alone) if side == "left" else (alone, padding)
    batch = torch.cat([torch.cat(parts, 1), long])
    mask = (batch != model.config.pad_token_id).long()
    with torch.no_grad():
        together = model(input_ids=batch, attention_mask=mask).logits
        expected = torch.cat([model(input_ids=one).logits for one in (alone, long)])
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-5)


def test_padding_inside_of_a_text_moves_the_place_as_in_the_library() -> None:
    model, _ = rebuilt(REFERENCES / "llama" / "flexible" / "classes")
    ids = torch.tensor([[5, int(model.config.pad_token_id), 9, 7]])
    with torch.no_grad():
        hidden = model.base_model(input_ids=ids).last_hidden_state
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        # It takes the number of tokens that are no padding for the number of the last one.
        torch.testing.assert_close(found, model.head(hidden[:, 2]), rtol=0, atol=1e-5)


def test_a_text_without_its_end_is_refused_where_the_end_is_read() -> None:
    model, _ = rebuilt(REFERENCES / "bart" / "flexible" / "classes")
    with pytest.raises(DataError, match=r"reads the token that ends a text \(id 2\); a row has"):
        model(input_ids=torch.tensor([[5, 7, 2], [5, 7, 9]]))


def test_a_head_that_makes_words_is_refused_on_other_embeddings() -> None:
    model, adapter = rebuilt(REFERENCES / "bert" / "flexible" / "words")
    assert adapter.head is not None
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model.base_model.get_input_embeddings().weight[3, 3] += 1e-3
        before["bert.embeddings.word_embeddings.weight"][3, 3] += 1e-3
        before["head.3.weight"][3, 3] += 1e-3
    with pytest.raises(
        AdapterError, match=r"makes words by head\.3\.weight, which in a BertAdapter"
    ):
        set_head(model, adapter.head)
    assert same(dict(model.state_dict()), before)


@pytest.mark.parametrize(
    ("architecture", "flexible", "problem"),
    [
        ("bert", FlexibleHead("seq2seq_lm", layers=1), "of another kind"),
        ("bert", FlexibleHead("causal_lm", layers=1), "of another kind"),
        ("bert", FlexibleHead("image_classification", layers=1, outputs=2), "of another kind"),
        ("vit", FlexibleHead("classification", layers=1, outputs=2), "of another kind"),
        ("gpt2", FlexibleHead("masked_lm", layers=1), "of another kind"),
        ("t5", FlexibleHead("tagging", layers=1, outputs=2), "of another kind"),
        (
            "distilbert",
            FlexibleHead("classification", layers=1, outputs=2, use_pooler=True),
            "has no pooler",
        ),
        (
            "bert",
            FlexibleHead("masked_lm", layers=1, words=41),
            "of 40 words, and the head makes 41",
        ),
        ("bert", FlexibleHead("masked_lm", layers=1, embedding_size=8), "width 16, and the head"),
    ],
)
def test_a_head_without_a_place_is_refused(
    architecture: str, flexible: FlexibleHead, problem: str
) -> None:
    with pytest.raises(AdapterError, match=f"A {flexible.head_type} head has no place on a .*"):
        with_flexible_head(tiny_model(architecture), flexible)
    with pytest.raises(AdapterError, match=problem):
        with_flexible_head(tiny_model(architecture), flexible)


def test_an_activation_that_nobody_knows_is_refused() -> None:
    flexible = FlexibleHead("classification", layers=2, activation="gelu_nwe", outputs=2)
    with pytest.raises(AdapterError, match=r"'gelu_nwe', which transformers.*gelu_new"):
        with_flexible_head(tiny_model(), flexible)


def test_a_stock_class_has_no_place_for_a_flexible_head() -> None:
    adapter = Adapter.load(REFERENCES / "bert" / "flexible" / "classes")
    assert adapter.head is not None
    with pytest.raises(AdapterError, match=r"flexible one \(classification\).*with_flexible_head"):
        set_head(AutoModel.from_pretrained(REFERENCES / "bert" / "base"), adapter.head)


def trainable(model: PreTrainedModel) -> set[str]:
    return {name.partition(".")[0] for name, one in model.named_parameters() if one.requires_grad}


@pytest.mark.parametrize("method", ["seq_bn", "lora"])
def test_an_adapter_that_was_trained_with_one_is_saved_and_gives_the_same(
    tmp_path: Path, method: str
) -> None:
    set_seed(0)
    flexible = FlexibleHead("classification", layers=2, activation="tanh", outputs=2)
    model = with_flexible_head(tiny_model(), flexible)
    assert getattr(model.base_model, "pooler", None) is None
    insert_adapter(model, "a", method=method)
    assert trainable(model) == {"head", SUBMODULE}
    optimizer = torch.optim.SGD([one for one in model.parameters() if one.requires_grad], lr=0.5)
    losses = []
    for _ in range(5):
        loss = model(**tiny_batch()).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    save_adapter(model, "a", tmp_path / "a")
    adapter = Adapter.load(tmp_path / "a")
    assert adapter.head is not None
    assert adapter.head.flexible == flexible
    other = with_flexible_head(tiny_model(), flexible)
    set_head(other, adapter.head)
    with attach(other, adapter), torch.no_grad():
        found = other(**tiny_inputs()).logits
    with torch.no_grad():
        expected = model.eval()(**tiny_inputs()).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
