from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import Prepend, Replace, Sequence
from tokenizers.pre_tokenizers import ByteLevel, Metaspace
from tokenizers.processors import ByteLevel as ByteLevelOffsets
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerFast

import hubkit
from hubkit.cli import main
from hubkit.measuring.measure import evaluate
from hubkit.sharing.publish_folder import publish_folder
from hubkit.tasks.columns import NotExpectedError
from hubkit.tasks.question_answering import QUESTION_ANSWERING as TASK
from hubkit.tasks.question_answering import (
    Answer,
    AnswerPrediction,
    AnswersPrediction,
    answer_list,
)
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import HeadPlan
from hubkit.training.data import read_rows
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog, open_catalog
from registry.errors import AdapterError, ArgumentError, DataError, HubkitError, TextLengthError
from registry.manifest import Manifest, TextInfo
from tests.support.models import base_folder, tiny_model, tokenizer
from tests.support.predicting import predict
from tests.support.whole_way import job, often, train_all

PLAN = HeadPlan(2)
FILM = (
    "was the film good",
    "the badabe film was very good, not dull. a great ball and plot",
)
DEED = ("what", "Good-bad ball deed: the plot was a film")
WORDS = ["the", "film", "was", "very", "good", "bad", "dull", "great", "plot", "a", "not", "ball"]

# What the pipeline of transformers 4.57.6, the last that has one, answers with the same model.
STOCK: list[tuple[dict[str, Any], tuple[str, str], list[tuple[str, float, int, int]]]] = [
    ({}, FILM, [("was very good, not dull", 0.0083789, 16, 39)]),
    ({}, DEED, [("a", 0.0245434, 33, 34)]),
    (
        {"top_k": 3},
        FILM,
        [
            ("badabe film was very good, not dull", 0.0117166, 4, 39),
            ("was very good, not dull", 0.0083789, 16, 39),
            ("was very good, not dull. a great ball and", 0.006599, 16, 57),
        ],
    ),
    (
        {"top_k": 3},
        DEED,
        [("a", 0.0245434, 33, 34), ("a film", 0.0223879, 33, 39), ("deed", 0.0121576, 14, 18)],
    ),
    (
        {"top_k": 2, "handle_impossible_answer": True},
        DEED,
        [("a", 0.0245434, 33, 34), ("a film", 0.0223879, 33, 39)],
    ),
    ({"max_answer_length": 2}, FILM, [("badabe", 0.0085714, 4, 10)]),
    (
        {"top_k": 2, "align_to_words": False},
        FILM,
        [
            ("was very good, not dull", 0.0083789, 16, 39),
            ("abe film was very good, not dull", 0.0067944, 7, 39),
        ],
    ),
]


def model_of(architecture: str = "bert", seed: int = 3) -> Any:
    auto_class = AutoModelForQuestionAnswering
    return tiny_model(architecture, auto_class, seed=seed, **PLAN.config())


def facts(prediction: Any) -> list[tuple[str, int, int]]:
    answers = getattr(prediction, "answers", (prediction,))
    return [(one.answer, one.start, one.end) for one in answers]


@pytest.mark.parametrize(("options", "row", "expected"), STOCK)
def test_answers_are_those_of_the_pipeline_of_transformers(
    options: dict[str, Any], row: Any, expected: list[tuple[str, float, int, int]]
) -> None:
    options = {"max_answer_length": 15, **options}
    (found,) = predict(TASK, model_of(), tokenizer(), PLAN, [row], **options)
    assert facts(found) == [(answer, start, end) for answer, _, start, end in expected]
    assert isinstance(found, AnswerPrediction)
    answers = found.answers if isinstance(found, AnswersPrediction) else (found,)
    scores = [one.score for one in answers]
    assert scores == pytest.approx([score for _, score, _, _ in expected], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_the_most_probable_pairs_of_tokens(seed: int) -> None:
    model, token = model_of(seed=seed), tokenizer()
    question, context = "was it good", " ".join(WORDS)  # each word is a token
    both = token(question, context, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**both)
    inside = list(range(5, 5 + len(WORDS)))
    usable = [0, *inside]
    start = torch.softmax(outputs.start_logits[0, usable], 0)[1:]
    end = torch.softmax(outputs.end_logits[0, usable], 0)[1:]
    none = 1.0
    for logits in (outputs.start_logits, outputs.end_logits):
        none *= float(torch.softmax(logits[0, usable], 0)[0])
    pairs = [
        (float(start[i] * end[j]), " ".join(WORDS[i : j + 1]))
        for i in range(len(WORDS))
        for j in range(i, min(i + 4, len(WORDS)))
    ]
    expected = sorted([*pairs, (none, "")], reverse=True)[:5]
    options = {"top_k": 5, "max_answer_length": 4, "handle_impossible_answer": True}
    (found,) = predict(TASK, model, token, PLAN, [(question, context)], **options)
    assert isinstance(found, AnswersPrediction)
    assert [one.answer for one in found.answers] == [answer for _, answer in expected]
    scores = [one.score for one in found.answers]
    assert scores == pytest.approx([score for score, _ in expected], abs=1e-5)
    assert found.score == found.answers[0].score


ARCHITECTURES = ["bert", "roberta", "distilbert", "xlm-roberta", "electra", "deberta-v2", "mpnet"]
OTHERS = ["modernbert", "gpt2", "llama", "mistral", "qwen2", "qwen3", "t5", "mt5", "bart", "mbart"]


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *OTHERS])
def test_a_batch_says_what_each_row_says_alone(architecture: str) -> None:
    start = {"decoder_start_token_id": 0} if architecture in ("t5", "mt5") else {}
    auto_class = AutoModelForQuestionAnswering
    model, token = tiny_model(architecture, auto_class, **PLAN.config(), **start), tokenizer()
    rows = [FILM, DEED, ("good", "a plot")]
    together = predict(TASK, model, token, PLAN, rows, top_k=2)
    for row, found in zip(rows, together, strict=True):
        (alone,) = predict(TASK, model, token, PLAN, [row], top_k=2)
        assert facts(found) == facts(alone)


ROW = {
    "question": "was it good",
    "context": " ".join(WORDS),
    "answers": {"text": ["bad dull"], "answer_start": [23]},
}


def rows_of(*rows: dict[str, Any]) -> Rows:
    return Rows("r", {name: [row[name] for row in rows] for name in ROW})


@pytest.mark.parametrize("stride", [0, 1, 3, 9])
def test_each_window_has_the_question_and_learns_its_part_of_the_answer(stride: int) -> None:
    token, rows = tokenizer(), rows_of(ROW, {**ROW, "answers": answer_list([])})
    encoded = TASK.encode(token, rows, PLAN, TextInfo(max_length=11, stride=stride))
    question = token("was it good", add_special_tokens=False)["input_ids"]
    answer = token("bad dull", add_special_tokens=False)["input_ids"]
    read, whole = set(), 0
    for index, row in enumerate(encoded.row_of):
        feature = encoded.feature(index)
        ids = feature["input_ids"]
        assert ids[1:4] == question
        assert len(ids) <= 11
        read |= set(ids[5:-1])
        learned = ids[feature["start_positions"] : feature["end_positions"] + 1]
        inside = " ".join(map(str, answer)) in " ".join(map(str, ids[5:-1])) and row == 0
        assert learned == (answer if inside else [token.cls_token_id])
        whole += inside
    assert read == set(token(" ".join(WORDS), add_special_tokens=False)["input_ids"])
    assert whole or stride < 2


def test_an_answer_in_two_windows_counts_once_by_its_best() -> None:
    token, rows = tokenizer(), rows_of(ROW)
    encoded = TASK.encode(token, rows, PLAN, TextInfo(max_length=11, stride=3))
    great = token.convert_tokens_to_ids("great")
    ids = encoded.features["input_ids"]
    first, second = (window for window in range(len(encoded)) if great in ids[window])
    logits = np.zeros((len(encoded), 11, 2), np.float32)
    logits[first, ids[first].index(great)] = 9.0
    logits[second, ids[second].index(great)] = 4.0
    options = TASK.options_of({"align_to_words": False})
    (found,) = TASK.predictions((logits,), encoded, rows, PLAN, options)
    best = (np.exp(9) / (np.exp(9) + 5)) ** 2  # of five tokens and none of them
    assert found == AnswerPrediction("great", pytest.approx(best), 32, 37)


def test_there_is_no_answer_where_each_window_says_so() -> None:
    token, rows = tokenizer(), rows_of(ROW)
    encoded = TASK.encode(token, rows, PLAN, TextInfo(max_length=11, stride=0))
    logits = np.zeros((3, 11, 2), np.float32)
    logits[:, 0] = 9.0
    options = TASK.options_of({"handle_impossible_answer": True})
    (found,) = TASK.predictions((logits,), encoded, rows, PLAN, options)
    least = (np.exp(9) / (np.exp(9) + 5)) ** 2  # the last window has two tokens
    assert found == AnswerPrediction("", pytest.approx(least), 0, 0)
    logits[1, 6] = 12.0
    (found,) = TASK.predictions((logits,), encoded, rows, PLAN, options)
    assert isinstance(found, AnswerPrediction)
    assert found.answer == WORDS[6]


def test_space_around_an_answer_is_none_of_it() -> None:
    row = {**ROW, "answers": {"text": [" bad dull "], "answer_start": [22]}}
    TASK.check_row(row)
    encoded = TASK.encode(tokenizer(), rows_of(row, ROW), PLAN, TextInfo())
    for name in ("start_positions", "end_positions"):
        assert encoded.features[name][0] == encoded.features[name][1]


# What transformers 4.57.6 counts for these (data.metrics.squad_metrics, of SQuAD 2.0's script).
SQUAD: list[tuple[str, list[str], float, float]] = [
    ("great plot", ["great plot"], 1.0, 1.0),
    ("The Great  plot!", ["great plot", "plot"], 1.0, 1.0),
    ("great", ["the great plot"], 0.0, 2 / 3),
    ("very very good", ["very good very bad"], 0.0, 6 / 7),
    ("theater", ["a theater, an act"], 0.0, 2 / 3),
    ("dull", ["great", "the dull ball"], 0.0, 2 / 3),
    ("", [], 1.0, 1.0),
    ("plot", [], 0.0, 0.0),
    ("the", ["a"], 1.0, 1.0),
    ("", ["plot"], 0.0, 0.0),
    ("caf\u00e9 d'or", ["Caf\u00e9 dor"], 1.0, 1.0),
]


@pytest.mark.parametrize(("guess", "golds", "exact", "f1"), SQUAD)
def test_metrics_are_those_of_squad(
    monkeypatch: pytest.MonkeyPatch, guess: str, golds: list[str], exact: float, f1: float
) -> None:
    answered = [AnswerPrediction(guess, 1.0, 0, 0)]
    monkeypatch.setattr(TASK, "predictions", lambda *given: answered)
    answers = {"text": golds, "answer_start": [0] * len(golds)}
    rows = Rows("r", {"question": ["q"], "context": ["c"], "answers": [answers]})
    encoded = TASK.encode(tokenizer(), TASK.given([("q", "c")]), PLAN, TextInfo())
    found = TASK.metrics((np.zeros((1, 1, 2)),), encoded, rows, PLAN)
    assert found == pytest.approx({"exact_match": exact, "f1": f1})


def test_metrics_take_no_answer_only_where_some_rows_have_none() -> None:
    none = {**ROW, "answers": answer_list([])}
    token = tokenizer()
    for rows, expected in ((rows_of(ROW), 0.0), (rows_of(none, ROW), 0.5)):
        encoded = TASK.encode(token, rows, PLAN, TextInfo())
        logits = np.zeros((len(rows), 17, 2), np.float32)
        logits[:, 0] = 9.0
        logits[:, 12] = 1.0
        assert TASK.metrics((logits,), encoded, rows, PLAN)["exact_match"] == expected


def reader(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer that knows parts of words, and cuts texts as models of a kind do."""
    space = "\u0120" if kind.startswith("bytes") else "\u2581"
    parts = ["Ada", "Love", "lace", "wrote", "it", "in", "Rome", ",", ".", "who", "(", ")"]
    letters = ["\u6771", "\u4eac", "\u90fd"]
    pieces = [(part, -2.0) for one in parts for part in (one, space + one)]
    known = [("<unk>", 0.0), ("<s>", 0.0), (space, -4.0), *((one, -3.0) for one in letters)]
    backend = Tokenizer(Unigram([*known, *pieces], unk_id=0))
    if kind == "whole text":  # Llama 2: nothing cuts the text before the model does
        backend.normalizer = Sequence([Prepend(space), Replace(" ", space)])
    elif kind == "metaspace":
        backend.pre_tokenizer = Metaspace(space)
    else:
        backend.pre_tokenizer = ByteLevel(add_prefix_space=True)
        backend.post_processor = ByteLevelOffsets(trim_offsets=kind == "bytes, trimmed")
    if not kind.startswith("bytes"):
        backend.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", pad_token="<unk>"
    )


TOLD = "Ada Lovelace wrote it, in (Rome)."
KINDS = ["whole text", "metaspace", "bytes", "bytes, trimmed"]


def pointing(token: Any, rows: Rows, parts: list[str], **limits: int) -> tuple[Any, Any]:
    """Rows as they are encoded, and outputs that point to a part of each context."""
    encoded = TASK.encode(token, rows, PLAN, TextInfo(**limits))
    width = max(map(len, encoded.features["input_ids"]))
    logits = np.zeros((len(encoded), width, 2), np.float32)
    for window, row in enumerate(encoded.row_of):
        encoding, part = encoded.beside["encoding"][window], parts[row]
        start = rows["context"][row].index(part)
        for at, (low, high) in enumerate(encoding.offsets):
            if encoding.sequence_ids[at] == 1 and low < high:
                logits[window, at, 0] += 20.0 * (low <= start < high)
                logits[window, at, 1] += 20.0 * (low < start + len(part) <= high)
    return encoded, logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("part", "word"), [("lace", "Lovelace"), ("Love", "Lovelace"), ("Ada", "Ada"), ("in", "in")]
)
def test_an_answer_is_a_word_whatever_the_tokenizer_takes_for_one(
    kind: str, part: str, word: str
) -> None:
    row = {"question": "who", "context": TOLD, "answers": answer_list([])}
    row["answers"] = {"text": [word], "answer_start": [TOLD.index(word)]}
    rows = rows_of(row)
    encoded, logits = pointing(reader(kind), rows, [part])
    (found,) = TASK.predictions((logits,), encoded, rows, PLAN, TASK.options())
    assert facts(found) == [(word, TOLD.index(word), TOLD.index(word) + len(word))]
    assert TASK.metrics((logits,), encoded, rows, PLAN) == {"f1": 1.0, "exact_match": 1.0}
    cut = TASK.options_of({"align_to_words": False})
    (found,) = TASK.predictions((logits,), encoded, rows, PLAN, cut)
    assert isinstance(found, AnswerPrediction)
    assert found.answer == part


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_is_whole_also_where_a_window_cuts_it(kind: str) -> None:
    token, answers = reader(kind), {"text": ["Lovelace"], "answer_start": [4]}
    rows = rows_of({"question": "who", "context": TOLD, "answers": answers})
    first = token("who", "Ada Love").encodings[0]
    encoded, logits = pointing(token, rows, ["Love"], max_length=len(first), stride=0)
    assert "lace" not in encoded.beside["encoding"][0].tokens
    (found,) = TASK.predictions((logits,), encoded, rows, PLAN, TASK.options())
    assert facts(found) == [("Lovelace", 4, 12)]


def test_a_token_is_a_word_in_a_script_without_spaces() -> None:
    rows = rows_of({"question": "who", "context": "\u6771\u4eac\u90fd", "answers": answer_list([])})
    encoded, logits = pointing(reader("whole text"), rows, ["\u4eac"])
    (found,) = TASK.predictions((logits,), encoded, rows, PLAN, TASK.options())
    assert facts(found) == [("\u4eac", 1, 2)]


def test_whether_there_may_be_no_answer_is_known_from_training(
    catalog: Catalog, tmp_path: Path
) -> None:
    base, rows = str(base_folder(tmp_path / "base")), learnable()
    some = [at for at, answers in enumerate(rows["answers"]) if answers["text"]]
    answered = Rows("r", {name: [rows[name][at] for at in some] for name in ROW})
    for name, data, none in (("some", rows, True), ("all", answered, False)):
        version = train_adapter(catalog, job("question-answering", data, name), base=base)
        manifest = catalog.manifest(version)
        assert manifest.text is not None
        assert manifest.text.no_answer is none
        model = hubkit.load(version.ref, catalog=catalog)
        assert model.plan.no_answer is none
        items = list(zip(rows["question"], rows["context"], strict=True))
        told = model.predict(items, handle_impossible_answer=none)
        assert model.predict(items) == told
        exact = [
            facts(one)[0][0] in (answers["text"] or [""])
            for one, answers in zip(told, rows["answers"], strict=True)
        ]
        assert evaluate(model, rows)["exact_match"] == pytest.approx(np.mean(exact))


def test_answers_are_read_in_each_form_of_squad() -> None:
    expected = {"text": ["a", "b"], "answer_start": [0, 3]}
    assert answer_list(expected) == expected
    assert answer_list('{"text": ["a", "b"], "answer_start": [0, 3]}') == expected
    assert answer_list({name: np.array(values) for name, values in expected.items()}) == expected
    assert answer_list([{"text": "a", "answer_start": 0}, {"text": "b", "answer_start": 3}]) == (
        expected
    )
    assert answer_list([]) == answer_list({"text": [], "answer_start": []})


@pytest.mark.parametrize(
    "value",
    [
        None,
        "x",
        3,
        ["a"],
        {"text": ["a"]},
        {"text": ["a"], "answer_start": []},
        {"text": "a", "answer_start": 0},
        {"text": [""], "answer_start": [0]},
        {"text": ["a"], "answer_start": [-1]},
        {"text": ["a"], "answer_start": ["0"]},
        [{"text": "a"}],
    ],
)
def test_answers_of_another_form_are_refused(value: Any) -> None:
    with pytest.raises(NotExpectedError, match="answers"):
        answer_list(value)


def test_an_answer_that_is_not_where_it_says_is_refused() -> None:
    row = {**ROW, "answers": {"text": ["film", "bad dull"], "answer_start": [4, 24]}}
    with pytest.raises(NotExpectedError, match=r"'bad dull' at character 24 .* stands at 23"):
        TASK.check_row(row)
    row["answers"] = {"text": ["filmed"], "answer_start": [4]}
    with pytest.raises(NotExpectedError, match=r"found 'film w'; it is not in there"):
        TASK.check_row(row)


def test_rows_without_any_answer_are_refused() -> None:
    with pytest.raises(DataError, match="r has no answer to any question"):
        TASK.fit_plan(rows_of({**ROW, "answers": answer_list([])}))


def test_a_question_that_fills_the_window_is_refused() -> None:
    rows = TASK.given([("good", "a plot"), (" ".join(WORDS), "a plot")])
    with pytest.raises(TextLengthError, match=r"A window has 15 .* a row begins.*'the film was"):
        TASK.encode(tokenizer(), rows, PLAN, TextInfo(max_length=15, stride=3))
    encoded = TASK.encode(tokenizer(), rows, PLAN, TextInfo(max_length=16, stride=3))
    assert list(encoded.row_of) == [0, 1, 1]


@pytest.mark.parametrize("context", ["", " "])
def test_an_empty_context_has_no_answer(context: str) -> None:
    (found,) = predict(TASK, model_of(), tokenizer(), PLAN, [("good", context)])
    assert found == AnswerPrediction("", 1.0, 0, 0)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"top_k": 0}, DataError),
        ({"top_k": True}, ArgumentError),
        ({"max_answer_length": 0}, DataError),
        ({"handle_impossible_answer": 1}, ArgumentError),
        ({"align_to_words": None}, ArgumentError),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], error: type[HubkitError]
) -> None:
    with pytest.raises(error, match=f"{min(options)} must be"):
        TASK.options_of(options)


def test_a_head_with_other_outputs_is_refused() -> None:
    with pytest.raises(AdapterError, match="has two outputs; this one has 3"):
        TASK.plan_of(Manifest.model_construct(outputs=3))


THINGS, JUDGED = ("film", "plot", "ball"), ("good", "bad", "dull", "great")


def learnable(count: int = 20) -> Rows:
    """Rows whose answer is a word that says how good something was; each fifth has none."""
    rows = []
    for row in range(count):
        thing, judged = THINGS[row % 3], JUDGED[row % 4] if row % 5 else "not"
        context = f"the {thing} was {'very ' * (row % 2)}{judged}"
        answers = [{"text": judged, "answer_start": context.index(judged)}] if row % 5 else []
        rows.append({"question": "was it", "context": context, "answers": answer_list(answers)})
    return Rows("films.json", {name: [row[name] for row in rows] for name in ROW})


def test_the_whole_way(catalog: Catalog, tmp_path: Path) -> None:
    base, rows = base_folder(tmp_path / "base"), learnable()
    items = list(zip(rows["question"], rows["context"], strict=True))
    for version in train_all(catalog, "question-answering", rows, base):
        manifest = catalog.manifest(version)
        assert (manifest.task_type, manifest.labels) == ("question-answering", ())
        assert manifest.outputs == 2
        assert manifest.text is not None
        found = manifest.text
        assert (found.max_length, found.stride, found.pair) == (24, 12, "only_second")
        model = hubkit.load(version.ref, catalog=catalog)
        assert type(model.model).__name__ == "BertForQuestionAnswering"
        answers = model.predict(items, handle_impossible_answer=True, top_k=2)
        expected = predict(
            *(TASK, model.model, tokenizer(), PLAN, items),
            **{"handle_impossible_answer": True, "top_k": 2},
        )
        assert [facts(one) for one in answers] == [facts(one) for one in expected]
        if version.kind in ("adapter", "fusion"):
            measured = {metric.name: metric.value for metric in manifest.metrics}
            found_metrics = evaluate(model, rows)
            assert found_metrics.keys() == {"f1", "exact_match"}
            assert found_metrics == pytest.approx({n: measured[n] for n in found_metrics})


def test_twenty_rows_are_learned_by_heart(catalog: Catalog, tmp_path: Path) -> None:
    rows = learnable()
    settings = {"epochs": 5, "learning_rate": 0.03}
    version = train_adapter(
        catalog,
        often(job("question-answering", rows, **settings), 5),
        base=str(base_folder(tmp_path / "base")),
        bottleneck_size=16,
    )
    assert {m.name: m.value for m in version.metrics}["exact_match"] == 1.0
    model = hubkit.load(version.ref, catalog=catalog)
    assert evaluate(model, rows) == {"f1": 1.0, "exact_match": 1.0}
    (found,) = model.predict([("was it", "the ball was very dull")])
    assert facts(found) == [("dull", 18, 22)]
    (found,) = model.predict([("was it", "the film was not")], handle_impossible_answer=True)
    assert facts(found) == [("", 0, 0)]


def test_the_command_line_reads_the_files_of_squad(tmp_path: Path) -> None:
    rows, source = learnable(), tmp_path / "squad.json"
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": str(number),
                    "question": question,
                    "is_impossible": not answers["text"],
                    "answers": [
                        {"text": text, "answer_start": start}
                        for text, start in zip(*answers.values(), strict=True)
                    ],
                }
            ],
        }
        for number, (question, context, answers) in enumerate(
            zip(*(rows[name] for name in ROW), strict=True)
        )
    ]
    document = {"version": "v2.0", "data": [{"title": "Films", "paragraphs": paragraphs}]}
    source.write_text(json.dumps(document, indent=1))
    base = base_folder(tmp_path / "base")

    def call(*arguments: object, status: int = 0) -> Any:
        result = CliRunner().invoke(main, [*map(str, arguments)])
        assert result.exit_code == status, result.output
        return result

    what = ("--base", base, "--task", "squad", "--task-type", "question-answering")
    call("train", source, *what, "--name", "qa", "--epochs", 1)
    assert read_rows(TASK, source).sha256 == rows.sha256
    text = open_catalog().manifest(open_catalog().resolve(AdapterRef.parse("qa"))).text
    assert text is not None
    assert (text.max_length, text.stride) == (32, 16)  # as many tokens as the tokenizer takes
    measured = json.loads(call("evaluate", "qa", source, "--json").stdout)["metrics"]
    model = hubkit.load("qa")
    assert measured == pytest.approx(evaluate(model, rows))
    found = json.loads(call("predict", "qa", "--file", source, "--json").stdout)
    expected = model.predict(list(zip(rows["question"], rows["context"], strict=True)))
    assert [(row["answer"], row["start"]) for row in found] == [
        (one.answer, one.start) for one in expected if isinstance(one, AnswerPrediction)
    ]
    paragraphs[2]["qas"][0]["answers"][0]["answer_start"] = 1
    source.write_text(json.dumps(document))
    told = call("train", source, *what, "--name", "other", status=1).stderr
    assert "squad.json, article 1, paragraph 3, question 1: expected the answer 'dull'" in told
    assert "it stands at 13" in told


# PEFT asks transformers by a name that is to go.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_folder_of_peft_predicts(catalog: Catalog, tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    model = AutoModelForQuestionAnswering.from_pretrained(base)
    config = peft.LoraConfig(task_type="QUESTION_ANS", r=2, target_modules=["query"])
    adapted = peft.get_peft_model(model, config).eval()
    for index, parameter in enumerate(p for p in adapted.parameters() if p.requires_grad):
        with torch.no_grad():
            parameter.normal_(generator=torch.Generator().manual_seed(index))
    adapted.save_pretrained(tmp_path / "saved")
    publish_folder(catalog, tmp_path / "saved", AdapterRef.parse("qa"), task="qa")
    found = hubkit.load("qa", catalog=catalog).predict([FILM, DEED], top_k=3)
    merged = adapted.merge_and_unload()
    expected = predict(TASK, merged, tokenizer(), PLAN, [FILM, DEED], top_k=3)
    assert [facts(one) for one in found] == [facts(one) for one in expected]


def test_answers_with_any_signs_in_them_are_told_apart() -> None:
    answers = (Answer("a | b", 0.5, 0, 5), Answer("", 0.2, 0, 0))
    texts, scores = AnswersPrediction("a | b", 0.5, 0, 5, answers).cells()
    assert json.loads(texts) == ["a | b", ""]
    assert scores == "0.5000, 0.2000"
