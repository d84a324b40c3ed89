"""The stories of the documentation, run in small: tiny base models, and data written here."""

from __future__ import annotations

import csv
import importlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from tests.support.language import DECODER, language_base
from tests.support.models import tiny_model

EXAMPLES = Path(__file__).parents[2] / "examples"
ADJECTIVES = ("good", "bad", "dull", "great")
NOUNS = ("film", "plot", "ball")

Table = list[dict[str, str]]
Tell = Callable[..., list[Table]]


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Runs a story on the data in ``tmp_path``, and returns the tables that it wrote.

    It trains for at most four epochs: how well it learns is tested elsewhere.
    """
    monkeypatch.syspath_prepend(str(EXAMPLES))
    shared = importlib.import_module("story")
    settings = shared.Settings
    monkeypatch.setattr(
        shared, "Settings", lambda *, epochs, **more: settings(epochs=min(epochs, 4), **more)
    )
    encoder = language_base(tmp_path / "base", "bert", AutoModel)

    def run(name: str, *options: str, base: Path = encoder, tables: bool = True) -> list[Table]:
        story = importlib.import_module(name)
        monkeypatch.setattr(story, "base_model", lambda _: base)
        output = tmp_path / "output"
        arguments = ["--data", str(tmp_path), "--output", str(output), *options]
        result = CliRunner().invoke(story.main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        if not tables:
            return []
        found = read_tables(output / "table.md")
        shown = [cell for table in found for line in table for cell in line.values()]
        assert all(cell in result.output for cell in shown if "\n" not in cell)
        return found

    return run


def read_tables(path: Path) -> list[Table]:
    """The tables of a Markdown file, each as its lines by the names of the columns."""
    tables = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if lines:
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            header, rule, *rows = cells
            assert set(rule) == {"---"}
            tables.append([dict(zip(header, row, strict=True)) for row in rows])
    return tables


def write_json_lines(path: Path, rows: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


def write_names(folder: Path, first: int, rows: int = 16) -> None:
    """Sentences of which the noun is a name, and its adjective belongs to it."""
    folder.mkdir(parents=True)
    for place, split in enumerate(("train", "validation", "test")):
        sentences = []
        for row in range(first + place * rows, first + (place + 1) * rows):
            kind = ("PER", "LOC")[row % 2]
            words = [("the", "O"), (ADJECTIVES[row % 4], f"B-{kind}")]
            words += [(NOUNS[row % 3], f"I-{kind}"), ("was", "O"), *[("very", "O")] * (row % 5)]
            sentences.append("\n".join(f"{word}\t{tag}" for word, tag in words))
        (folder / f"{split}.conll").write_text("\n\n".join(sentences) + "\n", encoding="utf-8")


def write_questions(path: Path, rows: int) -> None:
    """Questions of which the answer is the last word of the context."""
    questions = []
    for row in range(rows):
        answer = ADJECTIVES[row % 4]
        context = f"the {NOUNS[row % 3]} was {'very ' * (row % 5)}{answer}"
        answers = {"text": [answer], "answer_start": [context.rindex(answer)]}
        question = f"the {NOUNS[row % 3]} was"
        questions.append(
            {"id": str(row), "context": context, "question": question, "answers": answers}
        )
    write_json_lines(path, questions)


def unigram_base(folder: Path) -> Path:
    """A tiny base model with a tokenizer like that of XLM-R: the best split into pieces."""
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    words = ("the", "a", "was", "very", *ADJECTIVES, *NOUNS, "not")
    pieces = [
        *special,
        "\u2581",
        *(f"\u2581{word}" for word in words),
        "oo",
        "l",
        "good",
        "film",
        "go",
    ]
    backend = Tokenizer(Unigram([(piece, -float(len(special))) for piece in pieces], unk_id=3))
    backend.pre_tokenizer = Metaspace()
    backend.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=32,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    tiny_model("bert", AutoModel, vocab_size=len(pieces), pad_token_id=1).save_pretrained(folder)
    return folder


def share(cell: str) -> float:
    """A number from 0 to 1, written with three places."""
    assert re.fullmatch(r"[01]\.\d{3}", cell), cell
    assert 0 <= float(cell) <= 1
    return float(cell)


def test_names_are_compared_with_a_probe_and_few_examples_with_a_fusion(
    tmp_path: Path, tell: Tell
) -> None:
    write_names(tmp_path / "ner" / "wnut17_en", 0)
    for place, language in enumerate(("en", "fr", "pt")):
        write_names(tmp_path / "ner" / f"wikiann_{language}", place)
    tweets, languages = tell("names")
    assert [line["data"] for line in tweets] == ["WNUT-17 en"]
    assert [line["data"] for line in languages] == [
        f"WikiANN {name}" for name in ("en", "fr", "pt")
    ]
    for line in (*tweets, *languages):
        assert line["sentences"] == "16"
        assert share(line["probe"]) > 0, "a word says much of its tag"
    share(tweets[0]["adapter"])
    english, french, portuguese = languages
    assert [line["fusion"] for line in languages[:-1]] == ["", ""]
    assert english["English adapter"] == ""
    for cell in (
        *(line["own adapter"] for line in languages),
        french["English adapter"],
        portuguese["English adapter"],
        portuguese["fusion"],
    ):
        share(cell)


def test_questions_are_asked_in_the_language_of_training_and_in_another(
    tmp_path: Path, tell: Tell
) -> None:
    for split, rows in (("train", 24), ("test", 8)):
        write_questions(tmp_path / "qa" / "squadshifts_wiki" / f"{split}.jsonl", rows)
    for language in ("en", "de"):
        write_questions(tmp_path / "qa" / "xquad" / f"test.{language}.jsonl", 8)
    (table,) = tell("questions")
    assert [line["questions"] for line in table] == [
        "Wikipedia, English",
        "XQuAD, English",
        "XQuAD, German",
    ]
    assert table[2]["MiniLM"] == "", "its words are English"
    for line in table:
        assert line["asked"] == "8"
        # The answer is one of 3 to 7 words of the only sentence, "the" apart.
        assert line["nearest sentence"] == "37.5 / 0.0"
        for cell in filter(None, (line["MiniLM"], line["me5"])):
            f1, exact = map(float, cell.split(" / "))
            assert 0 <= exact <= f1 <= 100


def test_language_adapters_are_swapped_below_an_adapter_for_names(
    tmp_path: Path, tell: Tell
) -> None:
    for place, language in enumerate(("en", "pt", "de")):
        write_names(tmp_path / "ner" / f"wikiann_{language}", place)
        lines = [f"the {NOUNS[row % 3]} was {ADJECTIVES[row % 4]}" for row in range(16)]
        path = tmp_path / "crosslingual" / "mono" / f"wikiann_{language}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for table, target in zip(
        tell("cross_lingual", base=unigram_base(tmp_path / "pieces")), ("pt", "de"), strict=True
    ):
        assert [line["tested on"] for line in table] == ["WikiANN en", f"WikiANN {target}"]
        for line in table:
            for name in ("no language adapter", "en adapter", f"{target} adapter"):
                share(line[name])


def test_a_base_cut_to_the_words_of_texts_gives_the_same_for_these_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    whole = unigram_base(tmp_path / "whole")
    texts = ["the film was good", "a bad plot"]
    cut = importlib.import_module("cross_lingual").cut(whole, tmp_path / "cut", texts)
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (whole, cut)]
    assert [len(tokenizer) for tokenizer in tokenizers] == [23, 12]
    pieces = [[tokenizer.tokenize(text) for text in texts] for tokenizer in tokenizers]
    assert pieces[0] == pieces[1]
    states = []
    for folder, tokenizer in zip((whole, cut), tokenizers, strict=True):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        states.append(AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state)
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_classes_pairs_and_choices_are_each_compared_with_the_frozen_base(
    tmp_path: Path, tell: Tell
) -> None:
    for split in ("train", "validation", "test"):
        kinds = [(f"the {NOUNS[row % 3]} was good", NOUNS[row % 3]) for row in range(12)]
        write_csv(
            tmp_path / "classification" / "banking77" / f"{split}.csv", ("text", "label"), kinds
        )
        pairs = [
            (f"the {NOUNS[row % 3]}", f"a {NOUNS[row % 2]}", 5.0 * (row % 3 == row % 2) + row / 100)
            for row in range(12)
        ]
        header = ("sentence1", "sentence2", "score")
        write_csv(tmp_path / "regression" / "stsb_en" / f"{split}.csv", header, pairs)
        choices = [
            {"id": str(row), "question": "the film was", "choices": list(NOUNS), "label": row % 3}
            for row in range(12)
        ]
        write_json_lines(tmp_path / "multiple_choice" / "commonsenseqa" / f"{split}.jsonl", choices)
    ((intents,), (likeness,), (choice,)) = tell("classes_pairs_choices")
    assert (intents["data"], intents["texts"]) == ("banking77", "12")
    assert share(intents["probe"]) == 1, "a word says its class"
    assert share(intents["adapter"]) > 0.3
    assert (likeness["data"], likeness["pairs"]) == ("STS-B", "12")
    for name in ("cosine of the frozen base", "adapter"):
        assert -1 <= float(likeness[name]) <= 1
    assert (choice["data"], choice["questions"]) == ("CommonsenseQA", "12")
    assert choice["always the same place"] == "0.333"
    share(choice["adapter"])


def write_translations(folder: Path) -> None:
    """English, German and French sentences of which each word has one translation."""
    english = (*ADJECTIVES, *NOUNS)
    german = ("gut", "böse", "öde", "toll", "Film", "Stoff", "Ball")
    french = ("bon", "mal", "terne", "grand", "film", "fil", "bal")
    words = {
        "de": dict(zip(english, german, strict=True)),
        "fr": dict(zip(english, french, strict=True)),
    }
    rows = [
        {"en": f"{NOUNS[row % 3]} {ADJECTIVES[row % 4]} {row}"}
        | {
            language: f"{known[NOUNS[row % 3]]} {known[ADJECTIVES[row % 4]]} {row}"
            for language, known in words.items()
        }
        for row in range(12)
    ]
    for split in ("train", "validation", "test"):
        write_json_lines(folder / "debian_desc_de" / f"{split}.jsonl", rows)
        write_json_lines(folder / "debian_desc_fr" / f"{split}.jsonl", rows)
    write_json_lines(folder / "ntrex" / "test.jsonl", rows)


def test_translations_come_from_a_small_model_that_is_made_once(
    tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_translations(tmp_path / "mt")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    translation = importlib.import_module("translation")
    sizes = importlib.import_module("small_marian").Sizes
    monkeypatch.setattr(translation, "SIZES", sizes(words=60, width=16, layers=1, tokens=12))
    calls: list[tuple[Any, ...]] = []
    make = translation.small_marian
    monkeypatch.setattr(
        translation, "small_marian", lambda *given: (calls.append(given), make(*given))[1]
    )
    decoder = language_base(tmp_path / "decoder", "llama", DECODER)
    pairs, few, causal = tell("translation", "--minutes", "0.01", base=decoder)
    assert [(line["from-to"], line["tested on"]) for line in pairs[:3]] == [
        ("en-de", "descriptions"),
        ("en-de", "news"),
        ("de-en", "descriptions"),
    ]
    assert len(pairs) == 8
    assert [line["from-to"] for line in few] == ["de-fr"] * 2
    assert [line["from-to"] for line in causal] == ["de-en", "fr-en"]
    for line in (*pairs, *few, *causal):
        assert line["pairs"] == "12"
        for name in ("frozen base", "adapter", *(["fusion"] if "fusion" in line else [])):
            scores = [float(score) for score in line[name].split(" / ")]
            assert len(scores) == 2
            assert all(0 <= score <= 100 for score in scores)
    (kept,) = (tmp_path / "cache" / "hubkit" / "base-models").iterdir()
    made = (kept / "model.safetensors").stat().st_mtime_ns
    (given,) = calls
    assert make(*given) == kept
    assert (kept / "model.safetensors").stat().st_mtime_ns == made
    told: list[str] = []
    for part in ("encoder_decoder", "causal"):
        monkeypatch.setattr(translation, part, lambda *_, part=part: told.append(part))
    tell("translation", "--no-decoder", tables=False)
    assert told == ["encoder_decoder"]


def test_an_interrupted_small_model_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    module = importlib.import_module("small_marian")
    pairs = [(f"{noun} {word}", f"{word} {noun}") for noun in NOUNS for word in ADJECTIVES]
    # Each look at the clock takes a second.
    clock = iter(range(1000))
    monkeypatch.setattr(module, "monotonic", lambda: float(next(clock)))
    sizes = module.Sizes(words=40, width=16, layers=1, tokens=8, save_every=0.0)
    save, steps = module._save, []

    def broken(path: Path, model: object, optimizer: object, step: int, spent: float) -> None:
        save(path, model, optimizer, step, spent)
        steps.append(step)
        if len(steps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_save", broken)
    with pytest.raises(KeyboardInterrupt):
        module.small_marian(pairs, 1, sizes, tmp_path)
    folder = module.small_marian(pairs, 1, sizes, tmp_path)
    assert steps[3] == 4, "the fourth step follows the third"
    assert not (folder / "checkpoint.pt").exists()
    assert (folder / "config.json").exists()


def test_each_user_has_an_adapter_which_is_compared_with_others(tmp_path: Path, tell: Tell) -> None:
    folder = tmp_path / "recommendation" / "movielens_small"
    films = [f"{'very ' * (row // 12)}{ADJECTIVES[row % 4]} {NOUNS[row % 3]}" for row in range(24)]
    write_csv(folder / "items.csv", ("item", "text"), list(enumerate(films)))
    # Users like what is good, or what is not.
    rated = [
        (user, item, 5 if ("good" in film or "great" in film) == bool(user % 2) else 1)
        for user in range(4)
        for item, film in enumerate(films)
    ]
    write_csv(folder / "population.csv", ("user", "item", "rating"), rated[48:])
    for place, split in enumerate(("train", "validation", "test")):
        part = [(*row, int(row[2] > 3)) for row in rated[:48] if row[1] // 8 == place]
        header = ("user", "item", "rating", "liked")
        write_csv(folder / "users" / f"{split}.csv", header, part)
    scores, cost = tell("recommendation")
    assert [line["scored by"] for line in scores] == [
        "own adapter",
        "another user's adapter",
        "no adapter: base with one head for all",
        "popularity",
        "own adapter and popularity",
    ]
    for line in scores:
        share(line["AUC"])
        share(line["nDCG@10"])
    assert 0.4 < share(scores[2]["AUC"]) < 0.6, "what half of the users like, the others do not"
    assert share(scores[3]["AUC"]) == 0, "without a user, most do not like what the user likes"
    (line,) = cost
    assert (line["films"], line["users"]) == ("28", "4")
    assert float(line["ratio"]) > 0
