"""What a fusion attends to, as a file that is published with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

import hubkit
from hubkit.models.attention import layers_and_places
from hubkit.training.choosing.hold_out import hold_out
from hubkit.training.fusing.attention import ATTENTION_NAME, MOST_ROWS
from hubkit.training.train import train_fusion
from registry import AdapterRef, Catalog
from tests.support.data import job, labelled_text

pytest_plugins = ("tests.support.published",)

REFS = [AdapterRef.parse("a"), AdapterRef.parse("b")]


def told(catalog: Catalog, ref: str) -> Any:
    """What is published of a fusion's attention."""
    version = catalog.resolve(AdapterRef.parse(ref))
    manifest = catalog.manifest(version)
    with catalog.blobs.open(manifest.files[ATTENTION_NAME].sha256) as stream:
        return json.load(stream)


def test_the_file_says_what_the_published_fusion_attends_to(trained_catalog: Catalog) -> None:
    found = told(trained_catalog, "both")
    data = labelled_text()
    _, validation = hold_out(data, data.labels, 42)
    assert (found["data"], found["rows"]) == (validation.dataset, len(validation))
    model = hubkit.load("both", catalog=trained_catalog)
    attention = model.attention(validation["text"])
    places = {(one["layer"], one["place"]): one["weights"] for one in found["sites"]}
    # One of the adapters has bottlenecks in the self-attention, too; null stands for the other.
    assert [one["layer"] for one in found["sites"]] == [0, 0, 1, 1]
    assert [None, 1.0] in places.values()
    assert len(places) == len(attention) == 4
    for site, where in layers_and_places(model.model, attention).items():
        # The adapters stand in the order of the manifest's parents.
        weights, expected = places[where], attention[site]
        assert weights == pytest.approx([expected.get(name) for name in ("a", "b")], abs=2e-4)


def test_only_so_many_rows_are_read(trained_catalog: Catalog) -> None:
    train_fusion(trained_catalog, job("large", rows=400, epochs=1), refs=REFS)
    assert told(trained_catalog, "large")["rows"] == MOST_ROWS


def test_a_fusion_with_an_own_adapter_counts_it_as_the_last_part(trained_catalog: Catalog) -> None:
    train_fusion(trained_catalog, job("new", epochs=1), refs=REFS, own="before")
    assert {len(one["weights"]) for one in told(trained_catalog, "new")["sites"]} == {3}


def test_an_adapter_has_no_such_file(trained_catalog: Catalog) -> None:
    manifest = trained_catalog.manifest(trained_catalog.resolve(AdapterRef.parse("a")))
    assert ATTENTION_NAME not in manifest.files
