from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import hubkit
from hubkit.adapters.adapter import Adapter
from hubkit.training.choosing import learn
from hubkit.training.fusing.own import own_adapter, own_jobs
from hubkit.training.train import train_fusion
from registry import AdapterRef, Catalog, Manifest, Version
from registry.errors import ArgumentError, OtherKindError, StorageError
from registry.search.search import search
from tests.support.data import job, labelled_text
from tests.support.models import random_adapter, tiny_model

pytest_plugins = ("tests.support.published",)

REFS = [AdapterRef.parse("a"), AdapterRef.parse("b")]


@pytest.fixture
def catalog(trained_catalog: Catalog) -> Catalog:
    """Holds the adapters a and b, and their fusion."""
    return trained_catalog


def manifest(catalog: Catalog, ref: str) -> Manifest:
    return catalog.manifest(catalog.resolve(AdapterRef.parse(ref)))


def published(catalog: Catalog) -> set[str]:
    return {str(version.ref) for version in search(catalog).items}


def fused(catalog: Catalog, own: Any, name: str = "new", **settings: Any) -> Version:
    return train_fusion(catalog, job(name, **{"epochs": 1, **settings}), refs=REFS, own=own)


@pytest.mark.parametrize("own", ["before", "apart", "joint"])
def test_the_own_adapter_is_published_and_pinned_after_the_donors(
    catalog: Catalog, own: str
) -> None:
    version = fused(catalog, own)
    parts = catalog.lineage(version).parents
    assert [part.ref for part in parts] == ["a@1", "b@1", "new-own@1"]
    adapter = manifest(catalog, "new-own")
    assert parts[2].digest == adapter.digest
    # Of the method and the sizes of the first donor.
    assert (adapter.method.type, adapter.method.parameters["bottleneck_size"]) == ("seq_bn", 4)
    assert adapter.training is not None
    assert adapter.training.arguments["own"] == own
    hubkit.load(version.ref, catalog=catalog).predict(["a good film"])


def test_what_is_trained_before_predicts_by_itself_and_what_is_trained_jointly_has_no_head(
    catalog: Catalog,
) -> None:
    fused(catalog, "before", "one")
    assert hubkit.load("one-own", catalog=catalog).predict(["a good film"])
    fused(catalog, "joint", "two")
    found = manifest(catalog, "two-own")
    assert (found.head, found.labels, found.metrics) == (None, (), ())


def test_joint_training_changes_the_own_adapter_and_no_donor(catalog: Catalog) -> None:
    before = hubkit.load_composition("a", catalog=catalog)
    fusion: Any = hubkit.load_composition(fused(catalog, "joint").ref, catalog=catalog)
    donor, _, own = fusion.parts
    assert isinstance(before, Adapter)
    for site, delta in before.deltas.items():
        assert torch.equal(donor.deltas[site].up, delta.up)
    # A bias starts at zero.
    assert any(bool(delta.up_bias.any()) for delta in own.deltas.values())


def test_apart_the_two_halves_share_no_row_and_have_all_classes() -> None:
    whole = replace(job("new"), data=labelled_text(20))
    first, second = own_jobs(whole, "apart")
    assert len(first.data) == len(second.data) == 10
    rows = [*zip(first.data["text"], first.data["label"], strict=True)]
    rows += zip(second.data["text"], second.data["label"], strict=True)
    assert sorted(rows) == sorted(zip(whole.data["text"], whole.data["label"], strict=True))
    assert set(first.data["label"]) == set(second.data["label"]) == {"negative", "positive"}


def test_the_same_command_goes_on_with_the_own_adapter_that_is_done(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, calls = learn.fit, []  # type: ignore[attr-defined]

    def full(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments[4].name)
        if len(calls) == 3:
            raise StorageError("The disk is full.", Path())
        return fit(*arguments, **named)

    monkeypatch.setattr(learn, "fit", full)
    before = published(catalog)
    with pytest.raises(StorageError):
        fused(catalog, "before")
    assert published(catalog) == before, "both or neither"
    version = fused(catalog, "before")
    own, fusion = ["own-checkpoints", "own-checkpoints-all"], ["checkpoints", "checkpoints-all"]
    assert calls == [*own, fusion[0], *fusion]
    one = hubkit.load(version.ref, catalog=catalog).logits(["a good film", "dull"])
    monkeypatch.undo()
    whole = fused(catalog, "before", "whole")
    assert torch.equal(one, hubkit.load(whole.ref, catalog=catalog).logits(["a good film", "dull"]))


def test_a_name_that_means_something_else_is_refused_before_training(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused(catalog, "before")
    monkeypatch.setattr(learn, "fit", None)
    with pytest.raises(OtherKindError, match="new-own"):
        train_fusion(catalog, job("new-own", task="sentiment"), refs=REFS, own="before")
    with pytest.raises(ArgumentError, match="'apart' or 'joint', not 'befor'"):
        fused(catalog, "befor")


def test_an_own_adapter_beside_invertible_donors_is_not_invertible() -> None:
    model = tiny_model()
    donor = random_adapter(model, method="seq_bn_inv")
    own = own_adapter(model, "own", [donor])
    assert (own.method.type, own.coupling, donor.coupling is None) == ("seq_bn", None, False)


def test_an_own_adapter_has_nothing_where_the_fusion_leaves_out_a_layer() -> None:
    model = tiny_model()
    own = own_adapter(model, "own", [random_adapter(model)], leave_out=[0])
    assert [str(site) for site in own.deltas] == ["encoder.layer.1.feed_forward"]
