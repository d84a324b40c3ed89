"""Adapters are ranked by what a linear map of their states learns, as scikit-learn has it."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

import hubkit
from hubkit.adapters.adapter import Adapter
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.bases.describe import describe
from hubkit.composing.combine import publish_stack
from hubkit.suggesting.probe import ALPHAS
from hubkit.suggesting.suggest import Suggestions, suggest
from hubkit.tasks.rows import Rows
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog, open_catalog
from registry.errors import DataError, FoldsError, NoCandidateError, NoProbeError
from registry.folders import read_folder
from tests.suggesting.test_learner import ROWS
from tests.support.data import LabelledText, job, labelled_text
from tests.support.models import base_folder, random_adapter, tokenizer

DATA = labelled_text(48)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of whose states all features but one are the same for every text."""
    folder = base_folder(tmp_path_factory.mktemp("suggesting") / "base")
    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight[1:] = 0
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, blind: Path) -> Path:
    """`seeing` brings the labels into the feature that is left; `noise-0` to `noise-9` do not."""
    folder = tmp_path_factory.mktemp("suggesting-home")
    catalog, model = open_catalog(folder / "home"), AutoModel.from_pretrained(blind).eval()
    seeing = random_adapter(model, "seeing", bottleneck_size=8)
    teach(model, seeing)
    noise = [
        random_adapter(model, f"noise-{number}", ("seq_bn", "lora")[number % 2], seed=number)
        for number in range(10)
    ]
    facts = {"task_type": "text-classification", "labels": ("negative", "other", "positive")}
    for adapter in (seeing, *noise):
        adapter = replace(adapter, base=describe(model))
        manifest = manifest_of(adapter, **(facts if adapter.name == "seeing" else {}))
        save_folder(adapter, manifest, folder / adapter.name)
        catalog.publish(AdapterRef.parse(adapter.name), read_folder(folder / adapter.name))
    return folder / "home"


def teach(model: PreTrainedModel, adapter: Adapter) -> None:
    """Fit an adapter until the mean of the first feature is about 1 or -1, as the label says."""
    trained = [one for module in adapter.modules() for one in module.parameters()]
    model.requires_grad_(False)
    for one in trained:
        one.requires_grad_(True)
    inputs = tokenizer()([*DATA.texts], padding=True, return_tensors="pt")
    mask = inputs["attention_mask"]
    wanted = torch.tensor([1.0 if label == "positive" else -1.0 for label in DATA.labels])
    adam = torch.optim.Adam(trained, lr=2e-2)
    with hubkit.attach(model, adapter):
        for _ in range(150):
            first = model(**inputs)[0][..., 0]
            loss = (((first * mask).sum(1) / mask.sum(1) - wanted) ** 2).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    for one in trained:
        one.requires_grad_(False)


@pytest.fixture
def catalog(tmp_path: Path, home: Path) -> Catalog:
    return open_catalog(Path(shutil.copytree(home, tmp_path / "home")))


def ask(catalog: Catalog, base: Path, rows: Rows = DATA, **options: Any) -> Suggestions:
    task_type = options.pop("task_type", "text-classification")
    return suggest(catalog, rows, base=str(base), task_type=task_type, **options)


def by_hand(catalog: Catalog, base: Path, name: str | None, folds: int) -> list[float]:
    """The accuracies of scikit-learn on states that are computed text by text."""
    model, tokenizer = AutoModel.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    if name is not None:
        hubkit.attach(model, hubkit.load_composition(name, catalog=catalog))
    with torch.no_grad():
        states = np.concatenate(
            [model(**tokenizer([t], return_tensors="pt"))[0].mean(1) for t in DATA.texts]
        ).astype(np.float64)
    labels = np.array(DATA.labels)
    classes = sorted(set(DATA.labels))
    targets = np.array([[1.0 if label == one else -1.0 for one in classes] for label in labels])
    found = []
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for train, test in splitter.split(states, labels, DATA.texts):
        learner = RidgeCV(alphas=ALPHAS)
        guess = learner.fit(states[train], targets[train]).predict(states[test]).argmax(1)
        found.append(float(accuracy_score(labels[test], np.array(classes)[guess])))
    return found


def test_an_adapter_that_tells_the_labels_apart_comes_first(catalog: Catalog, blind: Path) -> None:
    found = ask(catalog, blind)
    best, *others = found.ranked
    assert str(best.version.ref) == "seeing@1"
    assert best.shared_labels == ("negative", "positive")
    assert best.score == 1.0 > found.base_score + 0.1
    assert best.gain == pytest.approx(best.score - found.base_score)
    assert len(others) == 10
    assert all(one.score < 1 and one.shared_labels == () for one in others)
    assert (found.rows, found.of_rows, found.folds, found.metric) == (48, 48, 5, "accuracy")
    assert (found.left_out, found.skipped, found.taken) == ({}, (), ())


def test_scores_are_those_of_one_adapter_at_a_time(catalog: Catalog, blind: Path) -> None:
    found = ask(catalog, blind, folds=4)
    base = by_hand(catalog, blind, None, 4)
    assert found.base_score == pytest.approx(np.mean(base))
    for one in found.ranked:
        own = by_hand(catalog, blind, one.version.ref.name, 4)
        gaps = np.array(own) - base
        assert one.score == pytest.approx(np.mean(own)), one.version.ref
        assert one.gain == pytest.approx(np.mean(gaps))
        assert one.error == pytest.approx(np.std(gaps, ddof=1) / 2)
    assert [one.gain for one in found.ranked] == sorted(
        (o.gain for o in found.ranked), reverse=True
    )


def test_the_same_question_has_the_same_answer(catalog: Catalog, blind: Path) -> None:
    few = {"sample_rows": 24, "most": 3}
    assert ask(catalog, blind, **few) == ask(catalog, blind, **few)
    assert ask(catalog, blind, **few).rows == 24


def test_what_is_left_out_is_counted(catalog: Catalog, blind: Path) -> None:
    parts = [AdapterRef.parse("noise-0"), AdapterRef.parse("noise-1")]
    publish_stack(catalog, AdapterRef.parse("both"), parts)
    found = ask(catalog, blind, most=3)
    assert found.left_out == {"fusions, stacks and mixes": 1, "behind the first 3": 8}
    # That of the same task type, and then the latest.
    names = {one.version.ref.name for one in found.ranked}
    assert names == {"seeing", "noise-9", "noise-8"}


def test_an_adapter_of_these_very_rows_is_left_out(catalog: Catalog, blind: Path) -> None:
    again = LabelledText("again.csv", DATA.texts[:24], DATA.labels[:24])
    train_adapter(catalog, replace(job("own", epochs=1), data=again, validation=0), base=str(blind))
    assert "trained on these very rows" not in ask(catalog, blind, most=2).left_out
    found = ask(catalog, blind, again, most=2)
    assert found.left_out == {"trained on these very rows": 1, "behind the first 2": 9}


def test_damaged_adapters_are_skipped_with_a_note(
    catalog: Catalog, blind: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("noise-3", "noise-4"):
        version = catalog.resolve(AdapterRef.parse(name))
        files = catalog.manifest(version).files
        (weights,) = (info.sha256 for path, info in files.items() if path.endswith("safetensors"))
        path = catalog.blobs.path(weights if name == "noise-3" else version.manifest_digest)
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with caplog.at_level(logging.WARNING):
        found = ask(catalog, blind)
    assert {one.version.ref.name for one in found.skipped} == {"noise-3", "noise-4"}
    assert len(found.ranked) == 9
    for name in ("noise-3", "noise-4"):
        assert f"{name}@1 is skipped: " in caplog.text


@pytest.mark.parametrize("task_type", [name for name in ROWS if name != "text-classification"])
def test_other_task_types_are_measured_by_their_own_metric(
    catalog: Catalog, blind: Path, task_type: str
) -> None:
    rows = Rows("rows.csv", {name: [*column] * 4 for name, column in ROWS[task_type].items()})
    if task_type == "ranking":
        rows = Rows("rows.csv", {**rows.columns, "query": [*"abcdefgh"]})
    found = ask(catalog, blind, rows, task_type=task_type, folds=2, most=2)
    assert len(found.ranked) == 2
    assert all(-1 <= one.score <= 1 for one in found.ranked)
    assert found.metric in ("accuracy", "pearson", "f1", "ndcg_at_10")


def test_donors_are_taken_as_long_as_they_help(catalog: Catalog, blind: Path) -> None:
    found = ask(catalog, blind, take=4)
    assert len(found.taken) == 2  # nothing is better than all right
    first, second = found.taken
    assert first.version.ref.name == "seeing"
    assert (first.score, first.gain) == (1.0, found.ranked[0].gain)
    assert second.version != first.version
    assert second.gain == pytest.approx(second.score - 1)


def test_what_cannot_be_asked_is_refused(catalog: Catalog, blind: Path, tmp_path: Path) -> None:
    with pytest.raises(NoProbeError, match="They can for text-classification, text-regression"):
        ask(catalog, blind, task_type="question-answering")
    rare = LabelledText("rare.csv", [*DATA.texts, "great"], [*DATA.labels, "odd"])
    with pytest.raises(
        FoldsError, match=r"rare.csv has 1 different rows with the label 'odd', fewer"
    ):
        ask(catalog, blind, rare)
    two = Rows("two.csv", {"text": ["good", "bad"], "score": [1.0, 2.0]})
    with pytest.raises(FoldsError, match=r"two.csv has 2 things to learn in 2 folds"):
        ask(catalog, blind, two, task_type="text-regression", folds=2)
    with pytest.raises(DataError, match="no donors or two at least"):
        ask(catalog, blind, take=1)
    other = base_folder(tmp_path / "other", seed=3)
    with pytest.raises(NoCandidateError, match=r"no adapter on .*other that could be fused"):
        ask(catalog, other)
    with pytest.raises(NoCandidateError, match=r"Of 1 adapters on .*, 1 can be run; expected at"):
        ask(catalog, blind, take=2, most=1)
