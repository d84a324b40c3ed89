import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from registry import AdapterRef, Catalog, open_catalog

Run = Callable[..., Result]
METRICS = {"loss", "accuracy", "f1_macro", "matthews"}


@pytest.fixture
def train(run: Run, base: Path, data: Path) -> Run:
    """Call `hubkit train` on the common data, for an epoch."""

    def call(
        *more: object, source: Path | str = data, where: object = base, status: int = 0
    ) -> Result:
        return run(
            *("train", source, "--base", where, "--task", "sentiment", "--epochs", 1, *more),
            status=status,
        )

    return call


def test_prints_the_version_and_its_validation_metrics(train: Run) -> None:
    result = train("--name", "ada/film")
    lines = result.stdout.splitlines()
    assert lines[0] == "ada/film@1"
    assert {line.split()[0] for line in lines[1:]} == METRICS
    where = re.compile(r" \(reviews\.csv#[0-9a-f]{12}, validation\)$")
    assert all(where.search(line) for line in lines[1:])


def test_is_quiet_on_stderr_in_a_pipe(train: Run) -> None:
    assert train("--name", "film").stderr == ""


def test_json_is_one_document(train: Run, base: Path) -> None:
    document = json.loads(train("--name", "film", "--json").stdout)
    assert document["ref"] == "film@1"
    assert document["task"] == "sentiment"
    assert document["base_model"] == str(base)
    assert {metric["name"] for metric in document["metrics"]} == {
        "loss",
        "accuracy",
        "f1_macro",
        "matthews",
    }


def test_every_option_arrives_in_the_manifest(train: Run, data: Path) -> None:
    train(
        *("--name", "film", "--method", "double_seq_bn", "--bottleneck-size", 3),
        *("--learning-rate", 0.002, "--batch-size", 7, "--max-length", 9, "--patience", 2),
        *("--seed", 5, "--validation", data, "--tag", "en", "--tag", "small"),
        *("--description", "Films", "--warmup", 0.1, "--schedule", "cosine"),
        *("--weight-decay", 0.01, "--gradient-accumulation", 2, "--gradient-checkpointing"),
        *("--class-weights", "positive=2", "--class-weights", "negative=0.5"),
        *("--precision", "no"),
    )
    catalog = open_catalog()
    version = catalog.resolve(AdapterRef.parse("film"))
    manifest = catalog.manifest(version)
    assert (version.method, version.tags, version.description) == (
        "double_seq_bn",
        ("en", "small"),
        "Films",
    )
    assert manifest.method.parameters["bottleneck_size"] == 3
    assert manifest.training is not None
    assert manifest.training.arguments == {
        "epochs": 1,
        "learning_rate": 0.002,
        "batch_size": 7,
        "max_length": 9,
        "patience": 2,
        "seed": 5,
        "gradient_accumulation": 2,
        "gradient_checkpointing": True,
        "report_to": [],
        "schedule": "cosine",
        "warmup": 0.1,
        "weight_decay": 0.01,
        "class_weights": {"positive": 2.0, "negative": 0.5},
        "precision": "no",
    }
    assert manifest.training.examples == 60  # nothing was held out


def test_reads_the_columns_it_is_told(train: Run, tmp_path: Path, data: Path) -> None:
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(data.read_text().replace("text,label", "review,stars", 1))
    result = train(
        *("--name", "film", "--text-column", "review", "--label-column", "stars"), source=renamed
    )
    assert result.stdout.startswith("film@1\n")


def test_missing_base_model(train: Run, tmp_path: Path) -> None:
    where = tmp_path / "absent"
    result = train("--name", "film", where=where, status=1)
    assert result.stderr.startswith(f"Error: The base model {str(where)!r} cannot be loaded: ")
    assert "--base" in result.stderr


def test_bad_name_is_refused_before_training(train: Run) -> None:
    result = train("--name", "no spaces", status=2)
    assert "Invalid value for '--name': An adapter's name is " in result.stderr
    assert result.stderr.endswith("not 'no spaces'.\n")


def test_name_with_a_version_is_refused_before_training(train: Run) -> None:
    result = train("--name", "film@2", status=2)
    assert "expected film, found film@2" in result.stderr


def test_data_without_the_text_column(train: Run, tmp_path: Path) -> None:
    source = _write(tmp_path, "txt,label", "good,a", "bad,b")
    result = train("--name", "film", source=source, status=1)
    assert result.stderr == (
        f"Error: {source} has no column 'text'; it has txt, label. Did you mean txt? "
        "Name it with --column NAME=COLUMN.\n"
    )


def test_a_column_is_named_once_and_belongs_to_the_task_type(train: Run, tmp_path: Path) -> None:
    source = _write(tmp_path, "txt,sense", *["good,a", "bad,b"] * 6)
    columns = ("--column", "text=txt", "--column", "label=sense")
    train("--name", "film", *columns, source=source)
    for more, problem in (
        (("--column", "text=sense"), "'text=sense': expected NAME=COLUMN, once for each name."),
        (("--column", "label"), "'label': expected NAME=COLUMN, once for each name."),
        (("--text-column", "sense"), "The column 'text' is named twice."),
        (("--column", "words=txt"), "has no column 'words'; its columns are text, text_pair, la"),
    ):
        result = train("--name", "film", *columns, *more, source=source, status=2)
        assert problem in " ".join(result.stderr.split()), result.stderr


def test_data_with_one_class(train: Run, tmp_path: Path) -> None:
    source = _write(tmp_path, "text,label", *["good,a"] * 6)
    result = train("--name", "film", source=source, status=1)
    assert result.stderr == (
        "Error: data.csv has only the label 'a'; a classifier needs at least two. "
        "Check --label-column.\n"
    )


def test_data_that_is_not_there(train: Run, tmp_path: Path) -> None:
    result = train("--name", "film", source=tmp_path / "absent.csv", status=1)
    assert "absent.csv does not exist" in result.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [("--epochs", 0), ("--learning-rate", 0), ("--batch-size", -1), ("--method", "ia3")],
)
def test_value_out_of_range_is_a_usage_error(train: Run, option: str, value: object) -> None:
    result = train("--name", "film", option, value, status=2)
    assert f"Invalid value for '{option}'" in result.stderr


def test_lora_is_trained_with_its_own_parameters_and_predicts(train: Run, run: Run) -> None:
    options = ("--method", "lora", "--rank", 2, "--alpha", 4, "--target-module", "key")
    train("--name", "film", *options, "--drop-layers", 0, "--dropout", 0.1)
    catalog = open_catalog()
    version = catalog.resolve(AdapterRef.parse("film"))
    assert catalog.manifest(version).method.model_dump()["parameters"] == {
        "rank": 2,
        "alpha": 4.0,
        "target_modules": ["key"],
        "leave_out": [0],
        "dropout": 0.1,
    }
    files = {path.name for path in catalog.folder(version).iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json"} <= files
    assert run("predict", "film", "good").stdout.split("\t")[0] in ("positive", "negative")


def test_the_trunk_is_cached_where_there_is_one(train: Run) -> None:
    train("--name", "film", "--drop-layers", 0, "--cache-trunk")
    catalog = open_catalog()
    training = catalog.manifest(catalog.resolve(AdapterRef.parse("film"))).training
    assert training is not None
    assert training.arguments["cache_trunk"] == 4_000_000_000
    refused = train("--name", "film", "--cache-trunk", "5MB", status=1)
    assert "encoder.layer.0, the lowest layer of this" in refused.stderr
    assert "Leave --cache-trunk out, or lower layers with --drop-layers." in refused.stderr


def test_a_parameter_of_another_method_is_named(train: Run) -> None:
    result = train("--name", "film", "--rank", 4, status=1)
    assert "The method seq_bn has no parameter 'rank'" in result.stderr


def test_duplicate_tags_are_an_error_without_traceback(train: Run) -> None:
    result = train("--name", "film", "--tag", "en", "--tag", "en", status=1)
    assert "expected no duplicates" in result.stderr


def _write(folder: Path, *rows: str) -> Path:
    path = folder / "data.csv"
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def test_a_name_that_means_something_else_is_taken_only_when_told(
    train: Run, trained: Catalog, other_base: Path
) -> None:
    refused = train("--name", "film", where=other_base, status=1)
    assert "film@1 has the base model" in refused.stderr
    assert "--replace" in refused.stderr
    assert train("--name", "film", "--replace", where=other_base).stdout.startswith("film@2")


def test_a_length_that_leaves_no_room_is_refused_before_training(train: Run) -> None:
    result = train("--name", "film", "--max-length", 2, status=1)
    assert "A row may have 2 tokens, but 2 of them are special ones" in result.stderr
    assert "--max-length" in result.stderr


def test_texts_that_are_cut_off_are_counted(train: Run) -> None:
    result = train("--name", "film", "--max-length", 4)
    assert re.search(r"Note: \d+ of 60 rows have more than 4 tokens", result.stderr)


def test_numbers_are_trained_and_predicted(train: Run, run: Run, tmp_path: Path) -> None:
    rows = [f"{'good ' * number},{number}.5" for number in range(1, 13)]
    source = _write(tmp_path, "text,score", *rows)
    train("--name", "stars", "--task-type", "text-regression", source=source)
    catalog = open_catalog()
    version = catalog.resolve(AdapterRef.parse("stars"))
    assert version.task_type == "text-regression"
    assert [metric.name for metric in version.metrics] == ["pearson", "spearman", "mae", "loss"]
    (found,) = json.loads(run("predict", "stars", "good", "--json").stdout)
    assert isinstance(found["score"], float)
    evaluated = json.loads(run("evaluate", "stars", source, "--json").stdout)
    assert set(evaluated["metrics"]) == {"mae", "pearson", "spearman"}


def test_choices_are_printed_apart(train: Run, run: Run, tmp_path: Path) -> None:
    rows = ["the film,good ball|bad,0", "the plot,a dull plot|great,1"] * 4
    source = _write(tmp_path, "prompt,choices,label", *rows)
    train("--name", "choices", "--task-type", "multiple-choice", source=source)
    given = json.dumps({"prompt": "the", "choices": ["good ball", "bad"]})
    *_, choices = run("predict", "choices", given).stdout.rstrip("\n").split("\t")
    assert json.loads(choices) == ["good ball", "bad"]


def test_an_alpha_that_leaves_nothing_of_an_adapter_is_refused(train: Run) -> None:
    refused = train("--name", "film", "--method", "lora", "--alpha", 0, status=2)
    assert "'--alpha'" in refused.stderr


def test_several_labels_get_a_probability_each(train: Run, run: Run, tmp_path: Path) -> None:
    rows = ["good film,film|good", "bad film,film", "good ball,good", "bad ball,"] * 4
    source = _write(tmp_path, "text,labels", *rows)
    train("--name", "topics", source=source)
    catalog = open_catalog()
    version = catalog.resolve(AdapterRef.parse("topics"))
    manifest = catalog.manifest(version)
    assert manifest.problem_type == "multi_label_classification"
    assert [metric.name for metric in version.metrics] == ["f1_micro", "f1_macro", "loss"]
    (found,) = json.loads(run("predict", "topics", "good film", "--json").stdout)
    assert set(found["scores"]) == {"film", "good"}
    assert found["labels"] == [name for name, score in found["scores"].items() if score >= 0.5]


def test_validation_is_a_file_a_fraction_or_none(train: Run, data: Path) -> None:
    train("--name", "film", "--validation", "0.1")
    assert "validation" in train("--name", "film", "--validation", data).stdout
    result = train("--name", "film", "--validation", "none")
    assert result.stdout.splitlines() == ["film@3"]
    catalog = open_catalog()
    examples = []
    for number in (1, 3):
        version = catalog.resolve(AdapterRef.parse(f"film@{number}"))
        training = catalog.manifest(version).training
        assert training is not None
        examples.append(training.examples)
    assert examples == [54, 60]
    result = train("--name", "film", "--validation", "1.5", status=2)
    assert "expected a file, a fraction over 0 and below 1, or none" in result.stderr


def test_steps_and_several_learning_rates_are_told_by_show(train: Run, run: Run) -> None:
    rates = ("--learning-rate", 1e-2, "--learning-rate", 1e-5)
    train("--name", "film", "--steps", 2, *rates)
    shown = run("show", "film").stdout
    assert " steps=2 " in shown
    assert " learning_rate=0.01 " in shown
    assert "tried={'0.01': " in shown
    assert re.search(
        r"measured on 12 rows that were held out at first, after 2 steps; then all 60 were "
        r"trained on, to the last epoch",
        " ".join(shown.split()),
    )
    refused = train("--name", "film", "--validation", "none", *rates, status=1).stderr
    assert "Name one --learning-rate, or leave --validation out." in refused


def test_what_cannot_be_done_is_told_before_training(train: Run) -> None:
    refused = train("--name", "film", "--report-to", "tensorbord", status=1).stderr
    assert "There is no reporter 'tensorbord'" in refused
    assert "Did you mean tensorboard?" in refused
    refused = train("--name", "film", "--precision", "fp16", status=1).stderr
    assert "needs a GPU, and this machine has none" in refused
    refused = train("--name", "film", "--class-weights", "negativ=2", status=1).stderr
    assert "There is no class 'negativ' to weigh" in refused
    refused = train("--name", "film", "--class-weights", "negative", status=2).stderr
    assert "expected balanced, or LABEL=WEIGHT" in refused


def test_a_reporter_that_is_not_installed_is_told_in_a_sentence(
    train: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubkit.training import progress

    monkeypatch.setattr(progress, "get_available_reporting_integrations", lambda: [])
    refused = train("--name", "film", "--report-to", "tensorboard", status=1).stderr
    assert "Reporting to tensorboard needs the package tensorboard" in refused


def test_each_trains_an_adapter_for_each_value_of_a_column(
    run: Run, base: Path, data: Path, tmp_path: Path
) -> None:
    header, *rows = data.read_text().splitlines()
    ratings, home = tmp_path / "ratings.csv", tmp_path / "home"
    lines = [f"user,{header}", *(f"{('ann', 'bob')[at % 2]},{row}" for at, row in enumerate(rows))]
    ratings.write_text("\n".join([*lines, "eve,the film was good,positive"]) + "\n")

    def train(*more: object, status: int = 0) -> Result:
        return run(
            *("train", ratings, "--base", base, "--task", "liking", "--epochs", 1),
            *("--name", "team/user", "--each", "user", *more),
            status=status,
            HUBKIT_HOME=str(home),
        )

    refused = train(status=1)
    assert "1 of 3 adapters cannot be trained: team/user-eve (" in refused.stderr
    assert refused.stderr.rstrip().endswith("Or leave them out with --skip-unfit.")
    result = train("--skip-unfit", "--together", 1)
    assert "They are left out." in result.stderr
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [
        "team/user-ann@1",
        "team/user-bob@1",
    ]
    document = json.loads(train("--skip-unfit", "--seed", 3, "--json").stdout)
    assert [one["ref"] for one in document] == ["team/user-ann@2", "team/user-bob@2"]
    catalog = open_catalog(home)
    version = catalog.resolve(AdapterRef.parse("team/user-bob"))
    again = catalog.folder(version) / "train.yaml"
    repeated = run("train", "--config", again, ratings, "--json", HUBKIT_HOME=str(home))
    names = [one["ref"].partition("@")[0] for one in json.loads(repeated.stdout)]
    assert names == ["team/user-ann", "team/user-bob"]
    held_out = tmp_path / "later.csv"
    held_out.write_text(ratings.read_text().replace("bob,", "Bob,"))
    result = train("--skip-unfit", "--seed", 3, "--validation", held_out)
    assert "later.csv: 1 of 3 values of 'user' have no rows to train on, such as 'Bob'" in (
        result.stderr
    )


def test_options_of_each_need_it(train: Run) -> None:
    result = train("--name", "film", "--skip-unfit", status=2)
    assert "--together and --skip-unfit are for --each" in result.stderr
