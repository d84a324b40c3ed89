from pathlib import Path
from typing import Any

import pytest

from registry import Parent, read_folder
from registry.errors import FolderError
from registry.folders import Given
from registry.folders.adapterhub import fused_adapters
from tests.support.foreign import ADAPTERHUB, copy, edit, reshape

CONFIG = "adapter_config.json"
WEIGHTS = "adapter.safetensors"
FUSION = "adapter_fusion_config.json"
PARENTS = tuple(Parent(ref=f"{name}@1", digest=name * 64) for name in "abc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy(ADAPTERHUB / "seq_bn" / "a", tmp_path / "a")


@pytest.mark.parametrize(
    ("method", "activation", "scaling"),
    [("seq_bn", "relu", 1.0), ("double_seq_bn", "swish", 1.0), ("par_bn", "relu", 4.0)],
)
def test_method_and_base_model_are_read(method: str, activation: str, scaling: float) -> None:
    manifest = read_folder(ADAPTERHUB / method / "a").manifest
    assert (manifest.kind, manifest.method.type) == ("adapter", method)
    assert manifest.method.parameters == {
        "bottleneck_size": 8,
        "activation": activation,
        "scaling": scaling,
    }
    base = manifest.base_model
    assert (base.id, base.architecture, base.hidden_size) == ("tiny-roberta", None, 32)
    assert manifest.files.keys() == {CONFIG, WEIGHTS}


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({"inv_adapter": "nice", "inv_adapter_reduction_factor": 2}, "seq_bn_inv"),
        ({"phm_layer": True}, "compacter"),
        ({"original_ln_before": False}, "bottleneck"),
        ({"residual_before_ln": False}, "bottleneck"),
        ({"use_gating": True}, "bottleneck"),
        ({"inv_adapter": "glow"}, "bottleneck_inv"),
        ({"architecture": "prefix_tuning"}, "prefix_tuning"),
        ({"architecture": "lora", "use_dora": True}, "dora"),
        ({"architecture": "lora", "composition_mode": "scale"}, "lora_variant"),
    ],
)
def test_other_methods_have_their_own_names(
    folder: Path, changes: dict[str, Any], method: str
) -> None:
    edit(folder / CONFIG, lambda config: config["config"].update(changes))
    assert read_folder(folder).manifest.method.type == method


def test_the_class_of_a_bare_base_model_is_read(folder: Path) -> None:
    edit(folder / CONFIG, lambda config: config | {"model_class": "RobertaModel"})
    assert read_folder(folder).manifest.base_model.architecture == "RobertaModel"


def test_the_names_of_older_releases_are_known(folder: Path) -> None:
    edit(folder / CONFIG, lambda config: config | {"config": "pfeiffer"})
    assert read_folder(folder).manifest.method.type == "seq_bn"


def test_a_fusion_is_read_over_its_parents() -> None:
    folder = ADAPTERHUB / "seq_bn" / "fusion_abc"
    assert fused_adapters(folder) == ("a", "b", "c")
    manifest = read_folder(folder, Given(parents=PARENTS)).manifest
    assert (manifest.kind, manifest.method.parameters) == ("fusion", {"value": True})
    assert manifest.parents == PARENTS
    static = read_folder(ADAPTERHUB / "seq_bn" / "fusion_ab_static", Given(parents=PARENTS[:2]))
    assert static.manifest.method.parameters == {"value": False}


def test_a_fusion_asks_for_what_it_is_made_of() -> None:
    folder = ADAPTERHUB / "seq_bn" / "fusion_abc"
    with pytest.raises(FolderError, match=r"fusion of 3 adapters \(a, b, c\).*found none"):
        read_folder(folder)
    with pytest.raises(FolderError, match="found a@1, b@1"):
        read_folder(folder, Given(parents=PARENTS[:2]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "x,y,z"}, "holds no tensor of the fusion 'x,y,z'"),
        ({"hidden_size": 64}, "but adapter_fusion_config.json says that the hidden size is 64"),
        ({"adapter_names": "abc"}, "adapter_names is 'abc'"),
        ({"model_name": None}, "does not name its base model"),
    ],
)
def test_a_fusion_that_contradicts_its_weights_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = copy(ADAPTERHUB / "seq_bn" / "fusion_abc", tmp_path / "f")
    edit(folder / FUSION, lambda config: config | changes)
    with pytest.raises(FolderError, match=message):
        read_folder(folder, Given(parents=PARENTS))


def test_a_fusion_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    folder = copy(ADAPTERHUB / "seq_bn" / "fusion_abc", tmp_path / "f")
    edit(folder / FUSION, lambda config: config | {"adapter_names": ["x", "y", "z"]})
    assert read_folder(folder, Given(parents=PARENTS)).manifest.kind == "fusion"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 64}, r"has the shape .*, but adapter_config.json says"),
        ({"name": "b"}, "is of the adapter 'b', but the weights beside it are of a"),
        ({"name": None}, "lacks the adapter's name"),
        ({"model_type": None}, "adapter_config.json lacks model_type"),
        ({"model_type": ["bert"]}, r"model_type is \['bert'\]; expected a text"),
        ({"config": None}, "config is None; expected the name or the options"),
        ({"model_name": ""}, "does not name its base model"),
        ({"hidden_size": -1}, "hidden_size is -1"),
    ],
)
def test_a_config_that_contradicts_the_weights_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    edit(folder / CONFIG, lambda config: config | changes)
    with pytest.raises(FolderError, match=message):
        read_folder(folder)


def test_a_reduction_factor_that_disagrees_with_the_weights_is_refused(folder: Path) -> None:
    edit(folder / CONFIG, lambda config: config["config"].update(reduction_factor=8))
    with pytest.raises(FolderError, match=r"has the shape \[8\S* 32\].* says \[4, 32\]"):
        read_folder(folder)
    edit(folder / CONFIG, lambda config: config["config"].update(reduction_factor={"default": 4}))
    assert read_folder(folder).manifest.method.parameters["bottleneck_size"] == 8


@pytest.mark.parametrize("factor", [0, -2, "x", True, {}, {"0": 4, "default": 0}])
def test_a_reduction_factor_without_meaning_is_refused(folder: Path, factor: Any) -> None:
    edit(folder / CONFIG, lambda config: config["config"].update(reduction_factor=factor))
    with pytest.raises(FolderError, match=rf"{CONFIG}: reduction_factor is .*; expected a num"):
        read_folder(folder)


def test_reduction_factors_of_layers_are_held_to_the_weights(folder: Path) -> None:
    factors = {"0": 16, "default": 8}
    edit(folder / CONFIG, lambda config: config["config"].update(reduction_factor=factors))
    with pytest.raises(FolderError, match=r"has the shape \[8, 32\].* says \[2, 32\]"):
        read_folder(folder)


def test_weights_that_are_no_floating_point_numbers_are_refused(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content.replace(b'"F32"', b'"I32"'))
    with pytest.raises(FolderError, match=rf"{WEIGHTS}: the tensor .* is of the type I32; expec"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("shapes", "sound"),
    [
        (((4, 32), (32, 4)), True),
        (((8, 32), (64, 4)), True),  # of query and value in one matrix, as in GPT-2
        (((12, 32), (96, 4)), True),
        (((6, 32), (32, 4)), False),
        (((4, 32), (32, 5)), False),
    ],
)
def test_lora_is_held_to_its_rank(
    folder: Path, shapes: tuple[tuple[int, int], tuple[int, int]], sound: bool
) -> None:
    settings = {"architecture": "lora", "r": 4, "alpha": 8}
    edit(folder / CONFIG, lambda config: config | {"config": settings})
    names = [f"h.0.attn.c_attn.loras.a.lora_{side}" for side in "AB"]
    reshape(folder / WEIGHTS, lambda _: dict(zip(names, shapes, strict=True)))
    if sound:
        method = read_folder(folder).manifest.method
        assert (method.type, method.parameters) == ("lora", {"rank": 4, "alpha": 8})
    else:
        with pytest.raises(FolderError, match=r"lora_[AB] has the shape"):
            read_folder(folder)
