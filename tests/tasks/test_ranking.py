from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.metrics import ndcg_score, roc_auc_score
from torch import nn
from transformers import TextClassificationPipeline

import hubkit
from hubkit.cli import main
from hubkit.measuring.measure import evaluate
from hubkit.tasks.columns import NotAlignedError, NotExpectedError
from hubkit.tasks.ranking import RANKING as TASK
from hubkit.tasks.ranking import RankingPrediction, candidates
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan
from hubkit.training.data import read_inputs, read_rows
from registry import Catalog
from registry.errors import DataError
from registry.manifest import TextInfo
from tests.support.models import base_folder, tiny_classifier, tokenizer
from tests.support.predicting import predict
from tests.support.whole_way import train_all

PLAN = HeadPlan(1, (), "regression")
ITEMS: list[Any] = [
    ("a film", ["very good", "the plot was bad", "ball"]),
    ("the plot", ["dull"]),
    ("ball", ["great", "a very very dull film", "the ball", "not"]),
]


def rows_of(lists: list[tuple[list[float], list[float]]]) -> tuple[np.ndarray, Rows]:
    """Outputs, and the rows that they are of, from lists of numbers and of grades."""
    outputs = np.array([[n] for numbers, _ in lists for n in numbers], np.float32)
    columns = {
        "query": [f"q{at}" for at in range(len(lists))],
        "candidates": [[f"c{at}" for at in range(len(grades))] for _, grades in lists],
        "relevance": [grades for _, grades in lists],
    }
    return outputs, Rows("r", columns)


def measured(*lists: tuple[list[float], list[float]]) -> dict[str, float]:
    outputs, rows = rows_of(list(lists))
    return TASK.metrics((outputs,), Encoded({}, range(len(outputs))), rows, PLAN)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_scores_are_those_of_the_pipeline_of_transformers(architecture: str) -> None:
    model, token = tiny_classifier(architecture, **PLAN.config()), tokenizer()
    pipeline = TextClassificationPipeline(
        model=model, tokenizer=token, device="cpu", function_to_apply="sigmoid"
    )
    for (query, among), found in zip(ITEMS, predict(TASK, model, token, PLAN, ITEMS), strict=True):
        pairs = [{"text": query, "text_pair": candidate} for candidate in among]
        expected = [answer["score"] for answer in pipeline(pairs)]
        order = sorted(range(len(among)), key=lambda at: -expected[at])
        assert found.indices == tuple(order)
        assert found.candidates == tuple(among[at] for at in order)
        assert found.scores == pytest.approx([expected[at] for at in order], abs=1e-5)


def test_metrics_are_those_of_scikit_learn_for_each_query() -> None:
    draw = np.random.default_rng(0)
    lists = []
    for size in (3, 12, 25, 40):
        grades = draw.choice([0.0, 0.0, 0.0, 0.5, 1.0], size)
        grades[:2] = 0.0, 1.0
        lists.append((draw.normal(size=size).astype(np.float32).tolist(), grades.tolist()))
    found = measured(*lists)
    assert found["ndcg_at_10"] == pytest.approx(
        np.mean([ndcg_score([grades], [numbers], k=10) for numbers, grades in lists])
    )
    assert found["auc"] == pytest.approx(
        np.mean([roc_auc_score(np.array(grades) > 0, numbers) for numbers, grades in lists])
    )
    firsts = []
    for numbers, grades in lists:
        ordered = [grade for _, grade in sorted(zip(numbers, grades, strict=True), reverse=True)]
        firsts.append(1 + next(at for at, grade in enumerate(ordered) if grade))
    assert found["mrr"] == pytest.approx(np.mean([1 / first for first in firsts]))
    assert found["hit_rate_at_10"] == np.mean([first <= 10 for first in firsts])


def test_a_query_without_a_relevant_candidate_counts_as_nothing_found() -> None:
    good = ([2.0, 1.0], [1.0, 0.0])
    assert measured(good) == {"ndcg_at_10": 1, "mrr": 1, "hit_rate_at_10": 1, "auc": 1}
    assert measured(good, ([2.0, 1.0], [0.0, 0.0])) == {
        **{"ndcg_at_10": 0.5, "mrr": 0.5, "hit_rate_at_10": 0.5},
        "auc": 1,  # it has none, and takes no part
    }


def test_a_query_whose_candidates_are_all_relevant_has_no_auc() -> None:
    assert measured(([2.0, 1.0], [1.0, 1.0])) == {"ndcg_at_10": 1, "mrr": 1, "hit_rate_at_10": 1}


def test_a_single_candidate_has_one_order() -> None:
    assert measured(([0.3], [1.0]))["ndcg_at_10"] == 1
    assert measured(([0.3], [0.0]))["ndcg_at_10"] == 0


def test_equal_scores_gain_nothing_from_the_order_of_a_file() -> None:
    first, last = [1.0] + [0.0] * 19, [0.0] * 19 + [1.0]
    found = measured(([0.5] * 20, first))
    assert found == measured(([0.5] * 20, last))
    assert (found["mrr"], found["hit_rate_at_10"], found["auc"]) == (1 / 20, 0, 0.5)


def test_the_loss_is_the_binary_cross_entropy_to_each_relevance() -> None:
    model, token = tiny_classifier(**PLAN.config()), tokenizer()
    columns = {"query": ["a film"], "candidates": [ITEMS[0][1]], "relevance": [[1.0, 0.5, 0.0]]}
    encoded = TASK.encode(token, Rows("r", columns), PLAN, TextInfo())
    batch = TASK.collator(token, model)([encoded.feature(at) for at in range(3)])
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = nn.BCEWithLogitsLoss()(logits, torch.tensor([[1.0], [0.5], [0.0]]))
    loss = TASK.loss(model, batch)
    assert loss is not None
    torch.testing.assert_close(loss, expected)


def test_pairs_are_grouped_by_their_query(tmp_path: Path) -> None:
    source = tmp_path / "ratings.csv"
    source.write_text("user,text,liked\n7,Alien | Horror,0\n9,Alien | Horror,1\n7,Toy Story,1\n")
    columns = {"query": "user", "candidates": "text", "relevance": "liked"}
    rows = read_rows(TASK, source, columns=columns)
    assert rows.columns == {
        "query": ["7", "9"],
        "candidates": [["Alien | Horror", "Toy Story"], ["Alien | Horror"]],
        "relevance": [[0.0, 1.0], [1.0]],
    }
    (items,) = read_inputs(TASK, source, columns={"query": "user", "candidates": "text"})
    assert [item["candidates"] for item in items] == rows["candidates"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"candidates": ["a", "b"], "relevance": [1]}, "found a relevance of 1 for 2"),
        ({"candidates": ["a", "b"], "relevance": [1, -1]}, "expected a relevance from 0"),
        ({"candidates": ["a", "b"], "relevance": [4.5, 2]}, "ratings have to be brought there"),
        ({"candidates": ["a", "a"], "relevance": [1, 0]}, "expected a text, or a list of texts"),
        ({"candidates": [], "relevance": []}, "expected a text, or a list of texts"),
        ({"candidates": "c", "relevance": 1}, "expected each candidate once for a query, found 'c"),
        ({"candidates": "d", "relevance": "good"}, "expected a number"),
    ],
)
def test_rows_that_make_no_sense_are_told_with_their_line(
    tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    source = tmp_path / "r.jsonl"
    good = {"query": "q", "candidates": "c", "relevance": 0}
    source.write_text(f"{json.dumps(good)}\n{json.dumps({'query': 'q', **row})}\n")
    with pytest.raises(DataError, match=f"r.jsonl, line 2: .*{problem}"):
        read_rows(TASK, source)


def test_candidates_of_one_relevance_teach_nothing() -> None:
    with pytest.raises(DataError, match="the relevance 1 for each candidate"):
        TASK.fit_plan(rows_of([([0.0, 0.0], [1.0, 1.0])])[1])


def test_scores_of_training_that_diverged_have_no_ndcg() -> None:
    among, grades = [["a", "b"], ["c", "d"]], [[1.0, 0.0], [0.0, 1.0]]
    rows = Rows("r", {"query": ["p", "q"], "candidates": among, "relevance": grades})
    broken = np.array([[np.nan], [np.nan], [1.0], [2.0]], np.float32)
    found = TASK.metrics((broken,), Encoded({}, [0, 0, 1, 1]), rows, PLAN)
    assert (found["ndcg_at_10"], found["auc"]) == (1.0, 1.0)  # of the other query
    found = TASK.metrics((np.full_like(broken, np.nan),), Encoded({}, [0, 0, 1, 1]), rows, PLAN)
    assert np.isnan(found["ndcg_at_10"])


def tastes() -> Rows:
    """Users who like what is good, and a list of another length for each."""
    words = {"good": 1.0, "bad": 0.0, "great": 1.0, "dull": 0.0}
    queries = ["the", "a", "a film", "the film", "plot", "a plot", "ball", "the ball", "not a"]
    lists = [
        [f"{('film', 'plot', 'ball')[at % 3]} was {word}" for word in words][: 4 - at % 3]
        for at in range(len(queries))
    ]
    grades = [[words[one.split()[-1]] for one in among] for among in lists]
    return Rows("r", {"query": queries, "candidates": lists, "relevance": grades})


def test_the_whole_way(catalog: Catalog, tmp_path: Path) -> None:
    base, rows = base_folder(tmp_path / "base"), tastes()
    for version in train_all(catalog, "ranking", rows, base):
        manifest = catalog.manifest(version)
        assert (manifest.task_type, manifest.labels, manifest.outputs) == ("ranking", (), 1)
        model = hubkit.load(version.ref, catalog=catalog)
        alone = [model.predict([item])[0] for item in ITEMS]
        for one, other in zip(model.predict(ITEMS, batch_size=3), alone, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=1e-5)
        if version.kind in ("adapter", "fusion"):
            known = {metric.name: metric.value for metric in manifest.metrics}
            known.pop("loss")
            assert evaluate(model, rows) == pytest.approx(known, abs=1e-6)


def test_the_command_line_trains_and_predicts_on_pairs(tmp_path: Path) -> None:
    rows, source = tastes(), tmp_path / "r.jsonl"
    source.write_text(
        "\n".join(
            json.dumps({"user": user, "item": item, "liked": grade})
            for user, among, grades in zip(*rows.columns.values(), strict=True)
            for item, grade in zip(among, grades, strict=True)
        )
    )
    columns = ["--column", "query=user", "--column", "candidates=item"]
    train = ["train", source, "--base", base_folder(tmp_path / "base"), "--task-type", "ranking"]
    train += [
        "--column",
        "relevance=liked",
        "--epochs",
        20,
        "--learning-rate",
        0.03,
        "--batch-size",
        2,
    ]
    train += ["--task", "taste", "--name", "taste", "--validation", source, *columns]
    result = CliRunner().invoke(main, [*map(str, train)])
    assert result.exit_code == 0, result.output
    arguments = ["predict", "taste", "--file", str(source), *columns, "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [row["query"] for row in found] == list(rows["query"])
    for row, grades in zip(found, rows["relevance"], strict=True):
        ordered = [grades[at] for at in row["indices"]]
        assert ordered == sorted(grades, reverse=True)


def test_the_rows_of_a_query_are_one_wherever_they_are_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("query,candidates\na,x\nb,y\na,z\n")
    (found,) = read_inputs(TASK, path, size=1)
    assert found == [
        {"query": "a", "candidates": ["x", "z"]},
        {"query": "b", "candidates": ["y"]},
    ]


def test_a_query_of_two_readers_is_two_rows(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("reader,query,candidates\nu,a,x\nv,a,x\nu,,z\nu,a,z\n")
    (found,) = read_inputs(TASK, path, beside="reader")
    assert found == [
        {"query": "a", "candidates": ["x", "z"], "reader": "u"},
        {"query": "a", "candidates": ["x"], "reader": "v"},
        {"query": "", "candidates": ["z"], "reader": "u"},
    ]


def test_a_candidate_that_looks_like_another_of_its_query_is_refused() -> None:
    columns = {"query": ["q", "q"], "candidates": [["a"], ["a "]], "relevance": [[1.0], [0.0]]}
    with pytest.raises(NotAlignedError, match="each candidate once for a query, found 'a ' again"):
        TASK.aligned(columns)


def test_candidates_as_python_prints_a_list_are_refused() -> None:
    assert candidates('["a", "b"]') == ["a", "b"]
    assert candidates("[1] A title") == ["[1] A title"]
    with pytest.raises(NotExpectedError, match="a list in JSON, not as Python prints it"):
        candidates("['a', 'b']")


def test_candidates_with_any_signs_in_them_are_told_apart() -> None:
    among = ("Alien (1979) | Horror", 'a "b", c', "Amélie")
    listed, scores = RankingPrediction(among, (0, 2, 1), (0.9, 0.5, 0.1)).cells()
    assert json.loads(listed) == [*among]
    assert "Amélie" in listed
    assert scores == "0.9000, 0.5000, 0.1000"
