from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModel, pipeline

import hubkit
from hubkit.cli import main
from hubkit.inference import shortened
from hubkit.measuring.measure import evaluate
from hubkit.tasks.language.text_generation import TEXT_GENERATION as TASK
from hubkit.tasks.rows import Rows
from hubkit.tasks.running import outputs_of
from hubkit.tasks.task import HeadPlan
from hubkit.training.train import train_adapter
from registry import Catalog
from registry.errors import DataError, OtherBaseError, TextLengthError, UnsupportedModelError
from registry.manifest import TextInfo
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
from tests.support.models import base_folder
from tests.support.predicting import predict
from tests.support.whole_way import job, often, train_all

PLAN = HeadPlan()
PROMPTS = ["the film", "a very very good plot was not", "ball"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language_base(tmp_path_factory.mktemp("bases") / "llama", "llama", DECODER)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2", "gemma"])
def test_prompts_go_on_as_in_the_stock_pipeline(architecture: str) -> None:
    model, token = language_model(architecture, DECODER), words(DECODER)
    stock = pipeline("text-generation", model=model, tokenizer=token)
    found = predict(TASK, model, token, PLAN, PROMPTS, max_new_tokens=7)
    for prompt, one in zip(PROMPTS, found, strict=True):
        expected = stock(prompt, return_full_text=False, do_sample=False, max_new_tokens=7)
        assert one.generated_text == expected[0]["generated_text"]
        assert one.cells() == (" ".join(one.generated_text.split()),)
    assert len({one.generated_text for one in found}) > 1


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("limit", [None, 4])
def test_the_perplexity_is_that_of_the_stock_models_losses(
    architecture: str, limit: int | None
) -> None:
    model, token = language_model(architecture, DECODER), words(DECODER)
    TASK.prepare(token, model, PLAN, TextInfo())
    rows = Rows("r", {"text": [*TEXTS, "good"]})
    encoded = TASK.encode(token, rows, PLAN, TextInfo(max_length=limit))
    costs, count = 0.0, 0
    for ids in encoded.features["input_ids"]:
        window = torch.tensor([ids])
        with torch.no_grad():
            costs += float(model(window, labels=window).loss) * (len(ids) - 1)
        count += len(ids) - 1
    # Every token but the first of each text is learned once: its words, and what ends it.
    assert count == sum(len(text.split()) + 1 for text in rows["text"])
    for batch_size in (1, 4, 100):
        outputs = outputs_of(TASK, token, model, encoded, TASK.options(), batch_size)
        found = TASK.metrics(outputs, encoded, rows, PLAN)
        assert found["perplexity"] == pytest.approx(math.exp(costs / count), rel=1e-5)
        assert found["loss"] == pytest.approx(costs / count, rel=1e-5)


def test_windows_of_a_long_text_share_a_token() -> None:
    token = words(DECODER)
    rows = Rows("r", {"text": ["the film was very good", "a"]})
    encoded = TASK.encode(token, rows, PLAN, TextInfo(max_length=3))
    ids = token(rows["text"][0])["input_ids"]
    other = [*token("a")["input_ids"], 3]
    assert encoded.features["input_ids"] == [ids[0:3], ids[2:5], [*ids[4:6], 3], other]
    assert list(encoded.row_of) == [0, 0, 0, 1]
    assert encoded.features["labels"] == encoded.features["input_ids"]
    with pytest.raises(TextLengthError, match="at least 2"):
        TASK.encode(token, rows, PLAN, TextInfo(max_length=1))


@pytest.mark.parametrize(
    ("architecture", "auto_class"), [("bert", ENCODER), ("bart", ENCODER_DECODER)]
)
def test_a_base_that_is_no_decoder_is_refused(
    architecture: str, auto_class: type, tmp_path: Path, catalog: Catalog
) -> None:
    other = language_base(tmp_path / "base", architecture, auto_class)
    with pytest.raises(UnsupportedModelError, match=f"is a {architecture}, which is not a decoder"):
        train_adapter(catalog, job("text-generation", texts()), base=str(other))
    assert not (catalog.home / "runs").exists()


def test_the_whole_way(base: Path, catalog: Catalog) -> None:
    rows = texts()
    for version in train_all(catalog, "text-generation", rows, base):
        model = hubkit.load(str(version.ref), catalog=catalog)
        manifest = model.manifest
        # The head is the base model's, and stays with it.
        assert (manifest.head, manifest.labels, manifest.outputs) == (None, (), None)
        assert not any("head" in name for name in manifest.files)
        assert manifest.text is not None
        assert (manifest.text.max_length, manifest.text.stride) == (24, 1)
        first, again = (
            hubkit.load(str(version.ref), catalog=catalog).predict(PROMPTS, max_new_tokens=5)
            for _ in range(2)
        )
        assert first == again
        alone = [model.predict([one], max_new_tokens=5)[0] for one in PROMPTS]
        assert list(first) == alone
        found = evaluate(model, rows)
        measured = {one.name: one for one in manifest.metrics}
        if measured:
            assert measured["perplexity"].value == pytest.approx(found["perplexity"], rel=1e-5)
            assert not measured["perplexity"].higher_is_better


def test_an_adapter_changes_what_is_said_and_learns(base: Path, catalog: Catalog) -> None:
    version = train_adapter(
        catalog,
        often(job("text-generation", texts(), epochs=5), 4),
        base=str(base),
        method="seq_bn_inv",
        bottleneck_size=32,
    )
    model = hubkit.load(str(version.ref), catalog=catalog)
    stock = DECODER.from_pretrained(base)
    encoded = TASK.encode(model.processor, texts(), PLAN, model.text)
    before = outputs_of(TASK, model.processor, stock.eval(), encoded, TASK.options(), 8)
    unlearned = TASK.metrics(before, encoded, texts(), PLAN)["perplexity"]
    assert evaluate(model, texts())["perplexity"] < 0.8 * unlearned
    # The cache of generation and the invertible part agree: token by token from the start.
    prompt = model.processor("the film", return_tensors="pt")["input_ids"]
    ids = prompt
    for _ in range(5):
        with torch.no_grad():
            logits = model.model(input_ids=ids, use_cache=False).logits[:, -1]
        logits[:, 3] = -torch.inf  # the end
        ids = torch.cat([ids, logits.argmax(-1)[:, None]], dim=1)
    text = model.processor.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True)
    found = model.predict(["the film"], max_new_tokens=5, min_new_tokens=5)
    assert found[0].generated_text == text


def test_a_base_without_a_head_gets_one_that_goes_with_the_adapter(
    tmp_path: Path, catalog: Catalog
) -> None:
    bare = base_folder(tmp_path / "bare", "llama", AutoModel)
    words(DECODER).save_pretrained(bare)
    version = train_adapter(
        catalog, job("text-generation", texts()), base=str(bare), bottleneck_size=4
    )
    model = hubkit.load(str(version.ref), catalog=catalog)
    assert model.manifest.head is not None
    assert model.manifest.head.modules == ("lm_head",)
    value = {one.name: one.value for one in model.manifest.metrics}["perplexity"]
    assert evaluate(model, texts())["perplexity"] == pytest.approx(value, rel=1e-5)


def test_options_and_rows_that_do_not_fit_are_refused(base: Path, catalog: Catalog) -> None:
    version = train_adapter(
        catalog, job("text-generation", texts(), epochs=1), base=str(base), bottleneck_size=4
    )
    model = hubkit.load(str(version.ref), catalog=catalog)
    with pytest.raises(DataError, match="text-generation has no option 'beams'"):
        model.predict(["a"], beams=2)
    with pytest.raises(DataError, match="as its text; expected"):
        model.predict([" "])


def test_the_command_line_goes_on_with_a_text(base: Path, tmp_path: Path) -> None:
    data = tmp_path / "texts.csv"
    data.write_text("text\n" + "\n".join(TEXTS) + "\n")
    run = CliRunner()
    done = run.invoke(
        main,
        [
            *("train", str(data), "--base", str(base), "--task", "films", "--name", "films"),
            *("--task-type", "text-generation", "--epochs", "1", "--bottleneck-size", "4"),
        ],
    )
    assert done.exit_code == 0, done.output
    done = run.invoke(main, ["predict", "films", "the film", "--json"])
    assert done.exit_code == 0, done.output
    assert [set(row) for row in json.loads(done.output)] == [{"row", "text", "generated_text"}]
    done = run.invoke(main, ["evaluate", "films", str(data), "--json"])
    assert set(json.loads(done.stdout)["metrics"]) == {"perplexity", "loss"}


def test_the_first_token_of_a_window_counts_for_nothing_in_the_loss() -> None:
    labels = torch.tensor([[5, 6, 7], [5, 6, -100]])
    assert float(TASK.amount({"labels": labels})) == 3


def test_a_base_that_writes_otherwise_is_refused_and_a_template_for_chats_is_not_used(
    tmp_path: Path, catalog: Catalog
) -> None:
    base = language_base(tmp_path / "base", "gpt2", DECODER)
    version = train_adapter(
        catalog, job("text-generation", texts()), base=str(base), bottleneck_size=4
    )
    assert catalog.manifest(version).base_model.generation is not None
    expected = hubkit.load(str(version.ref), catalog=catalog).predict(["the film"])
    template = base / "chat_template.jinja"
    template.write_text("{% for m in messages %}good {{ m['content'] }}{% endfor %}")
    model = hubkit.load(str(version.ref), catalog=catalog)
    assert model.processor.chat_template
    assert model.predict(["the film"]) == expected
    path = base / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_beams": 4}))
    with pytest.raises(OtherBaseError, match="num_beams of the generation configuration"):
        hubkit.load(str(version.ref), catalog=catalog)


def test_a_limit_that_is_asked_for_is_that_of_prompts_and_one_of_windows_is_not() -> None:
    token, prompt = words(DECODER), "the film was very good"
    ids, given = token(prompt)["input_ids"], TASK.given([prompt])
    learned = TextInfo(max_length=3, stride=1)
    assert TASK.encode(token, given, PLAN, learned).features["input_ids"] == [ids]
    asked = TASK.encode(token, given, PLAN, shortened(learned, 3))
    assert asked.features["input_ids"] == [ids[-3:]]
    assert (asked.cut, asked.limit) == (1, 3)
