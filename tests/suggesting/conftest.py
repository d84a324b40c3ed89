"""A registry with one adapter that helps, and ten that do not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, PreTrainedModel

import hubkit
from hubkit.adapters.adapter import Adapter
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.bases.describe import describe
from hubkit.suggesting.suggest import Suggestions, suggest
from hubkit.tasks.rows import Rows
from registry import AdapterRef, Catalog, open_catalog
from registry.folders import read_folder
from tests.support.data import labelled_text
from tests.support.models import base_folder, random_adapter, tokenizer

DATA = labelled_text(48)


@pytest.fixture(scope="session")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of whose states all features but one are the same for every text."""
    folder = base_folder(tmp_path_factory.mktemp("suggesting") / "base")
    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[-1].output.LayerNorm.weight[1:] = 0
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, blind: Path) -> Path:
    """`seeing` brings the labels into the feature that is left; `noise-0` to `noise-9` do not."""
    folder = tmp_path_factory.mktemp("suggesting-home")
    catalog, model = open_catalog(folder / "home"), AutoModel.from_pretrained(blind).eval()
    seeing = random_adapter(model, "seeing", bottleneck_size=8)
    teach(model, seeing)
    noise = [
        random_adapter(model, f"noise-{number}", ("seq_bn", "lora")[number % 2], seed=number)
        for number in range(10)
    ]
    facts = {"task_type": "text-classification", "labels": ("negative", "other", "positive")}
    for adapter in (seeing, *noise):
        adapter = replace(adapter, base=describe(model))
        manifest = manifest_of(adapter, **(facts if adapter.name == "seeing" else {}))
        save_folder(adapter, manifest, folder / adapter.name)
        catalog.publish(AdapterRef.parse(adapter.name), read_folder(folder / adapter.name))
    return folder / "home"


def teach(model: PreTrainedModel, adapter: Adapter) -> None:
    """Fit an adapter until the mean of the first feature is about 1 or -1, as the label says."""
    trained = [one for module in adapter.modules() for one in module.parameters()]
    model.requires_grad_(False)
    for one in trained:
        one.requires_grad_(True)
    inputs = tokenizer()([*DATA.texts], padding=True, return_tensors="pt")
    mask = inputs["attention_mask"]
    wanted = torch.tensor([1.0 if label == "positive" else -1.0 for label in DATA.labels])
    adam = torch.optim.Adam(trained, lr=2e-2)
    with hubkit.attach(model, adapter):
        for _ in range(150):
            first = model(**inputs)[0][..., 0]
            loss = (((first * mask).sum(1) / mask.sum(1) - wanted) ** 2).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    for one in trained:
        one.requires_grad_(False)


@pytest.fixture
def catalog(tmp_path: Path, home: Path) -> Catalog:
    return open_catalog(Path(shutil.copytree(home, tmp_path / "home")))


def ask(catalog: Catalog, base: Path, rows: Rows = DATA, **options: Any) -> Suggestions:
    task_type = options.pop("task_type", "text-classification")
    return suggest(catalog, rows, base=str(base), task_type=task_type, **options)
