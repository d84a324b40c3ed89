import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import hubkit
from hubkit.measuring import intervals
from registry import AdapterRef, Catalog
from tests.cli.conftest import write_csv

Run = Callable[..., Result]

FILM = AdapterRef.parse("film")


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
    assert result.stderr.startswith("Note: reviews.csv holds the rows that film@1 was trained on")


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


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "WHOLES", 20)


@pytest.fixture
def unseen(data: Path, tmp_path: Path) -> Path:
    """As many rows as the adapters were trained on, of the same name, and none of them."""
    path = tmp_path / data.name
    path.write_text(data.read_text().replace("the ", "this "))
    return path


@pytest.mark.usefixtures("few_resamples")
def test_record_keeps_the_metrics_with_intervals_beside_the_version(
    run: Run, trained: Catalog, unseen: Path
) -> None:
    measured = json.loads(run("evaluate", "film", unseen, "--json").stdout)
    before = trained.resolve(FILM)
    document = json.loads(run("evaluate", "film", unseen, "--record", "--json").stdout)
    assert document["metrics"] == measured["metrics"]
    assert document["recorded"] == ["accuracy", "f1_macro", "matthews"]
    first = document["measurements"][0]
    assert (first["metric"], first["rows"], first["split"]) == ("accuracy", 60, "test")
    assert first["low"] <= first["value"] <= first["high"]
    assert document["dataset"] == f"reviews.csv#{first['data_sha256'][:12]}"
    assert trained.resolve(FILM) == before
    shown = json.loads(run("show", "film", "--json").stdout)
    assert shown["measurements"] == document["measurements"]
    again = run("evaluate", "film", unseen, "--record")
    assert "95 % from" in again.stdout
    assert again.stderr == "3 of them were recorded with the same value before.\n"
    assert len(json.loads(run("show", "film", "--json").stdout)["measurements"]) == 3
    text = run("show", "film").stdout
    assert "\nMeasured\n" in text
    assert f"on reviews.csv#{first['data_sha256'][:12]}, test, 60 rows; 20" in text


@pytest.mark.usefixtures("few_resamples")
def test_a_fusion_and_a_stack_are_recorded_too(
    run: Run, trained: Catalog, data: Path, unseen: Path
) -> None:
    run("fuse", "film", "book", "--data", data, "--name", "both", "--task", "s", "--epochs", 1)
    run("stack", "film", "book", "--name", "piled")
    for name in ("both", "piled"):
        run("evaluate", name, unseen, "--record")
        assert len(json.loads(run("show", name, "--json").stdout)["measurements"]) == 3


@pytest.mark.usefixtures("few_resamples")
def test_what_an_adapter_was_trained_on_is_not_recorded(
    run: Run, trained: Catalog, tmp_path: Path, base: Path
) -> None:
    rows = ["good film,positive", "bad film,negative", "dull plot,negative", "great,positive"]
    train = write_csv(tmp_path / "train.csv", rows)
    test = write_csv(tmp_path / "test.csv", rows[:2])
    run(
        *("train", train, "--validation", test, "--base", base),
        *("--task", "s", "--name", "few", "--epochs", 1),
    )
    copy = write_csv(tmp_path / "copy.csv", rows)
    told = "copy.csv holds the rows that few@1 was trained on"
    assert told in run("evaluate", "few", copy, "--record", status=1).stderr
    # A comparison, too, would find such an adapter better than it is.
    assert f"Note: {told}" in run("evaluate", "film", "few", copy, "--paired").stderr
    assert f"Note: {told}" in run("evaluate", "few", copy).stderr
    assert "Note" not in run("evaluate", "few", test).stderr
    assert json.loads(run("show", "few", "--json").stdout)["measurements"] == []


@pytest.mark.usefixtures("few_resamples")
def test_two_adapters_of_other_bases_are_compared_on_the_same_rows(
    run: Run, trained: Catalog, data: Path
) -> None:
    document = json.loads(run("evaluate", "film", "foreign", data, "--paired", "--json").stdout)
    one, other = (
        json.loads(run("evaluate", name, data, "--json").stdout)["metrics"]["accuracy"]
        for name in ("film", "foreign")
    )
    assert (document["first"], document["second"]) == ("film@1", "foreign@1")
    accuracy = document["differences"][0]
    assert (accuracy["first"], accuracy["second"]) == (one, other)
    assert accuracy["test"] == "mcnemar"
    lines = run("evaluate", "film", "foreign", data, "--paired").stdout.splitlines()
    assert lines[0] == "foreign@1 against film@1 on reviews.csv, 60 rows"
    assert "in accuracy" in lines[-1]


@pytest.mark.parametrize("second", ["film", "film@1", "film@best"])
def test_an_adapter_is_not_compared_with_itself(
    second: str, run: Run, trained: Catalog, data: Path
) -> None:
    trained.set_alias(FILM, "best")
    refused = run("evaluate", "film", second, data, "--paired", status=1)
    assert refused.stderr == (
        "Error: film@1 was given twice: an adapter does not differ from itself. Name two that "
        "differ.\n"
    )


@pytest.mark.usefixtures("few_resamples")
def test_what_is_cut_off_is_noted_for_each_of_two_adapters(
    run: Run, trained: Catalog, tmp_path: Path
) -> None:
    rows = [f"{'film ' * 50},positive", "bad,negative", "good,positive"]
    test = write_csv(tmp_path / "test.csv", rows)
    notes = run("evaluate", "film", "book", test, "--paired").stderr.splitlines()
    assert notes == [
        f"Note: 1 of 3 rows are longer than the 32 tokens that {name}@1 reads; the rest of them "
        "is cut off."
        for name in ("film", "book")
    ]


def test_one_adapter_is_measured_and_two_are_compared(run: Run, data: Path) -> None:
    alone = run("evaluate", "film", "book", data, status=2)
    assert "To compare two, add --paired." in alone.stderr
    assert "Expected two adapters" in run("evaluate", "film", data, "--paired", status=2).stderr
    both = run("evaluate", "film", "book", data, "--paired", "--record", status=2)
    assert "--record" in both.stderr
