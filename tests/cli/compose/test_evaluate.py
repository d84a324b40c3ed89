import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

import hubkit
from registry import Catalog
from tests.cli.conftest import write_csv

Run = Callable[..., Result]


def test_measures_what_predict_says(run: Run, trained: Catalog, data: Path) -> None:
    rows = [line.split(",") for line in data.read_text().splitlines()[1:]]
    predictions = hubkit.load("film").predict([text for text, _ in rows])
    right = sum(found.label == label for found, (_, label) in zip(predictions, rows, strict=True))
    document = json.loads(run("evaluate", "film", data, "--json").stdout)
    assert list(document) == ["ref", "dataset", "examples", "metrics"]
    assert document["ref"] == "film@1"
    assert document["dataset"].startswith("reviews.csv#")
    assert document["examples"] == 60
    assert document["metrics"]["accuracy"] == right / 60


def test_prints_a_metric_on_each_line(run: Run, trained: Catalog, data: Path) -> None:
    result = run("evaluate", "film", data)
    first, *metrics = result.stdout.splitlines()
    assert first == "film@1 on reviews.csv, 60 rows"
    assert [line.split()[0] for line in metrics] == [
        "accuracy",
        "f1_macro",
        "matthews",
    ]
    assert result.stderr == ""


def test_unknown_label_has_near_matches(run: Run, trained: Catalog, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "test.csv", ["good,positve", "bad,negative"])
    result = run("evaluate", "film", source, status=1)
    assert result.stderr == (
        "Error: test.csv has the label 'positve' (1 of 2 rows); expected one of 'negative', "
        "'positive'. Did you mean positive?\n"
    )


def test_data_without_the_text_column(run: Run, trained: Catalog, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "test.csv", ["good,positive"], header="review,label")
    result = run("evaluate", "film", source, status=1)
    assert "has no column 'text'; it has review, label." in result.stderr


def test_empty_data(run: Run, trained: Catalog, tmp_path: Path) -> None:
    result = run("evaluate", "film", write_csv(tmp_path / "test.csv", []), status=1)
    assert result.stderr.startswith("Error: ")
    assert "test.csv" in result.stderr
