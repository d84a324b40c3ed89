from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from hubkit.composing.combine import publish_stack
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog
from tests.suggesting.conftest import DATA, ask
from tests.support.data import LabelledText, job


def test_what_is_left_out_is_counted(catalog: Catalog, blind: Path) -> None:
    parts = [AdapterRef.parse("noise-0"), AdapterRef.parse("noise-1")]
    publish_stack(catalog, AdapterRef.parse("both"), parts)
    found = ask(catalog, blind, most=3)
    assert found.left_out == {"fusions, stacks and mixes": 1, "behind the first 3": 8}
    # That of the same task type, and then the latest.
    names = {one.version.ref.name for one in found.ranked}
    assert names == {"seeing", "noise-9", "noise-8"}


def test_an_adapter_of_these_very_rows_is_left_out(catalog: Catalog, blind: Path) -> None:
    again = LabelledText("again.csv", DATA.texts[:24], DATA.labels[:24])
    train_adapter(catalog, replace(job("own", epochs=1), data=again, validation=0), base=str(blind))
    assert "trained on these very rows" not in ask(catalog, blind, most=2).left_out
    found = ask(catalog, blind, again, most=2)
    assert found.left_out == {"trained on these very rows": 1, "behind the first 2": 9}


def test_damaged_adapters_are_skipped_with_a_note(
    catalog: Catalog, blind: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("noise-3", "noise-4"):
        version = catalog.resolve(AdapterRef.parse(name))
        files = catalog.manifest(version).files
        (weights,) = (info.sha256 for path, info in files.items() if path.endswith("safetensors"))
        path = catalog.blobs.path(weights if name == "noise-3" else version.manifest_digest)
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with caplog.at_level(logging.WARNING):
        found = ask(catalog, blind)
    assert {one.version.ref.name for one in found.skipped} == {"noise-3", "noise-4"}
    assert len(found.ranked) == 9
    for name in ("noise-3", "noise-4"):
        assert f"{name}@1 is skipped: " in caplog.text
