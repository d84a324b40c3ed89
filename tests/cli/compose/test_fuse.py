import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from hubkit import load_composition
from hubkit.adapters.tree import Tree
from hubkit.comparing import bench
from registry import AdapterRef, Catalog, Version
from tests.cli.conftest import write_csv
from tests.support.asking import counting_questions

Run = Callable[..., Result]


@pytest.fixture
def fuse(run: Run, data: Path) -> Run:
    """Call `hubkit fuse` on the common data, for an epoch, to make `both`."""

    def call(*arguments: object, status: int = 0) -> Result:
        return run(
            *("fuse", "--data", data, "--name", "both", "--epochs", 1, *arguments), status=status
        )

    return call


def test_publishes_a_fusion_that_pins_its_parents(fuse: Run, trained: Catalog) -> None:
    assert fuse("film", "book@1").stdout.startswith("both@1\n  ")
    version = trained.resolve(AdapterRef.parse("both"))
    assert (version.kind, version.task) == ("fusion", "sentiment")
    assert [parent.ref for parent in trained.lineage(version).parents] == ["film@1", "book@1"]


def test_an_own_adapter_is_pinned_and_the_settings_that_repeat_it_are_kept(
    fuse: Run, trained: Catalog
) -> None:
    fuse("film", "book", "--own", "joint")
    version = trained.resolve(AdapterRef.parse("both"))
    assert [one.ref for one in trained.lineage(version).parents] == [
        "film@1",
        "book@1",
        "both-own@1",
    ]
    assert "own: joint" in (trained.folder(version) / "train.yaml").read_text()


def test_each_name_is_resolved_once_and_each_manifest_read_once(
    fuse: Run, trained: Catalog
) -> None:
    chosen = [trained.resolve(AdapterRef.parse(name)) for name in ("film", "book")]
    with counting_questions() as asked:
        fuse("film", "book")
    assert (asked.names["film"], asked.names["book"]) == (1, 1)
    assert [asked.digests[version.manifest_digest] for version in chosen] == [1, 1]


def test_json_is_one_document(fuse: Run, trained: Catalog) -> None:
    document = json.loads(fuse("film", "book", "--task", "opinion", "--json").stdout)
    assert (document["ref"], document["kind"], document["task"]) == ("both@1", "fusion", "opinion")


def test_task_is_asked_for_when_the_adapters_differ(
    fuse: Run, publish: Callable[..., Version]
) -> None:
    publish("one", task="sentiment")
    publish("two", task="topic")
    publish("three")
    result = fuse("one", "two", "three", status=2)
    assert "(one: sentiment, two: topic, three: none)" in result.stderr
    assert "--task" in result.stderr


def test_one_adapter_is_not_enough(fuse: Run, trained: Catalog) -> None:
    result = fuse("film", status=1)
    assert result.stderr.startswith("Error: Fuse needs at least two adapters, found 1")


def test_same_adapter_twice(fuse: Run, trained: Catalog) -> None:
    result = fuse("film", "film@1", status=1)
    assert result.stderr == "Error: film@1 is given twice; each part once.\n"


def test_different_base_models(fuse: Run, trained: Catalog, base: Path, other_base: Path) -> None:
    result = fuse("film", "foreign", status=1)
    assert result.stderr.startswith(
        f"Error: film@1 and foreign@1 belong to different base models: {base} (fingerprint "
    )
    assert str(other_base) in result.stderr


def test_unknown_adapter_has_near_matches(fuse: Run, trained: Catalog) -> None:
    result = fuse("film", "boook", status=1)
    assert result.stderr == "Error: No adapter is called boook. Did you mean book?\n"


def test_data_without_the_label_column(run: Run, trained: Catalog, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "data.csv", ["good,1"], header="text,stars")
    result = run("fuse", "film", "book", "--data", source, "--name", "both", status=1)
    assert "has no column 'label'; it has text, stars." in result.stderr


def test_how_a_fusion_is_made_is_recorded_and_repeats_it(fuse: Run, trained: Catalog) -> None:
    options = ("--shared", "--value-init", "random", "--regularization", 0.1, "--temperature", 4)
    fuse("film", "book", *options)
    version = trained.resolve(AdapterRef.parse("both"))
    manifest = trained.manifest(version)
    assert manifest.method.parameters == {"value": True, "shared": True}
    assert manifest.training is not None
    chosen = {"shared": True, "value_init": "random", "regularization": 0.1, "temperature": 4.0}
    assert chosen.items() <= manifest.training.arguments.items()
    said = yaml.safe_load((trained.folder(version) / "train.yaml").read_text())
    assert chosen.items() <= said.items()
    assert "value" not in said
    fuse("film", "book", "--no-value")
    parameters = trained.manifest(trained.resolve(AdapterRef.parse("both"))).method.parameters
    assert parameters == {"value": False}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--no-value", "--regularization", 0.1), "--regularization is about value matrices"),
        (("--temperature", 0), "0 is not in the range x>0"),
        (("--regularization", "nan"), "nan is not a finite number"),
        (("--value-init", "zero"), "'zero' is not one of 'identity', 'random'"),
    ],
)
def test_options_that_make_no_fusion_are_a_wrong_command_line(
    fuse: Run, trained: Catalog, options: tuple[object, ...], message: str
) -> None:
    assert message in " ".join(fuse("film", "book", *options, status=2).stderr.split())


def test_layers_are_left_out_of_the_fusion_and_of_what_it_fuses(
    fuse: Run, run: Run, trained: Catalog
) -> None:
    fuse("film", "book", "--drop-layers", "0")
    version = trained.resolve(AdapterRef.parse("both"))
    manifest = trained.manifest(version)
    assert manifest.method.parameters == {"value": True, "leave_out": [0]}
    loaded = load_composition("both", catalog=trained)
    assert {str(site) for site in Tree.of(loaded).sites} == {"encoder.layer.1.feed_forward"}
    assert run("predict", "both", "good").stdout.split("\t")[0] in ("positive", "negative")
    written = trained.folder(version) / "train.yaml"
    assert "leave_out:\n- 0\n" in written.read_text()


@pytest.mark.parametrize(
    ("layers", "message"),
    [("0-1", "All 2 layers of the base model"), ("1-2", "Layer 2 is to be left out")],
)
def test_layers_that_cannot_be_left_out_are_told_in_one_sentence(
    fuse: Run, trained: Catalog, layers: str, message: str
) -> None:
    assert message in fuse("film", "book", "--drop-layers", layers, status=1).stderr


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained on folds: all contenders are as good as each other."""
    monkeypatch.setattr(
        bench.Bench,
        "measure",
        lambda self, contender, fold, seed, done: bench.Score(
            "accuracy", 0.5, [1.0] * len(fold.test)
        ),
    )


@pytest.mark.usefixtures("measured")
def test_a_comparison_says_first_what_it_shows_of_donors_and_is_shown_in_short(
    fuse: Run, run: Run, trained: Catalog
) -> None:
    printed = fuse("film", "book", "--compare", "--own", "none").stdout
    first, second, *table, ref, _ = printed.split("\n", 11)
    assert first == (
        "Fusing these donors is not shown to help: accuracy 0.5000 is not shown to be better than "
        "the adapter alone with 0.5000 (p = 1.000), and not shown to be better than the control of "
        "random donors with 0.5000 (p = 1.000)."
    )
    assert second.startswith("The winner is the adapter alone")
    assert [line.partition("\t")[0] for line in table] == [
        *("base model", "alone", "film@1", "book@1", "mix", "learned mix", "fusion", "control")
    ]
    assert ref == "both@1"
    shown = run("show", "both").stdout
    assert "\nComparison\n" in shown
    assert first in shown
    assert "6 folds, 1 seed" in shown
    document = json.loads(run("show", "both", "--json").stdout)["comparison"]
    assert (document["winner"], document["outcome"]) == ("alone", "not shown")
    assert (document["verdict"], document["choice"]) == (first, second)


@pytest.mark.usefixtures("measured")
def test_a_comparison_as_json_is_one_document(fuse: Run, trained: Catalog) -> None:
    document = json.loads(fuse("film", "book", "--compare", "--folds", 2, "--json").stdout)
    assert document["version"]["ref"] == "both@1"
    assert document["comparison"]["verdict"].startswith("Fusing these donors is not shown to help")
    assert [row["name"] for row in document["comparison"]["rows"]][-2:] == [
        *("fusion, own before", "control")
    ]


def test_more_folds_than_rows_of_a_class_and_folds_of_nothing_are_refused(
    fuse: Run, trained: Catalog
) -> None:
    result = fuse("film", "book", "--compare", "--folds", 31, status=1)
    assert result.stderr.endswith("fewer than the 31 folds. Ask for another number of --folds.\n")
    assert "are for --compare" in fuse("film", "book", "--seeds", 2, status=2).stderr
    assert "--folds" in fuse("film", "book", "--compare", "--folds", 1, status=2).stderr


def test_the_best_are_fused_where_none_is_named(
    run: Run, trained: Catalog, base: Path, new_data: Path
) -> None:
    given = ("--data", new_data, "--base", base)
    asked = run("fuse", *given, "--auto", 4, "--task", "mood", "--name", "both", "--epochs", 1)
    ranked = run("suggest", *given).stdout.splitlines()
    first = ranked[0].split("\t")[0]
    version = trained.resolve(AdapterRef.parse("both"))
    parents = [parent.ref for parent in trained.lineage(version).parents]
    assert parents[0] == first
    assert sorted(parents) == ["book@1", "film@1"]
    assert version.task == "mood"
    for name in parents:
        assert f"Takes {name}: accuracy " in asked.stderr
    assert "Takes no other" not in asked.stderr  # there is no other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Expected either the adapters to fuse, or --auto"),
        (("film", "book", "--auto", 2, "--base", "b"), "Expected either the adapters to fuse"),
        (("--auto", 2), "with the number of those to choose and --base"),
        (("film", "book", "--base", "b"), "Expected either the adapters to fuse"),
        (("--auto", 2, "--base", "b"), "Say with --task what is to be trained"),
    ],
)
def test_adapters_are_named_or_chosen(
    fuse: Run, arguments: tuple[object, ...], message: str
) -> None:
    assert message in " ".join(fuse(*arguments, status=2).stderr.split())
