from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

import hubkit
from hubkit import AdaptedModel
from hubkit.nn.hooks import SUBMODULE
from hubkit.predicting.many import ManyAdapters, load_many
from hubkit.sharing.publish_folder import publish_folder
from hubkit.tasks.rows import Rows
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog
from registry.errors import AdapterError, ArgumentError, DataError, UnsupportedModelError
from tests.support.data import TEXTS
from tests.support.language import language_base
from tests.support.learned import publish_learned
from tests.support.models import base_folder, randomize, tokenizer
from tests.support.whole_way import job as task_job

pytest_plugins = ("tests.support.published",)

MANY = 24


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A registry with many adapters: two methods, and heads of two, three and four labels."""
    from registry import open_catalog

    folder = tmp_path_factory.mktemp("many")
    catalog = open_catalog(folder / "home")
    for number in range(MANY):
        labels = 2 + number % 3
        torch.manual_seed(number)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
        model.config.id2label = {at: f"{number}-{at}" for at in range(labels)}
        model.config.label2id = {f"{number}-{at}": at for at in range(labels)}
        method = ("seq_bn", "lora")[number % 2]
        hubkit.insert_adapter(model, "a", method=method)
        trained = [p for p in model.parameters() if p.requires_grad]
        randomize(torch.nn.ParameterList(trained), number)
        hubkit.save_adapter(model, "a", folder / f"a{number}")
        name = AdapterRef.parse(f"a{number}")
        publish_folder(catalog, folder / f"a{number}", name, task=f"task-{number}")
    return folder / "home"


@pytest.fixture(scope="module")
def many_catalog(home: Path) -> Catalog:
    from registry import open_catalog

    return open_catalog(home)


@pytest.fixture(scope="module")
def many(many_catalog: Catalog, base: Path) -> ManyAdapters:
    return load_many(str(base), [f"a{number}" for number in range(MANY)], catalog=many_catalog)


def test_each_row_has_the_answer_of_its_adapter_alone(
    many: ManyAdapters, many_catalog: Catalog
) -> None:
    names = [f"a{(7 * row) % MANY}" for row in range(2 * MANY)]
    texts = [TEXTS[row % len(TEXTS)] for row in range(2 * MANY)]
    found = many.predict(texts, adapter=names, batch_size=16)
    assert len({one.label for one in found}) > MANY / 2  # type: ignore[attr-defined]
    for name in ("a0", "a1", "a2", "a17"):
        alone: AdaptedModel = hubkit.load(name, catalog=many_catalog)
        rows = [row for row, other in enumerate(names) if other == name]
        for row, expected in zip(rows, alone.predict([texts[row] for row in rows]), strict=True):
            one = found[row]
            assert one.label == expected.label  # type: ignore[attr-defined]
            assert one.scores == pytest.approx(expected.scores, abs=1e-5)  # type: ignore[attr-defined]


def test_the_base_model_computes_in_another_dtype_and_adapters_in_their_own(
    many_catalog: Catalog, base: Path
) -> None:
    names = [f"a{row}" for row in range(8)]
    texts = [TEXTS[row % len(TEXTS)] for row in range(8)]
    half = load_many(str(base), names, dtype="bfloat16", catalog=many_catalog)
    backbone = half.model.get_input_embeddings().weight
    adapters = half.model.get_submodule(SUBMODULE)
    assert backbone.dtype == torch.bfloat16
    assert {one.dtype for one in adapters.parameters()} == {torch.float32}
    for name, text, one in zip(names, texts, half.predict(texts, adapter=names), strict=True):
        alone = hubkit.load(name, dtype="bfloat16", catalog=many_catalog)
        (expected,) = alone.predict([text])
        assert one.scores == pytest.approx(expected.scores, abs=0.02)  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedModelError, match="not in 'int8'"):
        load_many(str(base), names, dtype="int8", catalog=many_catalog)


def test_batches_and_order_change_no_answer(many: ManyAdapters) -> None:
    names = [f"a{row}" for row in range(9)]
    texts = [TEXTS[row % len(TEXTS)] for row in range(9)]
    expected = many.predict(texts, adapter=names, batch_size=1)
    backwards = many.predict(iter(texts[::-1]), adapter=names[::-1], batch_size=4)[::-1]
    for one, other in zip(expected, backwards, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)  # type: ignore[attr-defined]


def test_the_base_model_is_as_it_was_afterwards(many: ManyAdapters) -> None:
    before = {name: tensor.clone() for name, tensor in many.model.state_dict().items()}
    many.predict(TEXTS, adapter=["a0", "a1", "a2", "a3"])
    after = many.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert "forward" not in vars(many.model.base_model)


def test_rows_without_a_known_adapter_are_refused(many: ManyAdapters) -> None:
    with pytest.raises(DataError, match="Row 2 asks for 'a-1', which is not among the 24"):
        many.predict(TEXTS[:2], adapter=["a0", "a-1"])
    with pytest.raises(DataError, match="There are 2 rows, but adapters for 1"):
        many.predict(TEXTS[:2], adapter=["a0"])
    with pytest.raises(ArgumentError, match="adapter must be an iterable, not"):
        many.predict(TEXTS, adapter="a0")


def test_adapters_trained_here_answer_as_alone(trained_catalog: Catalog, base: Path) -> None:
    publish_learned(trained_catalog, "mixed", vectors=True)
    many = load_many(str(base), ["a", "both", "b", "mixed"], catalog=trained_catalog)
    names = ["a", "both", "b", "mixed"]
    found = many.predict(TEXTS, adapter=names)
    for name, text, one in zip(names, TEXTS, found, strict=True):
        (expected,) = hubkit.load(name, catalog=trained_catalog).predict([text])
        assert one.scores == pytest.approx(expected.scores, abs=1e-5)  # type: ignore[attr-defined]


ROWS_OF_OTHER_TASKS: dict[str, dict[str, list[Any]]] = {
    "ranking": {
        "query": ["film", "plot", "film"],
        "candidates": [
            ["good film", "a very bad film", "the ball"],
            ["dull plot", "the plot was very very good"],
            ["bad film", "great plot", "the film", "a ball"],
        ],
        "relevance": [[1.0, 0.0, 1.0], [0.0, 1.0], [0.0, 1.0, 1.0, 0.0]],
    },
    "question-answering": {
        "question": ["film", "plot", "ball"],
        "context": ["the film was good", "a very dull plot", "the ball was not bad"],
        "answers": [
            {"text": ["good"], "answer_start": [13]},
            {"text": ["dull"], "answer_start": [7]},
            {"text": ["not bad"], "answer_start": [13]},
        ],
    },
}


@pytest.mark.parametrize("task", ROWS_OF_OTHER_TASKS)
def test_rows_of_several_features_have_the_answer_of_their_adapter_alone(
    empty_catalog: Catalog, tmp_path: Path, task: str
) -> None:
    base = language_base(tmp_path / "base", "bert", AutoModel)
    rows = Rows("rows.csv", ROWS_OF_OTHER_TASKS[task])
    for number, name in enumerate(("a", "b")):
        how = task_job(task, rows, name, epochs=1, seed=number)
        train_adapter(empty_catalog, how, base=str(base))
    many = load_many(str(base), ["a", "b"], catalog=empty_catalog)
    asked = [name for name in rows.columns if name not in ("relevance", "answers")]
    given = list(zip(*(rows[name] for name in asked), strict=True))
    texts, names = [*given, *given], ["a", "b", "a", "b", "a", "b"]
    found = many.predict(texts, adapter=names, batch_size=4)
    assert found[0] != found[3], "one row, two adapters"
    for text, name, one in zip(texts, names, found, strict=True):
        (expected,) = hubkit.load(name, catalog=empty_catalog).predict([text])
        mine, alone = asdict(one), asdict(expected)
        for field in ("score", "scores"):
            assert mine.pop(field, ()) == pytest.approx(alone.pop(field, ()), abs=1e-5)
        assert mine == alone


def test_what_takes_more_than_a_pass_is_refused(empty_catalog: Catalog, tmp_path: Path) -> None:
    base = language_base(tmp_path / "base", "bert", AutoModel)
    columns = {"prompt": ["film", "plot"], "choices": [["good", "bad"]] * 2, "label": [0, 1]}
    rows = Rows("rows.csv", columns)
    train_adapter(empty_catalog, task_job("multiple-choice", rows), base=str(base))
    with pytest.raises(AdapterError, match=r"multiple-choice; expected one whose answers .* pass"):
        load_many(str(base), ["a"], catalog=empty_catalog)


def test_each_adapter_reads_as_much_of_a_text_as_alone(
    empty_catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base", max_position_embeddings=64)  # the tokenizer says 32
    for name, most in (("short", 8), ("long", 60)):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        hubkit.insert_adapter(model, "a", bottleneck_size=4)
        trained = [p for p in model.parameters() if p.requires_grad]
        randomize(torch.nn.ParameterList(trained), 1)
        own = tokenizer()
        own.model_max_length = most
        hubkit.save_adapter(model, "a", tmp_path / name, tokenizer=own)
        ref = AdapterRef.parse(name)
        publish_folder(empty_catalog, tmp_path / name, ref, task="test")
    many = load_many(str(base), ["short", "long"], catalog=empty_catalog)
    text = "the film was " * 10 + "very bad dull great good " * 5
    for name in ("short", "long"):
        (expected,) = hubkit.load(name, catalog=empty_catalog).predict([text])
        (found,) = many.predict([text], [name])
        assert found.scores == pytest.approx(expected.scores, abs=1e-5)  # type: ignore[attr-defined]


def test_a_table_gives_no_rows(many: ManyAdapters) -> None:
    for texts in (pandas.DataFrame({"text": ["good"], "other": ["bad"]}), "good"):
        with pytest.raises(DataError, match="Expected an iterable of texts"):
            many.predict(texts, adapter=["a0", "a1"])  # type: ignore[arg-type]
