import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result

import hubkit
from registry import AdapterRef, Catalog, Version, open_catalog

Run = Callable[..., Result]
Publish = Callable[..., Version]
TEXTS = ["the film was good", "a dull plot"]


def test_a_mix_predicts_what_the_weighted_sum_gives(run: Run, trained: Catalog) -> None:
    run("mix", "film", "book", "--weight", "0.3", "--weight", "0.7", "--name", "both")
    book = hubkit.load("book")
    both: Any = hubkit.load("both").composition
    assert (both.weights, [str(part) for part in both.parts]) == ((0.3, 0.7), ["film", "book"])
    before = book.logits(TEXTS)
    mixed = hubkit.load("both").logits(TEXTS)
    assert not torch.equal(mixed, before)
    for weights, name in (((1.0, 0.0), "film"), ((0.0, 1.0), "book")):
        run("mix", "film", "book", *_weights(weights), "--name", f"only-{name}")
    torch.testing.assert_close(hubkit.load("only-book").logits(TEXTS), before)


def test_without_weights_they_are_equal(run: Run, trained: Catalog) -> None:
    document = json.loads(run("mix", "film", "book", "--name", "both", "--json").stdout)
    assert (document["ref"], document["kind"]) == ("both@1", "mix")
    version = trained.resolve(AdapterRef.parse("both"))
    assert trained.manifest(version).method.parameters == {"weights": [0.5, 0.5]}
    assert [parent.ref for parent in trained.lineage(version).parents] == ["film@1", "book@1"]


@pytest.mark.parametrize(
    ("weights", "message", "status"),
    [
        ((1.0,), "Each part has a weight: expected 2, found 1", 1),
        ((1.0, float("nan")), "nan is not a finite number", 2),
    ],
)
def test_bad_weights_publish_nothing(
    run: Run, publish: Publish, weights: tuple[float, ...], message: str, status: int
) -> None:
    publish("german")
    publish("film")
    result = run("mix", "german", "film", *_weights(weights), "--name", "both", status=status)
    assert message in result.stderr
    with pytest.raises(hubkit.HubkitError):
        open_catalog().resolve(AdapterRef.parse("both"))


def test_weights_are_learned_from_data_and_the_record_repeats_it(
    run: Run, trained: Catalog, data: Path, tmp_path: Path
) -> None:
    learn = ("mix", "film", "book", "--data", data, "--epochs", 2, "--name", "both")
    run(*learn, "--vectors", "--dropout", 0.3)
    version = trained.resolve(AdapterRef.parse("both"))
    manifest = trained.manifest(version)
    assert (version.kind, version.task) == ("mix", "sentiment")
    assert manifest.method.parameters == {"learned": "vectors"}
    assert manifest.training is not None
    assert {"vectors": True, "dropout": 0.3}.items() <= manifest.training.arguments.items()
    both = hubkit.load("both")
    assert isinstance(both.composition, hubkit.LearnedMix)
    assert sorted(both.labels) == ["negative", "positive"]
    (tmp_path / "train.yaml").write_bytes((trained.folder(version) / "train.yaml").read_bytes())
    run("mix", "--config", tmp_path / "train.yaml", "--name", "again", "film@1", "book@1")
    assert torch.equal(hubkit.load("again").logits(TEXTS), both.logits(TEXTS))
    shown = run("show", "both").stdout
    assert "mix learned=vectors" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", 3), "--epochs is for weights that are learned: give --data, too."),
        (("--vectors",), "--vectors is for weights that are learned"),
        (("--data", "none.csv", "--weight", 1), "--data learns the weights, and --weight gives"),
        (("--data", "none.csv", "--dropout", 1), "1.0 is not in the range 0<=x<1"),
    ],
)
def test_what_is_for_another_mix_is_a_wrong_command_line(
    run: Run, trained: Catalog, options: tuple[object, ...], message: str
) -> None:
    result = run("mix", "film", "book", "--name", "both", *options, status=2)
    assert message in " ".join(result.stderr.split())


def _weights(weights: tuple[float, ...]) -> list[object]:
    return [part for weight in weights for part in ("--weight", weight)]
