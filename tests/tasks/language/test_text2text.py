from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from click.testing import CliRunner
from rouge_score.rouge_scorer import RougeScorer
from transformers import MBart50Tokenizer, MBartTokenizer

import hubkit
from hubkit.cli import main
from hubkit.measuring.measure import evaluate
from hubkit.tasks.language.summarization import SUMMARIZATION
from hubkit.tasks.language.text2text import TEXT2TEXT
from hubkit.tasks.language.translation import TRANSLATION
from hubkit.tasks.rows import Rows
from hubkit.tasks.running import outputs_of
from hubkit.tasks.task import HeadPlan
from hubkit.training.train import train_adapter, train_fusion
from registry import Catalog
from registry.errors import (
    AdapterError,
    CompositionError,
    DataError,
    LanguageCodeError,
    TextLengthError,
    UnsupportedModelError,
)
from registry.manifest import TextInfo
from tests.support.language import (
    DECODER,
    ENCODER,
    ENCODER_DECODER,
    PAIRS,
    SOURCES,
    TARGETS,
    language_base,
    language_model,
    pairs,
    words,
)
from tests.support.models import WORDS
from tests.support.predicting import predict
from tests.support.whole_way import job, often, train_all

PLAN = HeadPlan()
KINDS = [
    *((name, ENCODER_DECODER) for name in ("t5", "bart", "marian")),
    *((name, DECODER) for name in ("llama", "gpt2")),
]
SEPARATOR = TextInfo(separator="[SEP]")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {
        "t5": language_base(folder / "t5", "t5", ENCODER_DECODER),
        "llama": language_base(folder / "llama", "llama", DECODER),
    }


def test_a_decoder_learns_the_target_alone() -> None:
    token = words(DECODER)
    encoded = TRANSLATION.encode(token, pairs(), PLAN, SEPARATOR)
    for index, (source, target) in enumerate(PAIRS):
        feature = encoded.feature(index)
        prompt = [*token(source)["input_ids"], 3]
        learned = [*token(target, add_special_tokens=False)["input_ids"], 3]
        assert feature["input_ids"] == [*prompt, *learned]
        assert feature["labels"] == [*[-100] * len(prompt), *learned]
    # What is to be answered is the prompt alone.
    asked = TRANSLATION.encode(token, TRANSLATION.rows_for_metrics(pairs()), PLAN, SEPARATOR)
    assert asked.features["input_ids"][0] == [*token(SOURCES[0])["input_ids"], 3]
    assert "labels" not in asked.features


def test_what_is_too_long_is_cut_and_keeps_its_end() -> None:
    long = Rows("r", {"source": ["the film was very good"], "target": ["a very very bad plot"]})
    limits = TextInfo(max_length=4, target_max_length=3)
    token = words()
    encoded = TRANSLATION.encode(token, long, PLAN, limits)
    assert encoded.features["input_ids"] == [token("the film")["input_ids"]]
    assert encoded.features["labels"] == [[*token("a")["input_ids"][:2], 3]]
    assert encoded.cut == 1
    token = words(DECODER)
    limits = limits.model_copy(update={"separator": "[SEP]"})
    encoded = TRANSLATION.encode(token, long, PLAN, limits)
    read, learned = token("the film")["input_ids"], token("a very")["input_ids"][1:]
    assert encoded.features["input_ids"] == [[*read, 3, *learned, 3]]
    assert encoded.cut == 1
    with pytest.raises(TextLengthError, match="no room for text"):
        TRANSLATION.encode(token, long, PLAN, limits.model_copy(update={"max_length": 1}))


@pytest.mark.parametrize(("architecture", "auto_class"), KINDS)
def test_what_targets_cost_is_what_they_cost_the_stock_model(
    architecture: str, auto_class: Any
) -> None:
    model, token = language_model(architecture, auto_class), words(auto_class)
    info = SEPARATOR if auto_class is DECODER else TextInfo()
    TRANSLATION.prepare(token, model, PLAN, info)
    encoded = TRANSLATION.encode(token, pairs(), PLAN, info)
    found = outputs_of(TRANSLATION, token, model, encoded, TRANSLATION.options(), 3)
    for index, (costs, count) in enumerate(zip(*found, strict=True)):
        feature = encoded.feature(index)
        ids, labels = torch.tensor([feature["input_ids"]]), torch.tensor([feature["labels"]])
        with torch.no_grad():
            expected = float(model(input_ids=ids, labels=labels).loss)
        assert costs[0] / count[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("architecture", "auto_class"), KINDS)
@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_written_is_what_the_stock_model_writes_for_each_source(
    architecture: str, auto_class: Any, beams: int
) -> None:
    model, token = language_model(architecture, auto_class), words(auto_class)
    if architecture in ("bart", "marian"):  # or else it writes no word
        model.final_logits_bias[:, :4] = model.final_logits_bias[:, 26:] = -5
    expected = []
    for source in SOURCES:
        ids = token(source, return_tensors="pt")["input_ids"]
        if auto_class is DECODER:
            ids = torch.cat([ids, torch.tensor([[3]])], dim=1)
        found = model.generate(input_ids=ids, max_new_tokens=6, num_beams=beams, do_sample=False)
        found = found[0, ids.shape[1] :] if auto_class is DECODER else found[0]
        expected.append(token.decode(found, skip_special_tokens=True))
    items = [{"source": source} for source in SOURCES]
    how = {"max_new_tokens": 6, "num_beams": beams}
    if auto_class is DECODER:
        rows = TEXT2TEXT.given(items)
        TEXT2TEXT.prepare(token, model, PLAN, SEPARATOR)
        encoded = TEXT2TEXT.encode(token, rows, PLAN, SEPARATOR)
        options = TEXT2TEXT.options_of(how)
        outputs = outputs_of(TEXT2TEXT, token, model, encoded, options, 8)
        answers = TEXT2TEXT.predictions(outputs, encoded, rows, PLAN, options)
    else:
        answers = predict(TEXT2TEXT, model, token, PLAN, items, **how)
    assert [one.generated_text for one in answers] == expected  # type: ignore[attr-defined]
    assert any(expected)


def test_metrics_are_those_of_their_libraries() -> None:
    found = ["the cat sat on a mat all day", "good morning", "x"]
    expected = ["the cat sat on the mat all day", "good evening", "x"]
    assert TRANSLATION.compare(found, expected) == {
        "chrf": sacrebleu.corpus_chrf(found, [expected]).score,
        "bleu": sacrebleu.corpus_bleu(found, [expected]).score,
    }
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    scores = [scorer.score(one, other) for one, other in zip(expected, found, strict=True)]
    assert SUMMARIZATION.compare(found, expected) == pytest.approx(
        {
            name: sum(row[name].fmeasure for row in scores) / 3
            for name in ("rouge1", "rouge2", "rougeL")
        }
    )
    assert TEXT2TEXT.compare(found, expected)["exact_match"] == pytest.approx(1 / 3)
    for task in (TRANSLATION, SUMMARIZATION, TEXT2TEXT):
        assert list(task.compare(found, expected)) == list(task.metrics_up)


LEARNABLE = {
    "bart": ({"d_model": 64}, 3.0),
    "llama": ({"hidden_size": 32}, 2.0),
}
LINEARS = {
    "bart": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
}


@pytest.mark.parametrize("architecture", ["bart", "llama"])
def test_a_model_that_has_learned_eight_pairs_translates_them_exactly(
    architecture: str, tmp_path: Path, catalog: Catalog
) -> None:
    auto_class = DECODER if architecture == "llama" else ENCODER_DECODER
    changes, scale = LEARNABLE[architecture]
    model = language_model(architecture, auto_class, **changes)
    with torch.no_grad():  # clear words
        model.get_input_embeddings().weight.mul_(scale)
    model.save_pretrained(tmp_path / "base")
    words(auto_class).save_pretrained(tmp_path / "base")
    made = often(job("translation", pairs(), epochs=2, learning_rate=6e-3, batch_size=8), 80)
    version = train_adapter(
        catalog,
        made,
        base=str(tmp_path / "base"),
        method="lora",
        rank=16,
        alpha=32,
        target_modules=LINEARS[architecture],
    )
    adapted = hubkit.load(str(version.ref), catalog=catalog)
    assert [one.generated_text for one in adapted.predict(SOURCES)] == TARGETS  # type: ignore[attr-defined]
    found = {one.name: one.value for one in adapted.manifest.metrics}
    assert found["chrf"] == pytest.approx(100)
    assert evaluate(adapted, pairs()) == pytest.approx(
        {name: value for name, value in found.items() if name != "loss"}
    )


@pytest.mark.parametrize(
    ("task", "architecture"), [("translation", "t5"), ("summarization", "llama")]
)
def test_the_whole_way(
    task: str, architecture: str, bases: dict[str, Path], catalog: Catalog
) -> None:
    for version in train_all(catalog, task, pairs(), bases[architecture], target_max_length=8):
        model = hubkit.load(str(version.ref), catalog=catalog)
        manifest = model.manifest
        assert (manifest.head, manifest.labels) == (None, ())
        assert manifest.text is not None
        assert manifest.text.target_max_length == 8
        assert manifest.text.separator == ("[SEP]" if architecture == "llama" else None)
        texts = [one.generated_text for one in model.predict(SOURCES)]  # type: ignore[attr-defined]
        for source, text in zip(SOURCES[:2], texts, strict=False):
            assert model.predict([source])[0].generated_text == text  # type: ignore[attr-defined]
        found = evaluate(model, pairs())
        assert found == pytest.approx(model.task.compare(texts, TARGETS))  # type: ignore[attr-defined]
        measured = {one.name: one for one in manifest.metrics}
        for name, value in found.items() if measured else ():
            assert measured[name].value == pytest.approx(value)
            assert measured[name].higher_is_better
        if measured:
            assert not measured["loss"].higher_is_better


@pytest.mark.parametrize("task", ["translation", "summarization", "text2text-generation"])
def test_an_encoder_writes_nothing_and_is_refused_before_training(
    task: str, tmp_path: Path, catalog: Catalog
) -> None:
    other = language_base(tmp_path / "base", "bert", ENCODER)
    message = rf"is a bert, which reads texts and writes none; {task} takes models such as t5 or"
    with pytest.raises(UnsupportedModelError, match=message):
        train_adapter(catalog, job(task, pairs()), base=str(other))
    assert not (catalog.home / "runs").exists()


def tokenizer_of_languages(kind: Any) -> Any:
    pieces = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(f"▁{word}", -1.0) for word in WORDS]
    return kind(vocab=pieces)


@pytest.mark.parametrize("kind", [MBartTokenizer, MBart50Tokenizer])
def test_languages_are_where_the_tokenizer_has_them(
    kind: Any, tmp_path: Path, catalog: Catalog
) -> None:
    token = tokenizer_of_languages(kind)
    model = language_model(
        "mbart",
        ENCODER_DECODER,
        vocab_size=len(token),
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    model.save_pretrained(tmp_path / "base")
    token.save_pretrained(tmp_path / "base")
    made = replace(
        job("translation", pairs(), epochs=1), source_language="en_XX", target_language="de_DE"
    )
    version = train_adapter(catalog, made, base=str(tmp_path / "base"), bottleneck_size=4)
    adapted = hubkit.load(str(version.ref), catalog=catalog)
    assert adapted.text.source_language == "en_XX"
    assert adapted.text.target_language == "de_DE"
    config, code = adapted.model.generation_config, token.convert_tokens_to_ids("de_DE")
    encoded = adapted.task.encode(adapted.processor, pairs(), PLAN, adapted.text)
    ids, labels = encoded.features["input_ids"][0], encoded.features["labels"][0]
    assert token.convert_tokens_to_ids("en_XX") in ids
    # The first token that a decoder is given in training is the first that it is given in use.
    first = adapted.model.prepare_decoder_input_ids_from_labels(torch.tensor([labels]))[0]
    if kind is MBartTokenizer:
        assert labels[-2:] == [2, code]
        assert int(first[0]) == config.decoder_start_token_id == code
    else:
        assert (labels[0], labels[-1]) == (code, 2)
        assert int(first[0]) == config.decoder_start_token_id == 2
        assert config.forced_bos_token_id == code
    asked = adapted.task.encode(adapted.processor, adapted.task.given(SOURCES), PLAN, adapted.text)
    written = outputs_of(
        adapted.task, adapted.processor, adapted.model, asked, adapted.task.options(), 8
    )[0]
    assert set(written[:, 0 if kind is MBartTokenizer else 1]) == {code}
    for languages, text in [
        ({}, "has a code for each language: expected a source_language, such as"),
        ({"source_language": "en_XX", "target_language": "deutsch"}, "has no language 'deutsch'"),
    ]:
        with pytest.raises(LanguageCodeError, match=text):
            train_adapter(
                catalog,
                replace(job("translation", pairs()), **languages),
                base=str(tmp_path / "base"),
            )


@pytest.mark.parametrize("method", [{"method": "lora", "rank": 2}, {"bottleneck_size": 4}], ids=str)
def test_marian_carries_adapters_in_its_encoder_and_its_decoder(
    tmp_path: Path,
    catalog: Catalog,
    method: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = language_base(tmp_path / "base", "marian", ENCODER_DECODER)
    made = job("translation", pairs(), epochs=1)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    version = train_adapter(catalog, made, base=str(base), **method)
    assert "missing keys" not in caplog.text, "a checkpoint holds what is trained alone"
    model = hubkit.load(str(version.ref), catalog=catalog)
    assert isinstance(model.composition, hubkit.Adapter)
    sides = {str(site).partition(".")[0] for site in model.composition.deltas}
    assert sides == {"encoder", "decoder"}
    found = {one.name: one.value for one in model.manifest.metrics if one.name != "loss"}
    assert evaluate(model, pairs()) == pytest.approx(found)


def test_what_a_decoder_attends_to_and_logits_of_rows_are_not_told(
    bases: dict[str, Path], catalog: Catalog
) -> None:
    made = [job("translation", pairs(), name, epochs=1) for name in ("a", "b", "fused")]
    for one in made[:2]:
        train_adapter(catalog, one, base=str(bases["t5"]), bottleneck_size=4)
    train_fusion(catalog, made[2], refs=[one.name for one in made[:2]])
    model = hubkit.load("fused", catalog=catalog)
    with pytest.raises(CompositionError, match="a decoder attends while it writes"):
        model.attention(SOURCES)
    with pytest.raises(AdapterError, match="whose head gives no vector for a row"):
        model.logits(SOURCES)


def test_languages_for_a_tokenizer_without_are_refused(
    bases: dict[str, Path], catalog: Catalog
) -> None:
    made = replace(job("translation", pairs()), target_language="de_DE")
    with pytest.raises(DataError, match="no language 'de_DE': its tokenizer has no codes"):
        train_adapter(catalog, made, base=str(bases["t5"]))


def test_the_command_line_translates(bases: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "pairs.csv"
    data.write_text("en,de\n" + "\n".join(map(",".join, PAIRS)) + "\n")
    run, named = CliRunner(), ("--column", "source=en", "--column", "target=de")
    done = run.invoke(
        main,
        [
            *("train", str(data), "--base", str(bases["t5"]), "--task", "de", "--name", "de"),
            *("--task-type", "translation", "--epochs", "1", *named, "--target-max-length", "9"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "target max length 9" in " ".join(run.invoke(main, ["show", "de"]).output.split())
    done = run.invoke(main, ["predict", "de", "the film", "--json"])
    assert done.exit_code == 0, done.output
    assert [set(row) for row in json.loads(done.output)] == [{"row", "source", "generated_text"}]
    done = run.invoke(main, ["evaluate", "de", str(data), "--json", *named])
    assert set(json.loads(done.stdout)["metrics"]) == {"chrf", "bleu"}


def test_a_source_and_its_target_share_the_places_of_a_decoder(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = language_base(tmp_path / "gpt2", "gpt2", DECODER)  # 40 places
    long = {"source": ["the film was very good " * 8] * 4, "target": ["a very bad plot " * 8] * 4}
    rows = Rows("long.csv", long)

    def limits(**settings: Any) -> tuple[int | None, int | None]:
        made = job("summarization", rows, f"a{len(settings)}", epochs=1, **settings)
        info = catalog.manifest(train_adapter(catalog, made, base=str(base))).text
        assert info is not None
        return info.max_length, info.target_max_length

    assert limits(max_length=32) == (20, 20)
    assert limits(max_length=32, target_max_length=10) == (30, 10)
    (found,) = hubkit.load("a1", catalog=catalog).predict(rows["source"][:1])
    assert len(found.generated_text.split()) <= 20
