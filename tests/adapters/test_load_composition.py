"""What is published without a head comes back by its name, ready to be attached."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hubkit
from hubkit import Adapter, Fusion, Mix, Stack
from hubkit.composing.combine import publish_mix, publish_stack
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog, open_catalog
from registry.errors import AdapterError, NotFoundError
from tests.support.foreign import BASE, BERT, PEFT, copy, edit
from tests.support.models import reference_base, reference_outputs
from tests.support.models import run as run_model
from tests.support.references import check_close

FOLDER = BERT / "seq_bn"
KINDS = {"a": Adapter, "all": Fusion, "stacked": Stack, "mixed": Mix}


@pytest.fixture
def catalog(hubkit_home: Path) -> Catalog:
    """The user's registry, with one of each kind, none with a head."""
    catalog = open_catalog(hubkit_home)
    for name in ("a", "b", "c", "fusion_abc"):
        ref = AdapterRef.parse("all" if name == "fusion_abc" else name)
        publish_folder(catalog, FOLDER / name, ref, task="film", base=str(BASE))
    refs = [AdapterRef.parse(name) for name in "ab"]
    publish_stack(catalog, AdapterRef.parse("stacked"), refs)
    publish_mix(catalog, AdapterRef.parse("mixed"), refs, weights=[0.25, 0.75])
    return catalog


def test_a_fusion_without_a_head_runs_by_its_name(catalog: Catalog) -> None:
    inputs, expected = reference_outputs(FOLDER)
    model = reference_base("bert")
    with hubkit.attach(model, hubkit.load_composition("all")):
        check_close(run_model(model, inputs), expected["fuse_dynamic"])


def test_what_was_deleted_is_loaded_as_a_part_of_what_is_made_of_it(catalog: Catalog) -> None:
    for name in "abc":
        catalog.delete(AdapterRef.parse(name))
    inputs, expected = reference_outputs(FOLDER)
    model = reference_base("bert")
    with hubkit.attach(model, hubkit.load_composition("all")):
        check_close(run_model(model, inputs), expected["fuse_dynamic"])
    for name in ("stacked", "mixed"):
        assert isinstance(hubkit.load_composition(name), KINDS[name])


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_loaded_by_name_as_the_refusal_of_hubkit_load_says(
    catalog: Catalog, name: str
) -> None:
    with pytest.raises(AdapterError, match=rf"hubkit.load_composition\('{name}@1'\)"):
        hubkit.load(name)
    composition = hubkit.load_composition(f"{name}@1", catalog=catalog)
    assert type(composition) is KINDS[name]
    if isinstance(composition, Mix):
        assert composition.weights == (0.25, 0.75)


def test_what_reads_folders_points_to_it_for_what_is_published(catalog: Catalog) -> None:
    with pytest.raises(AdapterError, match=r"a is not a folder.*hubkit.load_composition\(NAME\)"):
        Adapter.load("a")
    parts = [hubkit.load_composition(name) for name in "abc"]
    with pytest.raises(AdapterError, match=r"all is not a folder.*hubkit.load_composition\(NAME\)"):
        Fusion.load("all", parts)


def test_what_is_not_there_is_named(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="nothing"):
        hubkit.load_composition("nothing")


def test_a_method_that_only_peft_runs_is_sent_there(catalog: Catalog, tmp_path: Path) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    edit(folder / "adapter_config.json", lambda config: config | {"use_dora": True})
    weights = load_file(folder / "adapter_model.safetensors")
    for name in [name for name in weights if name.endswith("lora_B.weight")]:
        place = name.replace("lora_B.weight", "lora_magnitude_vector")
        weights[place] = torch.ones(len(weights[name]))
    save_file(weights, folder / "adapter_model.safetensors")
    publish_folder(catalog, folder, AdapterRef.parse("scaled"), task="film", base=str(BASE))
    with pytest.raises(AdapterError, match=r"its method, dora: .* peft.PeftModel.from_pretrained"):
        hubkit.load("scaled")
    with pytest.raises(AdapterError, match="scaled@1"):
        hubkit.load_composition("scaled")
