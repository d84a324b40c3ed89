import peft
import pytest
import transformers

from registry.task_types import TASK_NAMES, TaskNames, of_class, of_head, of_peft, with_outputs

rows = pytest.mark.parametrize("row", TASK_NAMES.values(), ids=lambda row: row.name)


@rows
def test_each_name_is_one_that_its_library_knows(row: TaskNames) -> None:
    assert row.peft is None or row.peft in {kind.value for kind in peft.TaskType}
    mapping = getattr(transformers, row.auto_class)._model_mapping._model_mapping
    known = {
        name
        for names in mapping.values()
        for name in ([names] if isinstance(names, str) else names)
    }
    for ending in row.class_endings:
        assert any(name.endswith(ending) for name in known), ending


@rows
def test_a_name_that_rows_share_means_one_of_the_same_auto_class(row: TaskNames) -> None:
    found = [
        *(of_class(f"Some{ending}") for ending in row.class_endings),
        *(of_head(head) for head in row.heads),
        *([of_peft(row.peft)] if row.peft else []),
    ]
    assert {one and one.auto_class for one in found} == {row.auto_class} or not found


@pytest.mark.parametrize(
    ("head_type", "name"),
    [
        ("classification", "text-classification"),
        ("multilabel_classification", "text-classification"),
        ("image_classification", "image-classification"),
        ("multiple_choice", "multiple-choice"),
        ("seq2seq_lm", "text2text-generation"),
    ],
)
def test_a_head_type_of_adapterhub_means_one_task_type(head_type: str, name: str) -> None:
    found = of_head(head_type)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("unknown", [None, "", "classification_v2", "BertModel"])
def test_what_no_row_knows_is_no_task_type(unknown: str | None) -> None:
    assert of_head(unknown) is of_class(unknown) is of_peft(unknown) is None


def test_a_single_output_makes_a_number_of_a_class() -> None:
    assert with_outputs("text-classification", 1) == "text-regression"
    assert with_outputs("text-classification", 2) == "text-classification"
    assert with_outputs("text-classification", None) == "text-classification"
    assert with_outputs("token-classification", 1) == "token-classification"
