from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModel, pipeline

import hubkit
from hubkit.cli import main
from hubkit.composing.combine import publish_stack
from hubkit.measuring.measure import evaluate
from hubkit.tasks.language.fill_mask import FILL_MASK as TASK
from hubkit.tasks.language.fill_mask import FilledGaps
from hubkit.tasks.rows import Rows
from hubkit.tasks.running import outputs_of
from hubkit.tasks.task import HeadPlan
from hubkit.training.choosing.hold_out import hold_out
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog
from registry.errors import AdapterError, DataError, UnsupportedModelError
from registry.manifest import TextInfo
from tests.support.data import job as labelled_job
from tests.support.language import (
    DECODER,
    ENCODER,
    ENCODER_DECODER,
    TEXTS,
    language_base,
    language_model,
    texts,
    words,
)
from tests.support.models import base_folder, same, tokenizer
from tests.support.predicting import predict
from tests.support.whole_way import job, train_all

PLAN = HeadPlan()
GAPPED = ["the film was [MASK]", "[MASK] plot was not [MASK] good at all", "a [MASK] ball"]
ENCODERS = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "mpnet", "modernbert")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_base(tmp_path_factory.mktemp("bases") / "bert", "bert", ENCODER)


def gaps_of(found: Any) -> list[list[tuple[int, str, float]]]:
    """As (token, word, score), from what hubkit or the stock pipeline says of one text."""
    if isinstance(found, FilledGaps):
        return [[(one.token, one.word, one.score) for one in gap] for gap in found.gaps]
    several = found if isinstance(found[0], list) else [found]
    return [[(one["token"], one["token_str"], one["score"]) for one in gap] for gap in several]


@pytest.mark.parametrize("architecture", ENCODERS)
def test_gaps_are_filled_as_in_the_stock_pipeline(architecture: str) -> None:
    model, token = language_model(architecture, ENCODER), words()
    stock = pipeline("fill-mask", model=model, tokenizer=token)
    found = predict(TASK, model, token, PLAN, GAPPED, top_k=3)
    for text, one in zip(GAPPED, found, strict=True):
        pairs = zip(gaps_of(one), gaps_of(stock(text, top_k=3)), strict=True)
        for gap, expected in pairs:
            assert [row[:2] for row in gap] == [row[:2] for row in expected]
            assert [row[2] for row in gap] == pytest.approx([row[2] for row in expected], abs=1e-5)
    assert [len(one.gaps) for one in found] == [1, 2, 1]  # type: ignore[attr-defined]


def batches(chance: bool, rows: Rows, sizes: Sequence[int]) -> dict[str, torch.Tensor]:
    """The labels of each row, from batches of these sizes."""
    token, model = words(), language_model("bert", ENCODER)
    encoded = TASK.encode(token, rows, PLAN, TextInfo())
    make = TASK.training_collator if chance else TASK.collator
    collate, start, found = make(token, model), 0, {}
    for size in sizes:
        chosen = range(start, start + size)
        batch = collate([encoded.feature(index) for index in chosen])
        for index, ids, labels, mask in zip(
            chosen, batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            found[f"{index}"] = torch.stack([ids, labels])[:, mask.bool()]
        start += size
    return found


def test_to_measure_a_text_has_the_same_gaps_each_time() -> None:
    rows = texts()
    together, apart = batches(False, rows, [8]), batches(False, rows, [1, 3, 4])
    assert same(together, apart)


def test_in_training_chance_hides_other_tokens_each_time_and_the_seed_tells_which() -> None:
    rows = texts()
    torch.manual_seed(3)
    first, second = batches(True, rows, [8]), batches(True, rows, [8])
    torch.manual_seed(3)
    assert same(batches(True, rows, [8]), first)
    assert not same(first, second)


@pytest.mark.parametrize("chance", [True, False])
def test_15_percent_are_hidden_and_at_least_one_of_each_text(chance: bool) -> None:
    many = " ".join(["film", "plot", "was", "good"] * 7)
    rows = Rows("r", {"text": [f"{many} {'very ' * (n % 2)}" for n in range(60)]})
    torch.manual_seed(0)
    found = (
        batches(chance, rows, [60])
        if chance
        else batches(
            False,
            Rows(
                "r",
                {"text": [" ".join(text.split()[n % 7 :]) for n, text in enumerate(rows["text"])]},
            ),
            [60],
        )
    )
    hidden = torch.cat([one[:, one[1] != -100] for one in found.values()], dim=1)
    total = sum(one.shape[1] - 2 for one in found.values())
    assert 0.10 < hidden.shape[1] / total < 0.20
    mask = words().mask_token_id
    share = float((hidden[0] == mask).float().mean())
    assert 0.7 < share < 0.9
    # Neither what begins a text nor what ends it is hidden.
    assert not {2, 3} & set(hidden[1].tolist())
    short = batches(chance, Rows("r", {"text": ["good", "a", "the"]}), [3])
    assert all(int((one[1] != -100).sum()) == 1 for one in short.values())


def test_the_perplexity_is_that_of_the_stock_models_losses() -> None:
    model, token = language_model("bert", ENCODER), words()
    TASK.prepare(token, model, PLAN, TextInfo())
    rows = texts()
    encoded = TASK.encode(token, rows, PLAN, TextInfo())
    collate, costs, count = TASK.collator(token, model), 0.0, 0
    for index in range(len(encoded)):
        batch = collate([encoded.feature(index)])
        number = int((batch["labels"] != -100).sum())
        with torch.no_grad():
            costs += float(model(**batch).loss) * number
        count += number
    for batch_size in (1, 3, 100):
        outputs = outputs_of(TASK, token, model, encoded, TASK.options(), batch_size)
        found = TASK.metrics(outputs, encoded, rows, PLAN)
        assert found["perplexity"] == pytest.approx(math.exp(costs / count), rel=1e-5)


@pytest.mark.parametrize(
    ("architecture", "auto_class", "message"),
    [
        ("gpt2", DECODER, "is a gpt2, which transformers has no class of for fill-mask"),
        ("bart", ENCODER_DECODER, "is a bart, which has a decoder; fill-mask takes encoders"),
    ],
)
def test_a_base_that_fills_no_gaps_is_refused(
    architecture: str, auto_class: Any, message: str, tmp_path: Path, catalog: Catalog
) -> None:
    other = language_base(tmp_path / "base", architecture, auto_class)
    with pytest.raises(UnsupportedModelError, match=message):
        train_adapter(catalog, job("fill-mask", texts()), base=str(other))


def test_a_tokenizer_without_a_token_for_gaps_is_refused(tmp_path: Path, catalog: Catalog) -> None:
    other = base_folder(tmp_path / "base", "bert", ENCODER)
    tokenizer().save_pretrained(other)
    with pytest.raises(UnsupportedModelError, match="no token that stands for a gap"):
        train_adapter(catalog, job("fill-mask", texts()), base=str(other))


def test_the_whole_way(base: Path, catalog: Catalog) -> None:
    for version in train_all(catalog, "fill-mask", texts(), base):
        model = hubkit.load(str(version.ref), catalog=catalog)
        assert (model.manifest.head, model.manifest.labels) == (None, ())
        # The head is the base model's: the stock pipeline on the model that carries it agrees.
        stock = pipeline("fill-mask", model=model.model, tokenizer=model.processor)
        for text, one in zip(GAPPED, model.predict(GAPPED, top_k=2), strict=True):
            for gap, expected in zip(gaps_of(one), gaps_of(stock(text, top_k=2)), strict=True):
                assert [row[0] for row in gap] == [row[0] for row in expected]
        if version.kind == "fusion":
            for weights in model.attention(GAPPED).values():
                assert sum(weights.values()) == pytest.approx(1)
        found = {one.name: one.value for one in model.manifest.metrics}
        if found:
            again = evaluate(model, texts(), batch_size=3)
            assert again["perplexity"] == pytest.approx(found["perplexity"], rel=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "roberta"])
def test_a_base_without_a_head_gets_one_that_goes_with_the_adapter(
    architecture: str, tmp_path: Path, catalog: Catalog
) -> None:
    bare = base_folder(tmp_path / "bare", architecture, AutoModel)
    words().save_pretrained(bare)
    made = job("fill-mask", texts(), epochs=3)
    version = train_adapter(catalog, made, base=str(bare), method="seq_bn_inv", bottleneck_size=4)
    model = hubkit.load(str(version.ref), catalog=catalog)
    assert model.manifest.head is not None
    found = {one.name: one.value for one in model.manifest.metrics}["perplexity"]
    assert evaluate(model, texts())["perplexity"] == pytest.approx(found, rel=1e-5)
    # What makes words of vectors is the embeddings, as the base model has them.
    stock = AutoModel.from_pretrained(bare)
    inner = model.model.get_output_embeddings().weight
    assert torch.equal(inner, stock.get_input_embeddings().weight)
    manifest_head = model.manifest.head.modules
    assert not {"vocab_projector.weight", "decoder.weight"} & set(manifest_head)


def test_an_adapter_without_the_head_that_its_base_lacks_is_refused(
    base: Path, tmp_path: Path, catalog: Catalog
) -> None:
    version = train_adapter(catalog, job("fill-mask", texts()), base=str(base), bottleneck_size=4)
    bare = base_folder(tmp_path / "bare", "bert", AutoModel)
    AutoModel.from_pretrained(base).save_pretrained(bare)
    words().save_pretrained(bare)
    with pytest.raises(AdapterError, match=r"has no head, and its base model has no weights for c"):
        hubkit.load(str(version.ref), base=str(bare), allow_base_mismatch=True, catalog=catalog)


def test_a_language_adapter_carries_an_adapter_for_a_task(base: Path, catalog: Catalog) -> None:
    language = train_adapter(
        catalog,
        job("fill-mask", texts(), "english"),
        base=str(base),
        method="seq_bn_inv",
        bottleneck_size=4,
    )
    sentiment = train_adapter(
        catalog, labelled_job("sentiment"), base=str(base), over=language.ref, bottleneck_size=4
    )
    publish_stack(catalog, AdapterRef.parse("both"), [language.ref, sentiment.ref])
    model = hubkit.load("both", catalog=catalog)
    assert model.task.name == "text-classification"
    rows = labelled_job("sentiment").data
    _, held_out = hold_out(rows, rows["label"], 42)
    found = {one.name: one.value for one in catalog.manifest(sentiment).metrics}
    assert evaluate(model, held_out)["accuracy"] == pytest.approx(found["accuracy"])


def test_each_row_has_its_answer_where_some_gaps_are_missing_or_cut_off(
    base: Path, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    version = train_adapter(catalog, job("fill-mask", texts()), base=str(base), bottleneck_size=4)
    model = hubkit.load(str(version.ref), catalog=catalog)
    given = ["a [MASK]", "the <mask>", "[MASK] film was not very [MASK]", f"{'very ' * 30}[MASK]"]
    found = model.predict(given, max_length=6)
    assert [[len(gap) for gap in gaps_of(one)] for one in found] == [[5], [], [5, 0], [0]]
    assert "1 of 4 rows have no gap, such as 'the <mask>'" in caplog.text
    assert "expected [MASK] where a word is to be found" in caplog.text
    assert "2 of 4 rows have a gap that is cut off, such as '[MASK] film" in caplog.text
    (alone,) = model.predict(given[:1], max_length=6)
    assert [row[0] for row in gaps_of(found[0])[0]] == [row[0] for row in gaps_of(alone)[0]]
    model.text = model.text.model_copy(update={"truncation_side": "left"})
    (found_left,) = model.predict(given[2:3], max_length=6)
    assert [len(gap) for gap in gaps_of(found_left)] == [0, 5]
    assert model.predict(["the film"]) == [FilledGaps(())]
    with pytest.raises(DataError, match="top_k must be at least 1, not 0"):
        model.predict(["a [MASK]"], top_k=0)
    assert len(model.predict(["a [MASK]"], top_k=1000)[0].gaps[0]) == 40  # type: ignore[attr-defined]


def test_the_command_line_fills_gaps(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "texts.csv"
    data.write_text("text\n" + "\n".join(TEXTS) + "\n")
    run = CliRunner()
    done = run.invoke(
        main,
        [
            *("train", str(data), "--base", str(base), "--task", "english", "--name", "english"),
            *("--task-type", "fill-mask", "--epochs", "1", "--method", "seq_bn_inv"),
        ],
    )
    assert done.exit_code == 0, done.output
    done = run.invoke(main, ["predict", "english", "the [MASK] film", "--json"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.output)
    assert len(row["gaps"][0]) == 5
    assert set(row["gaps"][0][0]) == {"word", "token", "score"}


def test_chance_draws_no_token_that_the_model_does_not_know() -> None:
    token, model = words(), language_model("bert", ENCODER)
    token.add_tokens([f"new{number}" for number in range(400)])
    encoded = TASK.encode(token, texts(), PLAN, TextInfo())
    features = [encoded.feature(at) for at in range(len(encoded))]
    known = model.config.vocab_size
    for make in (TASK.collator, TASK.training_collator):
        collate = make(token, model)
        assert all(int(collate(features)["input_ids"].max()) < known for _ in range(20))
