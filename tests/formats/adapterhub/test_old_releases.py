"""A folder as an old release writes it is the adapter that the release of today writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hubkit import Adapter
from hubkit.formats.unpickle import unpickle
from registry.errors import AdapterError
from tests.support.folders import edit_json, edit_options, options_in
from tests.support.foreign import BERT, copy

OLD_NAMES = {
    ".attention.output.adapters.": ".attention.output.attention_text_task_adapters.",
    ".output.adapters.": ".output.layer_text_task_adapters.",
    "invertible_adapters.": "invertible_lang_adapters.",
}


def modern(tmp_path: Path, method: str) -> Path:
    """A copy of a reference folder, its weights as safetensors."""
    folder = copy(BERT / method / "a", tmp_path / "modern")
    pickle, safe = folder / "pytorch_adapter.bin", folder / "adapter.safetensors"
    if not safe.exists():
        unpickle(str(pickle), str(safe), {"format": "pt"})
    return folder


def require_same(one: Adapter, other: Adapter) -> None:
    assert one.method == other.method
    assert one.deltas.keys() == other.deltas.keys()
    for mine, yours in zip(one.modules(), other.modules(), strict=True):
        theirs = yours.state_dict()
        assert all(torch.equal(value, theirs[key]) for key, value in mine.state_dict().items())


def age(folder: Path, **fields: Any) -> None:
    """Give a folder the names of version 1 and take its version away."""
    safe = folder / "adapter.safetensors"
    tensors = {}
    for name, tensor in load_file(safe).items():
        for new, old in OLD_NAMES.items():
            if new in name:
                name = name.replace(new, old)
                break
        tensors[name] = tensor
    save_file(tensors, safe)
    options = options_in(folder)
    del options["version"]
    inner = options["config"]
    kind, factor = inner.pop("inv_adapter"), inner.pop("inv_adapter_reduction_factor")
    nested = {"block_type": kind or "nice", "reduction_factor": factor or 2}
    inner["invertible_adapter"] = {**nested, "non_linearity": "relu"}
    (folder / "adapter_config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    edit_json(folder, **options, **fields)


@pytest.mark.parametrize(
    ("method", "type"),
    [("seq_bn", "text_task"), ("double_seq_bn", "text_task"), ("seq_bn_inv", "text_lang")],
)
def test_version_1_is_read_as_the_same_adapter(tmp_path: Path, method: str, type: str) -> None:
    folder = modern(tmp_path, method)
    today = Adapter.load(folder)
    old = copy(folder, tmp_path / "old")
    age(old, type=type)
    require_same(Adapter.load(old), today)


def test_gelu_without_a_version_is_gelu_new(tmp_path: Path) -> None:
    folder = modern(tmp_path, "seq_bn")
    edit_options(folder, non_linearity="gelu")
    assert vars(Adapter.load(folder).method)["activation"] == "gelu"
    options = options_in(folder)
    del options["version"]
    (folder / "adapter_config.json").write_text("{}")
    edit_json(folder, **options)
    assert vars(Adapter.load(folder).method)["activation"] == "gelu_new"


def test_a_configuration_by_name_is_that_of_its_options(tmp_path: Path) -> None:
    for method, name in (("seq_bn", "pfeiffer"), ("double_seq_bn", "houlsby")):
        folder = modern(tmp_path / method, method)
        today = Adapter.load(folder)
        edit_json(folder, config=name)
        require_same(Adapter.load(folder), today)


def test_what_is_kept_is_refused_by_its_option_when_it_is_attached(tmp_path: Path) -> None:
    folder = modern(tmp_path, "seq_bn")
    edit_options(folder, use_gating=True)
    with pytest.raises(AdapterError, match=r"the option use_gating is True.*does not attach it"):
        Adapter.load(folder)
