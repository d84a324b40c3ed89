from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedGroupKFold
from transformers import AutoModel, AutoTokenizer

import hubkit
from hubkit.suggesting.probe import ALPHAS
from hubkit.tasks.rows import Rows
from registry import Catalog
from tests.suggesting.conftest import DATA, ask
from tests.suggesting.test_learner import ROWS


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
