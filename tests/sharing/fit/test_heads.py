from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog
from registry.errors import AdapterError, BaseModelMismatchError, FolderError
from tests.support.foreign import HEAD, copy, edit


def without_last(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: one for name, one in tensors.items() if name != "heads.topic.4.bias"}


def wider(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"heads.topic.1.weight": torch.ones(48, 48)}


def more(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"heads.topic.7.weight": torch.ones(2, 32)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_last, r"heads\.topic\.4\.bias is missing, but .* it has the shape \[2\]\."),
        (
            wider,
            r"heads\.topic\.1\.weight has the shape \[48, 48\], but .* it has the shape \[32, 32\]",
        ),
        (more, r"heads\.topic\.7\.weight has the shape \[2, 32\], but .* it is missing"),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_refused(
    catalog: Catalog,
    tmp_path: Path,
    base: Path,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    told: str,
) -> None:
    folder = copy(HEAD, tmp_path / "topic")
    weights = folder / "model_head.safetensors"
    save_file(change(load_file(weights)), weights)
    with pytest.raises(BaseModelMismatchError, match=told):
        publish_folder(catalog, folder, AdapterRef.parse("it"), base=str(base), task="t")


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"head_type": "clasification"}, AdapterError, "did you mean classification"),
        ({"use_magic": True}, FolderError, "the option 'use_magic' is True"),
        ({"layers": 0}, FolderError, "layers is 0; expected a whole number from 1"),
        ({"use_pooler": "yes"}, FolderError, "use_pooler is 'yes'; expected true or false"),
        ({"dropout_prob": 1.0}, FolderError, "dropout_prob is 1.0; expected a number"),
        ({"activation_function": "tahn"}, AdapterError, "'tahn', which transformers does not"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(
    catalog: Catalog,
    tmp_path: Path,
    base: Path,
    changes: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    folder = copy(HEAD, tmp_path / "topic")
    edit(folder / "head_config.json", lambda it: it["config"].update(changes))
    with pytest.raises(error, match=f"(?i){told}"):
        publish_folder(catalog, folder, AdapterRef.parse("it"), base=str(base), task="t")


@pytest.mark.parametrize("change", [wider, without_last, more])
def test_a_head_of_other_layers_is_refused_where_no_base_model_is_at_hand(
    catalog: Catalog, tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    folder = copy(HEAD, tmp_path / "topic")
    weights = folder / "model_head.safetensors"
    save_file(change(load_file(weights)), weights)
    with pytest.raises(AdapterError, match=r"head that head_config\.json describes has the tens"):
        publish_folder(catalog, folder, AdapterRef.parse("it"), task="t")
