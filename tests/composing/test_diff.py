"""What differs between two versions, checked against numbers worked out by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hubkit.composing.diff import Change, TensorChange, compare
from registry import AdapterRef, Manifest, Version, open_catalog, read_folder
from registry import write_manifest as write_manifest_of
from tests.cli.conftest import BASE

WEIGHTS = "adapter.safetensors"


@pytest.fixture
def publish(tmp_path: Path) -> Callable[..., Version]:
    def make(tensors: dict[str, torch.Tensor], **fields: Any) -> Version:
        folder = tmp_path / f"folder-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        save_file(tensors, folder / WEIGHTS)
        defaults = {"kind": "adapter", "method": {"type": "seq_bn"}, "base_model": BASE}
        write_manifest_of(folder, Manifest.model_validate(defaults | fields))
        return open_catalog().publish(AdapterRef.parse("film"), read_folder(folder))

    return make


def measured(value: float) -> list[dict[str, Any]]:
    facts = {"dataset": "imdb", "split": "test", "name": "accuracy"}
    return [{**facts, "value": value, "higher_is_better": True}]


def test_only_what_differs_is_told(publish: Callable[..., Version]) -> None:
    one = publish(
        {"same": torch.ones(2), "moved": torch.tensor([3.0, 4.0]), "gone": torch.zeros(1)},
        task="sentiment",
        metrics=measured(0.5),
        method={"type": "seq_bn", "parameters": {"size": 8, "act": "relu"}},
    )
    other = publish(
        {"same": torch.ones(2), "moved": torch.tensor([3.0, 9.0]), "new": torch.zeros(2, 3)},
        task="sentiment",
        metrics=measured(0.75),
        tags=["film"],
        method={"type": "seq_bn", "parameters": {"size": 16, "act": "relu"}},
    )
    found = compare(open_catalog(), one, other)
    assert found.fields == (Change("method.parameters.size", 8, 16), Change("tags", [], ["film"]))
    assert found.metrics == (Change("accuracy (imdb, test)", 0.5, 0.75),)
    assert [change.name for change in found.files] == [WEIGHTS]
    # The norm of (0, 5) over that of (3, 4).
    assert found.tensors == (
        TensorChange(f"{WEIGHTS}: gone", (1,), None, None),
        TensorChange(f"{WEIGHTS}: moved", (2,), (2,), 1.0),
        TensorChange(f"{WEIGHTS}: new", None, (2, 3), None),
    )


def test_tensors_are_compared_whatever_their_adapters_are_called(
    publish: Callable[..., Version],
) -> None:
    site = "bert.encoder.layer.0.output.adapters"
    one = publish(
        {f"{site}.a.adapter_down.0.weight": torch.ones(2), f"{site}.a.gone": torch.ones(1)}
    )
    other = publish(
        {f"{site}.b.adapter_down.0.weight": torch.ones(2), f"{site}.b.new": torch.ones(3)}
    )
    found = compare(open_catalog(), one, other)
    assert found.tensors == (
        TensorChange(f"{WEIGHTS}: {site}.a.gone", (1,), None, None),
        TensorChange(f"{WEIGHTS}: {site}.b.new", None, (3,), None),
    )


def test_a_version_does_not_differ_from_itself(publish: Callable[..., Version]) -> None:
    version = publish({"w": torch.ones(2)})
    found = compare(open_catalog(), version, version)
    assert (found.fields, found.metrics, found.files, found.tensors) == ((), (), (), ())


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_float_is_understood(publish: Callable[..., Version], kind: torch.dtype) -> None:
    one = publish({"w": torch.full((3,), 2.0, dtype=kind)})
    other = publish({"w": torch.full((3,), 2.5, dtype=kind)})
    (change,) = compare(open_catalog(), one, other).tensors
    assert change.relative == pytest.approx(0.25)


def test_from_nothing_the_change_has_no_measure(publish: Callable[..., Version]) -> None:
    one, other = publish({"w": torch.zeros(2)}), publish({"w": torch.ones(2)})
    (change,) = compare(open_catalog(), one, other).tensors
    assert change.relative == np.inf
