from pathlib import Path

import pytest

from registry.errors import FolderError
from registry.folders import Given, read_folder
from tests.registry.folders.conftest import BASE, DELTA, QUERY, Shapes, lines, peft

HEAD: Shapes = {"base_model.model.classifier.weight": (2, 8)}


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "module._orig_mod."])
def test_a_wrapper_in_the_names_hides_no_head(tmp_path: Path, wrapper: str) -> None:
    start = "base_model.model."
    shapes = {name.replace(start, start + wrapper): shape for name, shape in (DELTA | HEAD).items()}
    folder = peft(tmp_path / "a", shapes, modules_to_save=["classifier", "score"])
    read = read_folder(folder, Given(base=BASE.base, labels=("a", "b")))
    assert (read.manifest.method.type, read.manifest.labels) == ("lora", ("a", "b"))


def test_the_inner_name_of_a_module_to_save_hides_no_head(tmp_path: Path) -> None:
    inner = {"base_model.model.classifier.modules_to_save.default.weight": (2, 8)}
    folder = peft(tmp_path / "a", DELTA | inner, modules_to_save=["classifier", "score"])
    read = read_folder(folder, Given(base=BASE.base, labels=("a", "b")))
    assert (read.manifest.method.type, read.manifest.labels) == ("lora", ("a", "b"))


def test_wrappers_are_refused_where_peft_has_to_find_the_tensors(tmp_path: Path) -> None:
    shapes = {name.replace(".model.bert", ".model._orig_mod.bert"): s for name, s in DELTA.items()}
    vector = {f"{QUERY.replace('.bert', '._orig_mod.bert')}.lora_magnitude_vector": (8,)}
    with pytest.raises(FolderError, match="was saved through a wrapper; expected 'base_model"):
        read_folder(peft(tmp_path / "a", shapes | vector, use_dora=True), BASE)


@pytest.mark.parametrize("given", ["TaskType.CAUSAL_LM", "causal_lm"])
def test_a_task_type_in_lower_case_or_as_python_prints_it_is_known(
    tmp_path: Path, given: str
) -> None:
    folder = peft(tmp_path / "a", DELTA, task_type=given)
    assert read_folder(folder, BASE).manifest.task_type == "text-generation"
    assert "task_type" not in lines(read_folder(folder, BASE))


def test_a_task_type_that_peft_does_not_know_is_kept_and_noted(tmp_path: Path) -> None:
    read = read_folder(peft(tmp_path / "a", DELTA, task_type="IMAGINATION"), BASE)
    assert read.manifest.task_type == "imagination"
    assert (
        "the task_type 'IMAGINATION', which PEFT does not know: hubkit keeps the adapter, and does "
        "not load it to predict" in lines(read)
    )
