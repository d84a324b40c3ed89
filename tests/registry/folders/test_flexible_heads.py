from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.errors import FolderError
from registry.folders.flexible_heads import KEPT, OPTIONS, FlexibleHead, flexible_head
from registry.task_types import of_head

WHERE = Path("head_config.json")


@pytest.mark.parametrize("head_type", OPTIONS)
def test_what_a_configuration_leaves_out_is_as_the_library_has_it(head_type: str) -> None:
    found = flexible_head({"head_type": head_type}, WHERE)
    assert found is not None
    written = found.config(())
    assert written == {"head_type": head_type, "label2id": None, **OPTIONS[head_type]}
    assert flexible_head(written, WHERE) == found


def test_an_old_classifier_reads_the_first_token_through_two_layers() -> None:
    old = {"head_type": "classification", "num_labels": 3, "label2id": {"a": 0, "b": 1, "c": 2}}
    assert flexible_head(old, WHERE) == FlexibleHead(
        "classification", layers=2, activation="tanh", outputs=3, use_pooler=False, bias=True
    )


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"head_type": "classification", "num_labels": 3}, "single_label_classification"),
        ({"head_type": "classification", "num_labels": 1}, "regression"),
        ({"head_type": "multilabel_classification"}, "multi_label_classification"),
        ({"head_type": "multilabel_classification", "num_labels": 1}, "multi_label_classification"),
        ({"head_type": "image_classification", "multilabel": True}, "multi_label_classification"),
        ({"head_type": "image_classification"}, None),
        ({"head_type": "tagging"}, None),
    ],
)
def test_outputs_mean_what_the_library_trains_them_for(
    config: dict[str, Any], problem: str | None
) -> None:
    found = flexible_head(config, WHERE)
    assert found is not None
    assert found.problem_type == problem


def test_an_option_that_is_off_is_none() -> None:
    plain = flexible_head({"head_type": "tagging"}, WHERE)
    off = {"use_pooler": False, "multilabel": False, "id2label": None, "layer_norm": None}
    assert flexible_head({"head_type": "tagging", **off}, WHERE) == plain


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"use_pooler": True}, "'use_pooler' is True, which a question_answering head"),
        ({"num_labels": 3}, "num_labels is 3; a question_answering head has 2 outputs"),
        ({"num_labels": None}, "num_labels is None; expected a whole number"),
        ({"num_labels": "2"}, "num_labels is '2'; expected a whole number"),
        ({"layers": True}, "layers is True; expected a whole number"),
        ({"layers": 1000}, "layers is 1000; expected a whole number from 1 to 64"),
        ({"activation_function": 3}, "activation_function is 3; expected the name"),
        ({"dropout_prob": float("nan")}, "dropout_prob is nan; expected a number from 0"),
        ({"activation_funktion": "relu"}, "Did you mean activation_function"),
    ],
)
def test_an_option_without_meaning_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(FolderError, match=told):
        flexible_head({"head_type": "question_answering", **changes}, WHERE)


@pytest.mark.parametrize("head_type", [*KEPT, "my_own", None, 3, ["tagging"]])
def test_a_head_of_another_type_is_not_run(head_type: Any) -> None:
    assert flexible_head({"head_type": head_type, "magic": 1}, WHERE) is None


def test_every_type_that_is_run_has_a_task_type() -> None:
    assert all(of_head(head_type) is not None for head_type in OPTIONS)
