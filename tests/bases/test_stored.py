from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from hubkit.bases.describe import describe
from hubkit.bases.fingerprint import fingerprint
from hubkit.bases.stored import describe_stored, find_base_folder
from registry.errors import BaseModelNotFoundError
from tests.support.models import ENCODER_DECODERS, REFERENCED, tiny_model


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def stored_fingerprint(folder: Path, cache: Path) -> str:
    found = describe_stored(str(folder), cache).fingerprint
    assert found is not None
    return found


@pytest.mark.parametrize("architecture", REFERENCED)
def test_it_is_that_of_the_loaded_model(architecture: str, tmp_path: Path, cache: Path) -> None:
    model = tiny_model(architecture)
    model.save_pretrained(tmp_path / "base")
    assert stored_fingerprint(tmp_path / "base", cache) == fingerprint(model)
    loaded = AutoModel.from_pretrained(tmp_path / "base")
    assert describe_stored(str(tmp_path / "base"), cache) == describe(loaded)


@pytest.mark.parametrize(
    ("architecture", "auto_class"),
    [
        ("bert", AutoModelForMaskedLM),
        ("deberta-v2", AutoModelForSequenceClassification),
        ("gpt2", AutoModelForCausalLM),
        ("llama", AutoModelForSequenceClassification),
        ("t5", AutoModelForSeq2SeqLM),
        ("bart", AutoModelForSeq2SeqLM),
    ],
)
def test_it_is_the_same_under_any_head_class(
    architecture: str, auto_class: type, tmp_path: Path, cache: Path
) -> None:
    tiny_model(architecture, auto_class).save_pretrained(tmp_path / "headed")
    AutoModel.from_pretrained(tmp_path / "headed").save_pretrained(tmp_path / "bare")
    headed = stored_fingerprint(tmp_path / "headed", cache)
    assert headed == stored_fingerprint(tmp_path / "bare", cache)


@pytest.mark.parametrize("architecture", ["bert", "llama", *ENCODER_DECODERS[:1]])
def test_it_is_the_same_in_shards_and_in_a_pickle(
    architecture: str, tmp_path: Path, cache: Path
) -> None:
    model = tiny_model(architecture)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="8KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copyfile(tmp_path / "whole" / "config.json", pickled / "config.json")
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    found = {stored_fingerprint(tmp_path / name, cache) for name in ("whole", "shards", "pickled")}
    assert len(found) == 1


def test_one_weight_makes_another(tmp_path: Path, cache: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "base")
    before = stored_fingerprint(tmp_path / "base", cache)
    path = tmp_path / "base" / "model.safetensors"
    tensors = load_file(path)
    name = "encoder.layer.1.output.dense.weight"
    tensors[name][0, 0] = torch.nextafter(tensors[name][0, 0], torch.tensor(torch.inf))
    save_file(tensors, path, metadata={"format": "pt"})
    assert stored_fingerprint(tmp_path / "base", cache) != before


def test_nothing_is_read_the_second_time(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model().save_pretrained(tmp_path / "base")
    time.sleep(0.05)  # a file this new could still change within one tick of the clock
    first = describe_stored(str(tmp_path / "base"), cache)
    with monkeypatch.context() as patch:
        patch.setattr(AutoModel, "from_pretrained", None)
        assert describe_stored(str(tmp_path / "base"), cache) == first
    moved = shutil.move(tmp_path / "base", tmp_path / "elsewhere")
    with pytest.raises(BaseModelNotFoundError):
        describe_stored(str(tmp_path / "base"), cache)
    os.symlink(moved, tmp_path / "link")
    found = describe_stored(str(tmp_path / "link"), cache)
    assert found.fingerprint == first.fingerprint
    assert found.id == str(moved), "the name is that of today"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_written_again_is_read_again(tmp_path: Path, cache: Path, name: str) -> None:
    tiny_model().save_pretrained(tmp_path / "base")
    time.sleep(0.05)
    describe_stored(str(tmp_path / "base"), cache)
    assert len(list(cache.iterdir())) == 1
    content = (tmp_path / "base" / name).read_bytes()
    (tmp_path / "base" / name).write_bytes(content)
    time.sleep(0.05)
    describe_stored(str(tmp_path / "base"), cache)
    assert len(list(cache.iterdir())) == 2


def test_what_is_kept_is_found_without_torch(tmp_path: Path, cache: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "base")
    time.sleep(0.05)
    expected = stored_fingerprint(tmp_path / "base", cache)
    script = (
        "import sys; from pathlib import Path; from hubkit.bases.stored import describe_stored; "
        "print(describe_stored(sys.argv[1], Path(sys.argv[2])).fingerprint); "
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "base"), str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def test_a_model_that_transformers_cannot_read_is_refused(tmp_path: Path, cache: Path) -> None:
    tiny_model().save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(BaseModelNotFoundError, match="holds no model that transformers can read"):
        describe_stored(str(tmp_path / "base"), cache)
    assert not cache.exists()


def test_a_base_model_is_found_in_a_folder_or_in_the_cache_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model().save_pretrained(tmp_path / "base")
    assert find_base_folder(str(tmp_path / "base")) == tmp_path / "base"
    assert find_base_folder(str(tmp_path)) is None
    assert find_base_folder("no/such/thing at all") is None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert find_base_folder("team/bert") is None
    snapshot = tmp_path / "hub" / "models--team--bert" / "snapshots" / ("ab" * 20)
    (tmp_path / "hub" / "models--team--bert" / "refs").mkdir(parents=True)
    (tmp_path / "hub" / "models--team--bert" / "refs" / "main").write_text("ab" * 20)
    shutil.copytree(tmp_path / "base", snapshot)
    assert find_base_folder("team/bert") == snapshot


def test_an_architecture_without_layout_is_described_too(tmp_path: Path, cache: Path) -> None:
    from transformers import AutoConfig

    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
    config = AutoConfig.for_model("fnet", **sizes, max_position_embeddings=40)
    AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    found = describe_stored(str(tmp_path / "base"), cache)
    assert (found.architecture, found.hidden_size, found.num_layers) == ("FNetModel", 16, 2)
    assert found.fingerprint is not None
