"""Fixtures: a base model on disk, and a registry with what was trained on it.

Modules that need them say ``pytest_plugins = ("tests.support.published",)``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hubkit.training.train import train_adapter, train_fusion
from registry import AdapterRef, Catalog, open_catalog
from tests.support.data import job
from tests.support.models import base_folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with its tokenizer; not to be changed."""
    return base_folder(tmp_path_factory.mktemp("bases") / "bert")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The home of a registry with the adapters a and b and their fusion; not to be changed."""
    home = tmp_path_factory.mktemp("trained") / "home"
    catalog = open_catalog(home)
    train_adapter(catalog, job("a"), base=str(base), bottleneck_size=4)
    train_adapter(catalog, job("b", seed=7), base=str(base), method="double_seq_bn")
    train_fusion(catalog, job("both"), refs=[AdapterRef.parse("a"), AdapterRef.parse("b")])
    return home


@pytest.fixture
def trained_catalog(tmp_path: Path, trained: Path) -> Catalog:
    """A copy of that registry, to change at will."""
    return open_catalog(Path(shutil.copytree(trained, tmp_path / "home")))


@pytest.fixture
def empty_catalog(tmp_path: Path) -> Catalog:
    """A registry with nothing in it."""
    return open_catalog(tmp_path / "empty")
