from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import peft
import pytest
import torch
from click.testing import CliRunner
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from transformers import AutoModelForTokenClassification, TokenClassificationPipeline

import hubkit
from hubkit.cli import main
from hubkit.inference import shortened
from hubkit.measuring.measure import evaluate
from hubkit.sharing.publish_folder import publish_folder
from hubkit.tasks.columns import NotExpectedError
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan, Outputs
from hubkit.tasks.tokens.entities import Aggregation
from hubkit.tasks.tokens.token_classification import TOKEN_CLASSIFICATION as TASK
from hubkit.tasks.tokens.token_classification import EntitiesPrediction, TagsPrediction
from hubkit.training.data import read_rows
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog
from registry.errors import (
    AdapterError,
    ArgumentError,
    DataError,
    LabelError,
    MissingColumnError,
    SingleLabelError,
    TextLengthError,
)
from registry.manifest import TextInfo
from tests.support.models import base_folder, tiny_model, tokenizer
from tests.support.predicting import predict
from tests.support.whole_way import job, often, train_all
from tests.tasks.tokens.conftest import facts, span

PLAN = HeadPlan(5, ("B-LOC", "B-PER", "I-LOC", "I-PER", "O"))
PLAIN = HeadPlan(4, ("ADJ", "DET", "NOUN", "VERB"))
# Words of one sub-token, of several, unknown ones, capitals, punctuation, and no space.
TEXTS = [
    "The film was good, very good!",
    "a badabe ball deed",
    "GOODB dull",
    "the",
    "the plot: not-a-ball (bad)",
    "xyz unknown goodj a",
]


def model_of(plan: HeadPlan, architecture: str = "bert", seed: int = 0) -> Any:
    auto_class = AutoModelForTokenClassification
    return tiny_model(architecture, auto_class, seed=seed, **plan.config())


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words:UserWarning")
@pytest.mark.parametrize("aggregation", get_args(Aggregation))
@pytest.mark.parametrize("plan", [PLAN, PLAIN], ids=["chunks", "plain"])
@pytest.mark.parametrize("words", [False, True], ids=["texts", "tokens"])
def test_entities_are_those_of_the_pipeline_of_transformers(
    aggregation: str, plan: HeadPlan, words: bool
) -> None:
    token = tokenizer()
    items: list[Any] = [text.split() if words else text for text in TEXTS]
    if words:  # the pipeline takes what punctuation separates for words of their own
        items = [[part.strip("!,:()") for part in item if "-" not in part] for item in items]
    several = 0
    for seed in range(2):
        model = model_of(plan, seed=seed)
        pipeline = TokenClassificationPipeline(
            model=model, tokenizer=token, aggregation_strategy=aggregation, device="cpu"
        )
        found = predict(TASK, model, token, plan, items, aggregation=aggregation)
        for item, one in zip(items, found, strict=True):
            how = {"is_split_into_words": True} if words else {}
            expected = pipeline([item], **how)[0]
            kind = "entity" if aggregation == "none" else "entity_group"
            assert facts(one) == [(e[kind], e["start"], e["end"]) for e in expected]
            assert isinstance(one, EntitiesPrediction)
            scores = [entity.score for entity in one.entities]
            assert scores == pytest.approx([e["score"] for e in expected], abs=1e-5)
            whole = " ".join(item) if words else item
            assert all(e.text == whole[e.start : e.end] for e in one.entities)
            several += len(expected) > 1
    assert several


ARCHITECTURES = ["bert", "roberta", "distilbert", "xlm-roberta", "electra", "deberta-v2", "mpnet"]
DECODERS = ["gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma"]


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "modernbert", *DECODERS, "t5", "mt5"])
def test_a_batch_says_what_each_text_says_alone(architecture: str) -> None:
    model, token = model_of(PLAN, architecture), tokenizer()
    together = predict(TASK, model, token, PLAN, TEXTS, aggregation="none")
    assert sum(len(one.entities) for one in together)  # type: ignore[attr-defined]
    for text, found in zip(TEXTS, together, strict=True):
        (alone,) = predict(TASK, model, token, PLAN, [text], aggregation="none")
        assert facts(found) == facts(alone)


def outputs_of(encoded: Encoded, model: Any) -> Outputs:
    batch = TASK.collator(tokenizer(), model)([encoded.feature(i) for i in range(len(encoded))])
    batch.pop("labels", None)
    with torch.no_grad():
        return (model(**batch).logits.numpy(),)


@pytest.mark.parametrize("stride", [0, 1, 3])
def test_a_long_row_is_read_in_windows_that_lose_no_token(stride: int) -> None:
    tokens = ["the", "film", "badabe", "was", "dull", "deed", "a", "great", "plot", "goodbad"]
    tags = ["O", "B-PER", "I-PER", "O", "B-LOC", "I-LOC", "I-LOC", "O", "B-PER", "O"]
    rows = Rows("r", {"tokens": [tokens, ["a"], tokens[:3]], "tags": [tags, ["O"], tags[:3]]})
    info, token = TextInfo(max_length=7, stride=stride), tokenizer()
    encoded = TASK.encode(token, rows, PLAN, info)
    pieces = [token(" ".join(row), add_special_tokens=False)["input_ids"] for row in rows["tokens"]]
    read: dict[int, dict[int, int]] = {0: {}, 1: {}, 2: {}}
    learned: dict[int, dict[int, int]] = {0: {}, 1: {}, 2: {}}
    for index, row in enumerate(encoded.row_of):
        ids, first = encoded.features["input_ids"][index], encoded.beside["first"][index]
        assert len(ids) <= 7
        for at, (piece, label) in enumerate(
            zip(ids[1:-1], encoded.features["labels"][index][1:-1], strict=True)
        ):
            assert read[row].setdefault(first + at, piece) == piece
            assert learned[row].setdefault(first + at, label) == label
    assert [list(dict(sorted(found.items())).values()) for found in read.values()] == pieces
    assert encoded.row_of.count(0) > 2  # type: ignore[attr-defined]
    starts = np.cumsum([0] + [len(token.tokenize(word)) for word in tokens[:-1]])
    assert [PLAN.labels[learned[0][start]] for start in starts] == tags
    assert sum(label != -100 for label in learned[0].values()) == len(tags)


def test_the_window_with_most_text_around_a_token_says_what_it_is() -> None:
    row = Rows("r", {"text": ["the film was very good bad dull great plot a not ball"]})
    info = TextInfo(max_length=8, stride=4)  # windows of the tokens 0 to 5, 2 to 7, and so on
    encoded = TASK.encode(tokenizer(), row, PLAN, info)
    assert encoded.beside["first"] == [0, 2, 4, 6]
    # Each window says of all its tokens the tag with its own number.
    logits = np.zeros((4, 8, 5), np.float32)
    for window in range(4):
        logits[window, :, window] = 9.0
    (found,) = TASK.predictions(
        (logits,), encoded, row, PLAN, TASK.options_of({"aggregation": "none"})
    )
    assert [one[0] for one in facts(found)] == [
        *(["B-LOC"] * 4),  # 0 and 1 stand in no other; of 2 and 3, the text begins in the first
        *(["B-PER"] * 2),
        *(["I-LOC"] * 2),
        *(["I-PER"] * 4),
    ]


def test_long_and_short_texts_agree_where_windows_see_everything() -> None:
    model, text = model_of(PLAN), "the film was very good bad dull great plot a not ball"
    rows = Rows("r", {"text": [text]})
    for length in (14, 32):
        encoded = TASK.encode(tokenizer(), rows, PLAN, TextInfo(max_length=length, stride=2))
        assert len(encoded) == 1
        outputs = outputs_of(encoded, model)
        (found,) = TASK.predictions(outputs, encoded, rows, PLAN, TASK.options())
        assert facts(found) == facts(predict(TASK, model, tokenizer(), PLAN, [text])[0])


def test_metrics_are_those_of_seqeval() -> None:
    draw = np.random.default_rng(0)
    tokens = [[("film", "badabe", "GOODB", "a")[i] for i in draw.integers(0, 4, 9)] for _ in "1234"]
    tags = [[PLAN.labels[i] for i in draw.integers(0, 5, 9)] for _ in tokens]
    rows = Rows("r", {"tokens": tokens, "tags": tags})
    encoded = TASK.encode(tokenizer(), rows, PLAN, TextInfo())
    labels = encoded.features["labels"]
    logits = draw.normal(size=(4, max(map(len, labels)), 5)).astype(np.float32)
    # The way of transformers' run_ner: what is labelled, in order.
    kept = [np.array(row) != -100 for row in labels]
    guessed = [
        [PLAN.labels[i] for i in logits[n, : len(row)].argmax(-1)[row]]
        for n, row in enumerate(kept)
    ]
    assert TASK.metrics((logits,), encoded, rows, PLAN) == pytest.approx(
        {
            "f1": f1_score(tags, guessed),
            "precision": precision_score(tags, guessed),
            "recall": recall_score(tags, guessed),
            "accuracy": accuracy_score(tags, guessed),
        }
    )
    found = TASK.predictions((logits,), encoded, rows, PLAN, TASK.options())
    assert [list(one.tags) for one in found] == guessed  # type: ignore[attr-defined]


def test_tags_that_are_no_chunks_have_an_accuracy_alone() -> None:
    rows = Rows("r", {"tokens": [["the", "film"]], "tags": [["DET", "NOUN"]]})
    encoded = TASK.encode(tokenizer(), rows, PLAIN, TextInfo())
    logits = np.zeros((1, 4, 4), np.float32)
    logits[0, 1:3, 1] = 1
    assert TASK.metrics((logits,), encoded, rows, PLAIN) == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("plan", "tags", "labels", "expected"),
    [
        (PLAIN, ["DET", "NOUN"], list(PLAIN.labels), [1, 2]),
        (PLAN, ["B-PER", "I-PER"], ["LOC", "PER", "O"], [1, 1]),
    ],
)
def test_the_picture_shows_which_kinds_of_entities_are_confused(
    plan: HeadPlan,
    tags: list[str],
    labels: list[str],
    expected: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("hubkit.plots.confusion_matrix", lambda *given: drawn.append(given) or b"p")
    rows = Rows("r", {"tokens": [["the", "film"]], "tags": [tags]})
    encoded = TASK.encode(tokenizer(), rows, plan, TextInfo())
    logits = np.zeros((1, 4, len(plan.labels)), np.float32)
    logits[0, 1:3, 0] = 1
    assert TASK.pictures(plan)["confusion.png"]((logits,), encoded, rows) == b"p"
    assert drawn == [(labels, expected, [0, 0])]


def test_a_token_that_the_tokenizer_leaves_out_is_outside() -> None:
    model, items = model_of(PLAN), [["the", "\u200b", "film"], ["\u200b"], []]
    found = predict(TASK, model, tokenizer(), PLAN, items)
    assert [len(one.tags) for one in found if isinstance(one, TagsPrediction)] == [3, 1, 0]
    assert found[0].tags[1] == found[1].tags[0] == "O"  # type: ignore[attr-defined]
    assert found[1] == TagsPrediction((), ("O",))
    assert found[2] == TagsPrediction((), ())


@pytest.mark.parametrize("text", ["", " \n "])
def test_an_empty_text_has_no_entities(text: str) -> None:
    assert predict(TASK, model_of(PLAN), tokenizer(), PLAN, [text]) == [EntitiesPrediction(())]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a"], "tags": []}, "a tag for each token, found 0 tags, 1 tokens"),
        ({"text": "a b", "tags": ["O"]}, "found text with tags"),
        ({"tokens": ["a"], "spans": []}, "found tokens with spans"),
        ({"text": "a b", "spans": [span(2, 4)]}, "inside of the text of 3 .* A from 2 to 4"),
        ({"text": "abc", "spans": [span(0, 2), span(1, 3)]}, "do not overlap, found A from 1"),
        ({"text": "a  b", "spans": [span(1, 3)]}, "spans of text, found A from 1 to 3, .* empty"),
        ({"text": "ab", "spans": [span(0, 1, "O")]}, "spans of entities alone"),
    ],
)
def test_columns_that_do_not_fit_each_other_are_refused(row: Any, message: str) -> None:
    with pytest.raises(NotExpectedError, match=message):
        TASK.check_row(row)


def test_tags_that_training_never_saw_are_refused() -> None:
    rows = Rows("r.conll", {"tokens": [["a", "b"]], "tags": [["B-PRE", "O"]]})
    with pytest.raises(LabelError, match=r"r.conll has the tag 'B-PRE' .* Did you mean B-PER"):
        TASK.check(rows, PLAN)
    with pytest.raises(LabelError, match="'B-X'"):
        TASK.check(Rows("r", {"text": ["a"], "spans": [[span(0, 1, "X")]]}), PLAN)


def test_rows_with_nothing_to_tell_apart_are_refused() -> None:
    with pytest.raises(SingleLabelError, match="no tag but 'O'"):
        TASK.fit_plan(Rows("r", {"tokens": [["a"]], "tags": [["O"]]}))
    with pytest.raises(SingleLabelError, match="no span in any row"):
        TASK.fit_plan(Rows("r", {"text": ["a"], "spans": [[]]}))


def test_what_is_neither_a_text_nor_tokens_is_refused() -> None:
    with pytest.raises(DataError, match=r"Row 2 is 3 \(int\); expected a Unicode text, or a list"):
        TASK.given(["a", 3])
    with pytest.raises(DataError, match="Some rows are texts, and some are lists"):
        TASK.given(["a", ["b"]])
    assert TASK.given([{"text": "a"}]).columns == {"text": ["a"]}
    assert TASK.given([{"tokens": ["a"]}]).columns == {"tokens": [["a"]]}
    with pytest.raises(
        ArgumentError, match=r"aggregation must be 'none', .*, not 'frist' .*Did you mean first"
    ):
        TASK.options_of({"aggregation": "frist"})


def test_a_window_without_room_for_text_is_refused() -> None:
    with pytest.raises(TextLengthError, match="A window has 2 tokens, and 2 of them are taken"):
        TASK.encode(tokenizer(), TASK.given(["a"]), PLAN, TextInfo(max_length=2))


THINGS, JUDGED = ("film", "plot", "ball"), ("good", "bad", "dull", "great")


def learnable(count: int = 20) -> Rows:
    """Rows in which a word says its tag, and the word before it whether that begins."""
    tokens, tags = [], []
    for row in range(count):
        thing, judged = THINGS[row % 3], JUDGED[row % 4]
        very = ["very"] * (row % 2)
        tokens.append(["the", thing, "was", *very, judged])
        tags.append(["O", "B-THING", "O", *["B-WORD"] * len(very), "IB"[not very] + "-WORD"])
    return Rows("films.conll", {"tokens": tokens, "tags": tags})


def test_the_whole_way(catalog: Catalog, tmp_path: Path) -> None:
    base, rows = base_folder(tmp_path / "base"), learnable()
    for version in train_all(catalog, "token-classification", rows, base):
        manifest = catalog.manifest(version)
        assert manifest.task_type == "token-classification"
        assert manifest.labels == ("B-THING", "B-WORD", "I-THING", "I-WORD", "O")
        assert manifest.text is not None
        assert (manifest.text.max_length, manifest.text.stride) == (24, 6)
        model = hubkit.load(version.ref, catalog=catalog)
        assert type(model.model).__name__ == "BertForTokenClassification"
        texts = [" ".join(row) for row in rows["tokens"]]
        pipeline = TokenClassificationPipeline(
            model=model.model, tokenizer=tokenizer(), aggregation_strategy="first", device="cpu"
        )
        for found, expected in zip(model.predict(texts), pipeline(texts), strict=True):
            places = [(e["entity_group"], e["start"], e["end"]) for e in expected]
            assert facts(found) == places
        with pytest.raises(AdapterError, match="whose head gives no vector for a row"):
            model.logits(texts)
        if version.kind in ("adapter", "fusion"):
            measured = {metric.name: metric.value for metric in manifest.metrics}
            found_metrics = evaluate(model, rows)
            assert found_metrics.keys() == {"f1", "precision", "recall", "accuracy"}
            assert found_metrics == pytest.approx({n: measured[n] for n in found_metrics})


@pytest.mark.parametrize("form", ["tokens", "spans", "windows"])
def test_twenty_rows_are_learned_by_heart(catalog: Catalog, tmp_path: Path, form: str) -> None:
    rows = learnable()
    if form == "spans":
        whole = [" ".join(row) for row in rows["tokens"]]
        spans = [
            [
                span(text.index(thing), text.index(thing) + len(thing), "THING")
                for thing in THINGS
                if thing in text
            ]
            for text in whole
        ]
        rows = Rows("films.jsonl", {"text": whole, "spans": spans})
    if form == "windows":  # rows of 90 words
        tokens = [word for row in rows["tokens"] for word in row]
        tags = ["B-THING" if word in THINGS else "O" for word in tokens]
        rows = Rows("long.conll", {"tokens": [tokens] * 6, "tags": [tags] * 6})
    settings = {"epochs": 5, "learning_rate": 0.03, "max_length": 20}
    version = train_adapter(
        catalog,
        often(job("token-classification", rows, **settings), 5),
        base=str(base_folder(tmp_path / "base")),
        bottleneck_size=16,
    )
    assert {m.name: m.value for m in version.metrics}["f1"] == 1.0
    model = hubkit.load(version.ref, catalog=catalog)
    assert evaluate(model, rows)["f1"] == 1.0
    if form != "windows":
        assert ("THING", 4, 8) in facts(model.predict(["the plot was bad"])[0])
        return
    (found,) = model.predict([rows["tokens"][0]])
    assert isinstance(found, TagsPrediction)
    assert list(found.tags) == rows["tags"][0]


def test_the_command_line_trains_evaluates_and_predicts(tmp_path: Path) -> None:
    source, rows = tmp_path / "films.conll", learnable()
    source.write_text(
        "\n\n".join(
            "\n".join(f"{token} {tag}" for token, tag in zip(*row, strict=True))
            for row in zip(rows["tokens"], rows["tags"], strict=True)
        )
    )
    base = base_folder(tmp_path / "base")

    def call(*arguments: object, status: int = 0) -> Any:
        result = CliRunner().invoke(main, [*map(str, arguments)])
        assert result.exit_code == status, result.output
        return result

    what = ("--base", base, "--task", "ner", "--task-type", "token-classification")
    call("train", source, *what, "--name", "ner", "--epochs", 1)
    measured = json.loads(call("evaluate", "ner", source, "--json").stdout)["metrics"]
    model = hubkit.load("ner")
    assert measured == pytest.approx(evaluate(model, read_rows(TASK, source)))
    found = json.loads(call("predict", "ner", "--file", source, "--json").stdout)
    expected = model.predict(rows["tokens"])
    assert [row["tags"] for row in found] == [
        list(one.tags) for one in expected if isinstance(one, TagsPrediction)
    ]
    assert call("predict", "ner", "the film was good").stdout.rstrip().endswith("the film was good")
    source.write_text("film B-THING\nwas O\n\nball X-THING\n")
    told = call("evaluate", "ner", source, status=1).stderr
    assert "films.conll has the tag 'X-THING' (1 times in 2 rows); expected one of" in told


def test_places_of_wrong_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    right = {"tokens": ["a", "b"], "tags": ["O", "B-X"]}
    path.write_text("\n".join(map(json.dumps, [right, {**right, "tags": ["O"]}])))
    with pytest.raises(DataError, match=r"r.jsonl, line 2: expected a tag for each token, found 1"):
        read_rows(TASK, path)
    path = tmp_path / "r.csv"
    path.write_text("words,tags\nthe film,O B-THING\na plot,O\n")
    with pytest.raises(DataError, match=r"r.csv, line 3: expected a tag for each token"):
        read_rows(TASK, path, columns={"tokens": "words"})
    with pytest.raises(MissingColumnError, match="no column 'tokens'; it has words, tags"):
        read_rows(TASK, path)


@pytest.mark.parametrize(
    ("text", "start", "end", "part", "message"),
    [
        ("Ada wrote", 0, 3, "Bob", "found 'Ada'; it is not in there"),
        ("Ada wrote", 1, 4, "Ada", "found 'da '; it stands at 0"),
        ("\U0001f600 Ada", 3, 6, "Ada", "'da'; it stands at 2; 3 is its place in units of UTF-16"),
        ("\u00e9\u00e9 Ada", 5, 8, "Ada", "it stands at 3; 5 is its place in bytes of UTF-8"),
        ("Ada wrote", 0, 3, 7, "'7' as the text of X from 0 to 3, found 'Ada'"),
    ],
)
def test_a_span_stands_where_its_text_does(
    text: str, start: int, end: int, part: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    right = {"text": "Ada wrote", "spans": [{"start": 0, "end": 3, "label": "X", "text": "Ada"}]}
    wrong = [{"start": start, "end": end, "label": "X", "text": part}]
    lines = [right, {"text": text, "spans": wrong}]
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match=rf"r.jsonl, line 2: expected .*{message}"):
        read_rows(TASK, path)
    path.write_text(json.dumps(right))
    without = [{"start": 0, "end": 3, "label": "X"}]
    assert read_rows(TASK, path)["spans"] == [without]


def test_a_row_with_tokens_tags_and_their_text_is_read_by_its_tokens(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"text": "a b", "tokens": ["a", "b"], "tags": ["O", "B-X"]}))
    assert read_rows(TASK, path).columns == {"tokens": [["a", "b"]], "tags": [["O", "B-X"]]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": [0, "1"]}, "labels of one type"),
        ({"tokens": ["a", " "], "tags": ["O", "B-X"]}, "tokens that are not spaces"),
    ],
)
def test_tokens_and_tags_say_something_of_one_kind(
    row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match=f"line 1: expected {message}"):
        read_rows(TASK, tmp_path / "r.jsonl")


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        (["B-X", "O"], ("B-X", "I-X", "O")),
        (["I-X", "O"], ("B-X", "I-X", "O")),
        (["B-X", "S-X"], ("B-X", "S-X")),
        (["NOUN", "O"], ("NOUN", "O")),
    ],
)
def test_a_kind_of_entity_may_have_one_word_here_and_several_there(
    tags: list[str], labels: tuple[str, ...]
) -> None:
    rows = Rows("rows", {"tokens": [["a", "b"]], "tags": [tags]})
    plan = TASK.fit_plan(rows)
    assert plan.labels == labels
    if "I-X" in labels:
        TASK.check(Rows("others", {"tokens": [["a", "b"]], "tags": [["B-X", "I-X"]]}), plan)


# PEFT asks transformers by a name that is to go.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_folder_of_peft_predicts(catalog: Catalog, tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=3)
    config = peft.LoraConfig(task_type="TOKEN_CLS", r=2, target_modules=["query"])
    adapted = peft.get_peft_model(model, config).eval()
    for index, parameter in enumerate(p for p in adapted.parameters() if p.requires_grad):
        with torch.no_grad():
            parameter.normal_(generator=torch.Generator().manual_seed(index))
    adapted.save_pretrained(tmp_path / "saved")
    labels = ("B-A", "I-A", "O")
    publish_folder(catalog, tmp_path / "saved", AdapterRef.parse("ner"), task="ner", labels=labels)
    model.config.id2label = dict(enumerate(labels))
    pipeline = TokenClassificationPipeline(
        model=adapted.merge_and_unload(), tokenizer=tokenizer(), aggregation_strategy="simple"
    )
    found = hubkit.load("ner", catalog=catalog).predict(TEXTS, aggregation="simple")
    for one, expected in zip(found, pipeline(TEXTS), strict=True):
        assert facts(one) == [(e["entity_group"], e["start"], e["end"]) for e in expected]


def test_windows_of_another_length_share_as_much_as_suits_it() -> None:
    rows = TASK.given([" ".join(["good"] * 60)])
    info = shortened(TextInfo(max_length=128, stride=32), 10)
    assert len(TASK.encode(tokenizer(), rows, PLAN, info)) == 10  # of 8 tokens, 2 of them shared
