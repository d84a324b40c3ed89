import json
from pathlib import Path
from typing import Any

import pytest

from registry import read_folder
from registry.errors import FolderError
from tests.support.foreign import ADAPTERHUB, HEAD, PEFT, copy


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "It is empty"),
        ({"config.json": "{}"}, "looks like a whole model, not an adapter: it holds config.json"),
        ({"notes.txt": ""}, r"It holds notes\.txt"),
    ],
)
def test_a_folder_that_holds_no_adapter_is_described_with_the_cure(
    tmp_path: Path, files: dict[str, str], found: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(FolderError, match=rf"(?s)no hubkit\.json.*{found}.*hubkit\.save_adapter"):
        read_folder(tmp_path)


def test_what_is_no_folder_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="found nothing"):
        read_folder(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="found a file"):
        read_folder(tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is not JSON"),
        ("\x00", "is not JSON"),
        ("[1]", "holds a list"),
        ("[" * 100_000, "is nested more than 64 deep"),
        ('{"r": ' + "9" * 5000 + "}", "holds a number of 5000 characters, more than 100"),
    ],
    ids=["cut off", "binary", "list", "deep", "long"],
)
def test_a_config_that_is_no_json_object_is_named(
    tmp_path: Path, content: str, problem: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(FolderError, match=rf"adapter_config\.json {problem}"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("source", "config", "weights"),
    [
        (PEFT / "lora" / "a", "adapter_config.json", "adapter_model.safetensors"),
        (ADAPTERHUB / "seq_bn" / "a", "adapter_config.json", "adapter.safetensors"),
        (
            ADAPTERHUB / "seq_bn" / "fusion_abc",
            "adapter_fusion_config.json",
            "model_adapter_fusion.safetensors",
        ),
        (HEAD, "head_config.json", "model_head.safetensors"),
    ],
)
def test_a_config_without_weights_and_weights_without_config_are_told(
    tmp_path: Path, source: Path, config: str, weights: str
) -> None:
    lacking = copy(source, tmp_path / "lacking")
    (lacking / weights).unlink()
    with pytest.raises(FolderError, match=rf"not its weights: expected {weights}"):
        read_folder(lacking)
    bare = copy(source, tmp_path / "bare")
    (bare / config).unlink()
    with pytest.raises(FolderError, match=rf"not its configuration: expected {config}"):
        read_folder(bare)


def test_what_is_there_in_place_of_weights_is_told_with_the_cure(tmp_path: Path) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    weights = folder / "adapter_model.safetensors"
    shard = weights.rename(folder / "adapter_model-00001-of-00002.safetensors")
    with pytest.raises(FolderError, match=f"in parts, such as {shard.name}, .* max_shard_size"):
        read_folder(folder)
    shard.unlink()
    weights.mkdir()
    with pytest.raises(FolderError, match=f"found a folder that is called {weights.name}"):
        read_folder(folder)


def test_two_adapters_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "both")
    fusion = ADAPTERHUB / "seq_bn" / "fusion_abc"
    for path in fusion.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FolderError, match="a PEFT adapter and an AdapterHub fusion; expected one"):
        read_folder(folder)
    mixed = copy(PEFT / "lora" / "a", tmp_path / "mixed")
    adapter = ADAPTERHUB / "seq_bn" / "a" / "adapter.safetensors"
    (mixed / adapter.name).write_bytes(adapter.read_bytes())
    with pytest.raises(FolderError, match="a PEFT adapter and an AdapterHub adapter; expected one"):
        read_folder(mixed)


def test_a_peft_adapter_takes_no_head_beside_it(tmp_path: Path) -> None:
    folder = copy(PEFT / "seq_cls" / "a", tmp_path / "both")
    for name in ("head_config.json", "model_head.safetensors"):
        (folder / name).write_bytes((HEAD / name).read_bytes())
    with pytest.raises(FolderError, match="keeps its head in its own weights"):
        read_folder(folder)


def test_a_pickle_is_never_listed(tmp_path: Path) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    (folder / "training_args.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(FolderError, match=r"training_args\.bin, which can run code on loading"):
        read_folder(folder)
    (folder / "training_args.bin").unlink()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(FolderError, match=r"as a pickle, adapter_model\.bin"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("config", "beside", "told"),
    [
        ({"fine_tune_type": "lora", "config": None}, "adapters.safetensors", "It is one of MLX"),
        ({"lora_layers": 8, "lora_parameters": {}}, "adapters.npz", "It is one of MLX"),
        ({"type": "act", "n_obs_steps": 1}, "train_config.json", "It is one of LeRobot"),
        ({"r": 8}, "adapter_model.safetensors", "found the keys r"),
    ],
)
def test_a_folder_of_another_tool_is_not_called_adapterhubs(
    tmp_path: Path, config: dict[str, Any], beside: str, told: str
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / beside).write_bytes(b"")
    with pytest.raises(FolderError, match=f"neither a configuration of PEFT.*{told}"):
        read_folder(tmp_path)
