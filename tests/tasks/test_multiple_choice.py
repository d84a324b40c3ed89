from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.metrics import accuracy_score
from torch.nn.functional import cross_entropy
from transformers import AutoModelForMultipleChoice, DataCollatorForMultipleChoice

import hubkit
from hubkit.cli import main
from hubkit.measuring.measure import evaluate
from hubkit.tasks.columns import NotExpectedError
from hubkit.tasks.multiple_choice import MULTIPLE_CHOICE as TASK
from hubkit.tasks.multiple_choice import ChoicePrediction, choices
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan, Options
from hubkit.training.data import read_inputs, read_rows
from hubkit.training.train import train_adapter
from registry import Catalog
from registry.errors import DataError
from registry.manifest import TextInfo
from tests.support.models import base_folder, tiny_model, tokenizer
from tests.support.predicting import predict
from tests.support.whole_way import job, often, train_all

PLAN = HeadPlan()
ITEMS = [
    ("the film was", ["good", "very very bad", "a ball"]),
    ("the plot was not very", ["dull", "great"]),
    ("a", ["ball", "film", "plot", "the very good great film"]),
]


def model_of(architecture: str = "bert") -> Any:
    return tiny_model(architecture, AutoModelForMultipleChoice)


def rows_of(count: int = 24) -> Rows:
    """The good word is the right choice; every third row has a choice less."""
    rows: list[tuple[str, list[str], int]] = []
    for number in range(count):
        right = ("good", "great")[number % 2]
        wrong = ["bad", "dull"][: 1 + (number % 3 > 0)]
        among = [*wrong[: number % 2], right, *wrong[number % 2 :]]
        rows.append((f"the {('film', 'plot')[number % 2]} was", among, among.index(right)))
    names = ("prompt", "choices", "label")
    return Rows("r", {n: list(v) for n, v in zip(names, zip(*rows, strict=True), strict=True)})


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "electra"])
def test_scores_are_those_of_the_stock_model_for_each_row(architecture: str) -> None:
    model, token = model_of(architecture), tokenizer()
    for (prompt, among), found in zip(ITEMS, predict(TASK, model, token, PLAN, ITEMS), strict=True):
        encoded = token([prompt] * len(among), among)
        batch = DataCollatorForMultipleChoice(token)([{**encoded, "labels": 0}])
        with torch.no_grad():
            expected = model(**batch).logits[0].softmax(-1).tolist()
        assert isinstance(found, ChoicePrediction)
        assert list(found.scores) == among
        assert list(found.scores.values()) == pytest.approx(expected, abs=1e-5)
        assert found.index == int(np.argmax(expected))
        assert (found.choice, found.score) == (among[found.index], found.scores[found.choice])


def test_the_loss_is_the_mean_over_rows_of_the_stock_loss_of_each() -> None:
    model, token = model_of(), tokenizer()
    rows = Rows(
        "r",
        {"prompt": [p for p, _ in ITEMS], "choices": [c for _, c in ITEMS], "label": [2, 0, 3]},
    )
    encoded = TASK.encode(token, rows, PLAN, TextInfo())
    features = [encoded.feature(at) for at in range(3)]
    batch = TASK.collator(token, model)(features)
    loss = TASK.loss(model, batch)
    stock = [model(**DataCollatorForMultipleChoice(token)([dict(f)])).loss for f in features]
    assert loss is not None
    torch.testing.assert_close(loss, torch.stack(stock).mean())
    logits = TASK.run(model, batch, Options())[1][0]
    torch.testing.assert_close(loss, cross_entropy(logits, torch.tensor([2, 0, 3])))
    assert logits.isneginf().sum(1).tolist() == [1, 2, 0]
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_accuracy_is_that_of_scikit_learn_over_the_choices_of_each_row() -> None:
    rows = rows_of(30)
    outputs = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    sizes = [len(among) for among in rows["choices"]]
    for row, size in zip(outputs, sizes, strict=True):
        row[size:] = 100.0  # what stands there is no choice of the row
    guessed = [int(row[:size].argmax()) for row, size in zip(outputs, sizes, strict=True)]
    found = TASK.metrics((outputs,), Encoded({}, range(30)), rows, PLAN)
    assert found == {"accuracy": accuracy_score(rows["label"], guessed)}
    assert 0 < found["accuracy"] < 1


@pytest.mark.parametrize(
    ("choices", "labels", "indices"),
    [
        (["a|b|c", "d | e"], ["1", "0"], [1, 0]),
        (["a|b|c", "d | e"], ["b", " e "], [1, 1]),
        (['["x|y", "z"]', "[1] is odd|[2] is even"], ["x|y", "[1] is odd"], [0, 0]),
        (["3|4|5", "0|1"], ["4", "1"], [1, 1]),  # the second is the same choice, either way
        (["0|1", "a|b"], ["1", "0"], [1, 0]),
    ],
)
def test_a_label_is_an_index_or_the_text_of_a_choice(
    tmp_path: Path, choices: list[str], labels: list[str], indices: list[int]
) -> None:
    quoted = ['"' + one.replace('"', '""') + '"' for one in choices]
    lines = [f"p,{among},{label}" for among, label in zip(quoted, labels, strict=True)]
    source = tmp_path / "r.csv"
    source.write_text("\n".join(["prompt,choices,label", *lines]))
    assert list(read_rows(TASK, source)["label"]) == indices


def test_a_number_is_always_an_index(tmp_path: Path) -> None:
    source = tmp_path / "r.jsonl"
    source.write_text(json.dumps({"prompt": "p", "choices": ["3", "2", "1"], "label": 1}))
    assert list(read_rows(TASK, source)["label"]) == [1]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([["a|b", "2"]], r"line 2: expected one of the choices \['a', 'b'\] or its index, found"),
        ([["a|b", "c"]], "line 2: expected one of the choices"),
        ([["a|b", "a"], ["a|b", "1"]], "line 3: the label '1' is the index of a choice, and those"),
        ([["2|1|0", "0"]], "line 2: the label '0' is the text of choice 2 and the index of anoth"),
        ([["a", "0"]], "line 2: expected two choices or more, which look different"),
        ([["a|a", "0"]], "line 2: expected two choices or more"),
        ([["a||b", "0"]], "line 2: expected text in 'choices'"),
    ],
)
def test_labels_and_choices_that_make_no_sense_are_told_with_their_line(
    tmp_path: Path, rows: list[list[str]], problem: str
) -> None:
    source = tmp_path / "r.csv"
    lines = ["prompt,choices,label", *(f"p,{among},{label}" for among, label in rows)]
    source.write_text("\n".join(lines))
    with pytest.raises(DataError, match=rf"r.csv, {problem}"):
        read_rows(TASK, source)


def test_a_row_is_cut_once_however_many_of_its_choices_are() -> None:
    rows = TASK.given([("very " * 40, ["good", "bad", "dull"]), ("a", ["good", "bad"])])
    assert TASK.encode(tokenizer(), rows, PLAN, TextInfo(max_length=9)).cut == 1


def test_the_whole_way(catalog: Catalog, tmp_path: Path) -> None:
    base, rows = base_folder(tmp_path / "base"), rows_of()
    items = [dict(zip(("prompt", "choices"), item, strict=True)) for item in ITEMS]
    for version in train_all(catalog, "multiple-choice", rows, base):
        manifest = catalog.manifest(version)
        assert (manifest.task_type, manifest.labels) == ("multiple-choice", ())
        model = hubkit.load(version.ref, catalog=catalog)
        assert type(model.model).__name__ == "BertForMultipleChoice"
        alone = [model.predict([item])[0] for item in items]
        for one, other in zip(model.predict(items), alone, strict=True):
            assert isinstance(one, ChoicePrediction)
            assert isinstance(other, ChoicePrediction)
            assert one.scores == pytest.approx(other.scores, abs=1e-5)
        if version.kind == "fusion":
            attention = [model.attention(items, batch_size=size) for size in (1, len(items))]
            for site, weights in attention[0].items():  # padding does not count
                assert attention[1][site] == pytest.approx(weights, abs=1e-5)
            read = model.explain(items[0])
            assert [word for word in read.tokens if word == items[0]["prompt"].split()[0]]
            assert read.weights.shape[1] == len(read.tokens)
        if version.kind in ("adapter", "fusion"):
            measured = {metric.name: metric.value for metric in manifest.metrics}
            assert evaluate(model, rows) == pytest.approx(
                {"accuracy": measured["accuracy"]}, abs=1e-6
            )


def test_training_finds_the_choice_that_is_right(catalog: Catalog, tmp_path: Path) -> None:
    from hubkit.training.train import train_adapter

    version = train_adapter(
        catalog,
        often(job("multiple-choice", rows_of(), epochs=3, learning_rate=0.03), 4),
        base=str(base_folder(tmp_path / "base")),
    )
    assert {m.name: m.value for m in version.metrics}["accuracy"] == 1.0


def test_the_command_line_trains_and_predicts(tmp_path: Path) -> None:
    rows = rows_of()
    source = tmp_path / "r.jsonl"
    source.write_text(
        "\n".join(
            json.dumps({"question": p, "choices": c, "label": i})
            for p, c, i in zip(*rows.columns.values(), strict=True)
        )
    )
    arguments = ["--base", base_folder(tmp_path / "base"), "--task-type", "multiple-choice"]
    arguments += ["--column", "prompt=question", "--epochs", 1, "--task", "t", "--name", "c"]
    result = CliRunner().invoke(main, ["train", str(source), *map(str, arguments)])
    assert result.exit_code == 0, result.output
    arguments = ["predict", "c", "--file", str(source), "--column", "prompt=question", "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    (items,) = read_inputs(TASK, source, columns={"prompt": "question"})
    expected = hubkit.load("c").predict(items)
    assert [row["choice"] for row in found] == [
        one.choice for one in expected if isinstance(one, ChoicePrediction)
    ]


@pytest.mark.parametrize("twin", ["sea ", " sea", "se\u0301a", "sea\u200b"])
def test_choices_that_look_alike_are_refused(twin: str) -> None:
    first = "s\u00e9a" if "\u0301" in twin else "sea"
    with pytest.raises(NotExpectedError, match="which look different"):
        choices([first, twin])


def test_logits_end_in_minus_infinity_whatever_stands_in_a_batch(
    catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base")
    train_adapter(catalog, job("multiple-choice", rows_of(6)), base=str(base))
    model = hubkit.load("a", catalog=catalog)
    together, alone = (model.logits(ITEMS, batch_size=size) for size in (3, 1))
    assert torch.isneginf(together).sum(1).tolist() == [1, 2, 0]
    torch.testing.assert_close(alone, together)
