"""A published fusion over fewer adapters computes what the pruned one does."""

from __future__ import annotations

import pytest
import torch

import hubkit
from hubkit import Fusion
from hubkit.composing.prune import publish_pruned
from registry import AdapterRef, Catalog
from registry.errors import CompositionError, NotFoundError, OtherKindError

pytest_plugins = ("tests.support.published",)

TEXTS = ["a good film", "a dull book", "bad"]
BOTH, ONE = AdapterRef.parse("both"), AdapterRef.parse("one")


def test_what_is_published_is_the_fusion_of_the_most_attended(trained_catalog: Catalog) -> None:
    whole = hubkit.load("both", catalog=trained_catalog)
    assert isinstance(whole.composition, Fusion)
    attention = whole.attention(TEXTS)
    kept = whole.composition.prune(attention, 1)
    version = publish_pruned(trained_catalog, ONE, BOTH, TEXTS, 1)
    pruned = hubkit.load("one", catalog=trained_catalog)
    assert isinstance(pruned.composition, Fusion)
    assert pruned.composition.kept == kept.kept
    best = {site: {max(found, key=found.__getitem__): 1.0} for site, found in attention.items()}
    assert pruned.attention(TEXTS) == best
    for site, layer in pruned.composition.layers.items():
        for name, tensor in layer.state_dict().items():
            assert torch.equal(tensor, kept.layers[site].state_dict()[name])
    before, after = (trained_catalog.manifest(one) for one in (whole.version, version))
    assert after.description == "both@1, of which each layer attends to 1 adapters."
    for fact in ("kind", "task", "task_type", "labels", "parents", "base_model", "head", "text"):
        assert getattr(after, fact) == getattr(before, fact), fact


def test_keeping_all_changes_no_output(trained_catalog: Catalog) -> None:
    publish_pruned(trained_catalog, ONE, BOTH, TEXTS, 2)
    whole, same = (hubkit.load(name, catalog=trained_catalog) for name in ("both", "one"))
    assert torch.equal(same.logits(TEXTS), whole.logits(TEXTS))


@pytest.mark.parametrize(
    ("source", "keep", "name", "error", "message"),
    [
        ("a", 1, "one", CompositionError, "only a fusion can be pruned"),
        ("both", 0, "one", CompositionError, "keeps one adapter or more"),
        ("none", 1, "one", NotFoundError, "No adapter is called none"),
        ("both", 1, "a", OtherKindError, "a@1 has the kind adapter"),
    ],
)
def test_what_cannot_be_pruned_is_refused_and_nothing_published(
    trained_catalog: Catalog,
    source: str,
    keep: int,
    name: str,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        publish_pruned(
            trained_catalog, AdapterRef.parse(name), AdapterRef.parse(source), TEXTS, keep
        )
    with pytest.raises(NotFoundError, match="No adapter is called one"):
        trained_catalog.resolve(ONE)
    assert trained_catalog.resolve(AdapterRef.parse("a")).number == 1
