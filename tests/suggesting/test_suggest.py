"""Adapters are ranked by what a linear map of their states learns, as scikit-learn has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubkit.tasks.rows import Rows
from registry import Catalog
from registry.errors import DataError, FoldsError, NoCandidateError, NoProbeError
from tests.suggesting.conftest import DATA, ask
from tests.support.data import LabelledText
from tests.support.models import base_folder


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


def test_the_same_question_has_the_same_answer(catalog: Catalog, blind: Path) -> None:
    few = {"sample_rows": 24, "most": 3}
    assert ask(catalog, blind, **few) == ask(catalog, blind, **few)
    assert ask(catalog, blind, **few).rows == 24


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
