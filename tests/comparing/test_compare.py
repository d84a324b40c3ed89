from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import hubkit
from hubkit.comparing import bench
from hubkit.comparing.compare import compare_fusion
from hubkit.comparing.comparison import Comparison, comparison_in
from hubkit.tasks.rows import Rows
from hubkit.training.choosing import learn
from hubkit.training.job import Job
from hubkit.training.settings import CACHE_TRUNK, Settings
from hubkit.training.trunk.cut import Cut
from registry import AdapterRef, Catalog, Version
from registry.errors import DivergedError, FoldsError, OtherKindError, StorageError
from tests.support.data import LabelledText, labelled_text

pytest_plugins = ("tests.support.published",)

REFS = [AdapterRef.parse("a"), AdapterRef.parse("b")]
NAMES = [
    *("base model", "alone", "a@1", "b@1", "mix", "learned mix", "fusion"),
    *("fusion, own joint", "control"),
]


@pytest.fixture
def catalog(trained_catalog: Catalog) -> Catalog:
    """Holds the adapters a and b, and their fusion."""
    return trained_catalog


def noise(rows: int = 24) -> LabelledText:
    """Labels that nothing in the texts tells."""
    data, chance = labelled_text(rows), Random(0)
    texts = [f"{text} {'a ' * number}" for number, text in enumerate(data.texts)]
    return LabelledText("noise.csv", texts, [chance.choice(["yes", "no"]) for _ in texts])


def asked(data: LabelledText, name: str = "new", epochs: int = 1) -> Job:
    settings = Settings(epochs=epochs, learning_rate=1e-2, batch_size=8, max_length=16)
    return Job(
        name=AdapterRef.parse(name), task="sentiment", data=data, validation=0, settings=settings
    )


def compare(catalog: Catalog, what: Job, **more: Any) -> tuple[Comparison, Version]:
    return compare_fusion(catalog, what, refs=REFS, **{"own": "joint", "folds": 2, **more})


def _score_only(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Train nothing to compare, and let that contender win."""
    monkeypatch.setattr(
        bench.Bench,
        "measure",
        lambda self, contender, fold, seed, done: bench.Score(
            "accuracy",
            float(contender.name == name),
            [float(contender.name == name)] * len(fold.test),
        ),
    )


def test_random_labels_do_not_make_donors_help_and_a_broken_off_run_goes_on(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, calls = learn.fit, []  # type: ignore[attr-defined]

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 4:
            raise StorageError("The disk is full.", Path())
        return fit(*arguments, **named)

    monkeypatch.setattr(learn, "fit", counted)
    few = replace(asked(noise()), validation=None)
    with pytest.raises(StorageError):
        compare(catalog, few)
    found, version = compare(catalog, few)
    # Once in each of two folds, on all of its few rows; the winner on some rows, then on all. The
    # fourth was begun twice.
    assert len(calls) == 2 * len(NAMES) + 2 + 1
    assert [row.name for row in found.rows] == NAMES
    assert [len(row.scores) for row in found.rows] == [2] * len(NAMES)
    assert found.outcome != "helps"
    briers = {row.name: row.brier for row in found.rows if row.kind not in ("base", "control")}
    assert found.best == min(briers, key=lambda name: briers[name])
    assert found.row("base model").weights == 0 < found.row("alone").weights
    assert found.row("mix").weights < found.row("fusion").weights == found.row("control").weights
    kept = comparison_in(catalog, version, catalog.manifest(version))
    assert kept == found
    assert hubkit.load(version.ref, catalog=catalog).predict(["a good film"])
    assert not [one for one in (catalog.home / "runs").iterdir() if one.is_dir()]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_diverges_or_answers_no_number_has_no_score_and_does_not_win(
    number: float,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    learned, outputs = bench.learn, bench.outputs_of  # type: ignore[attr-defined]
    calls: list[int] = []

    def diverging(start: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == NAMES.index("fusion") + 1:
            raise DivergedError("The weights are no longer numbers.")
        return learned(start, *arguments, **named)

    def without_numbers(*arguments: Any) -> Any:
        found = outputs(*arguments)
        broken = len(calls) == NAMES.index("control") + 1
        return tuple(np.full_like(array, number) if broken else array for array in found)

    monkeypatch.setattr(bench, "learn", diverging)
    monkeypatch.setattr(bench, "outputs_of", without_numbers)
    found, version = compare(catalog, asked(noise()))
    assert [row.name for row in found.rows if row.mean is None] == ["fusion", "control"]
    assert "fusion has no score: The weights are no longer numbers." in caplog.text
    assert found.verdict.endswith("the accuracy of the fusion is undefined.")
    assert comparison_in(catalog, version, catalog.manifest(version)) == found
    report = html.unescape((catalog.folder(version) / "report.md").read_text())
    assert "| undefined |" in report


def test_a_correlation_of_equal_answers_is_undefined_and_does_not_win(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs, calls = bench.outputs_of, []  # type: ignore[attr-defined]

    def opposed(*arguments: Any) -> Any:
        # What is right, upside down; of the fusion, all the same.
        encoded = arguments[3]
        calls.append(len(calls))
        (found,) = outputs(*arguments)
        right = -np.array(encoded.features["labels"], np.float32)[:, None]
        is_fusion = (len(calls) - 1) % len(NAMES) == NAMES.index("fusion")
        return (np.ones_like(found) if is_fusion else right + found / 100,)

    monkeypatch.setattr(bench, "outputs_of", opposed)
    texts = [f"a film {'very ' * number}good" for number in range(12)]
    data = Rows("scores.csv", {"text": texts, "score": [float(len(one)) for one in texts]})
    job = replace(asked(noise()), data=data, task_type="text-regression")
    found, _ = compare(catalog, job)
    assert found.metric == "pearson"
    assert [row.name for row in found.rows if row.mean is None] == ["fusion"]
    assert all(row.mean < 0 for row in found.rows if row.mean is not None)
    assert found.winner != "fusion"


def test_the_adapter_alone_is_the_own_one_of_a_fusion_on_the_same_rows(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, calls = learn.fit, []  # type: ignore[attr-defined]
    own, used = bench.Bench._own, []
    measure = bench.Bench.measure

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return fit(*arguments, **named)

    def noted(*arguments: Any) -> Any:
        used.append(own(*arguments))
        return used[-1]

    def forgetting(self: bench.Bench, *arguments: Any) -> Any:
        self.alone.clear()  # as after a break between the two
        return measure(self, *arguments)

    monkeypatch.setattr(learn, "fit", counted)
    monkeypatch.setattr(bench.Bench, "_own", noted)
    once, _ = compare(catalog, asked(noise(), "once"), own="before")
    trainings = len(calls)
    monkeypatch.setattr(bench.Bench, "measure", forgetting)
    twice, _ = compare(catalog, asked(noise(), "twice"), own="before")
    assert len(calls) - trainings == trainings + 2  # one more in each fold
    assert [row.scores for row in twice.rows] == [row.scores for row in once.rows]
    assert [one.name for one in used] == ["own"] * 4
    for kept, anew in zip(used[:2], used[2:], strict=True):
        for one, other in zip(kept.modules(), anew.modules(), strict=True):
            torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_an_own_adapter_that_leaves_layers_out_is_not_the_adapter_alone(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, used = bench.Bench._own, []

    def noted(*arguments: Any) -> Any:
        used.append(own(*arguments))
        return used[-1]

    monkeypatch.setattr(bench.Bench, "_own", noted)
    compare(catalog, asked(noise()), own="before", leave_out=[0])
    assert [one.method.leave_out for one in used] == [(0,)] * 2


@pytest.mark.parametrize("name", ["b@1", "mix"])
def test_where_only_a_head_is_trained_the_backbone_runs_once_for_each_row(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    states, ran = Cut.states, list[int]()

    def counted(self: Cut, inputs: Mapping[str, Tensor]) -> Tensor:
        ran.append(len(inputs["input_ids"]))
        return states(self, inputs)

    monkeypatch.setattr(Cut, "states", counted)
    _score_only(monkeypatch, name)
    data = noise()
    _, version = compare(catalog, asked(data, epochs=3))
    assert sum(ran) == len(data.texts)
    settings = catalog.manifest(version).training
    assert settings is not None
    assert settings.arguments["cache_trunk"] == CACHE_TRUNK


def test_nothing_is_trained_for_what_could_not_be_published_or_divided(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "fit", None)
    with pytest.raises(OtherKindError, match="both@1 has the kind fusion"):
        compare(catalog, asked(labelled_text(), name="both"))
    with pytest.raises(FoldsError, match="fewer than the 30 folds"):
        compare(catalog, asked(labelled_text()), folds=30)


@pytest.mark.parametrize("name", NAMES[1:8])
def test_each_contender_that_can_win_is_published_with_its_parts(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _score_only(monkeypatch, name)
    found, version = compare(catalog, asked(labelled_text()))
    assert found.winner == name
    parts = {
        "alone": [],
        "a@1": ["a@1"],
        "b@1": ["b@1"],
        "fusion, own joint": ["a@1", "b@1", "new-own@1"],
    }.get(name, ["a@1", "b@1"])
    assert [one.ref for one in catalog.lineage(version).parents] == parts
    manifest = catalog.manifest(version)
    assert comparison_in(catalog, version, manifest) == found
    assert "compare: true" in (catalog.folder(version) / "train.yaml").read_text()
    report = html.unescape((catalog.folder(version) / "report.md").read_text())
    assert " ".join(found.sentences) in report
    assert all(f"| {row.name} | {row.weights:,} | {row.mean:.4f} |" in report for row in found.rows)
    hubkit.load(version.ref, catalog=catalog).predict(["a good film"])
