"""Adapters with AdapterHub's own heads for images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, ViTImageProcessorPil

import hubkit
from hubkit import Adapter, attach, set_head, with_flexible_head
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog
from tests.support.models import REFERENCES, reference_base

pillow = pytest.importorskip("PIL.Image")


def image(seed: int) -> Any:
    draw = np.random.default_rng(seed)
    return pillow.fromarray(draw.integers(0, 256, (7, 9, 3), np.uint8))


@pytest.mark.parametrize("name", ["classes", "several"])
def test_images_are_told_apart_by_the_head(catalog: Catalog, tmp_path: Path, name: str) -> None:
    base, folder = tmp_path / "base", REFERENCES / "vit" / "flexible" / name
    reference_base("vit").save_pretrained(base)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(base)
    publish_folder(catalog, folder, AdapterRef.parse("it"), base=str(base), task="pictures")
    model = hubkit.load("it", catalog=catalog)
    assert (model.task.name, model.labels) == ("image-classification", ("low", "high", "mid"))
    adapter = Adapter.load(folder)
    assert adapter.head is not None
    assert adapter.head.flexible is not None
    own = with_flexible_head(AutoModel.from_pretrained(base).eval(), adapter.head.flexible)
    set_head(own, adapter.head)
    images = [image(seed) for seed in range(3)]
    pixels = AutoImageProcessor.from_pretrained(base)(images, return_tensors="pt")
    with attach(own, adapter), torch.no_grad():
        logits = own(**pixels).logits
    expected = logits.sigmoid() if name == "several" else logits.softmax(-1)
    for found, scores in zip(model.predict(images), expected.tolist(), strict=True):
        assert list(found.scores.values()) == pytest.approx(scores, abs=1e-5)
