from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import text

import hubkit
from hubkit import Adapter, Stack
from hubkit.adapters.load import Published, load_published
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.adapters.tree import Tree
from hubkit.bases.describe import describe
from hubkit.composing.combine import publish_stack
from hubkit.models.head import head_of
from registry import AdapterRef, Catalog, open_catalog, read_folder
from registry.errors import (
    AdapterError,
    BaseModelMismatchError,
    CompositionError,
    ParentNotFoundError,
)
from tests.support.models import base_folder, random_adapter, tiny_classifier

REFS = [AdapterRef.parse(name) for name in ("a", "b")]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Holds the adapters a, with labels n and y, and b, with labels no and yes."""
    catalog = open_catalog(tmp_path / "home")
    for seed, (name, labels) in enumerate({"a": ("n", "y"), "b": ("no", "yes")}.items()):
        publish(catalog, adapter(tmp_path, name, labels, seed=seed))
    return catalog


def adapter(
    tmp_path: Path, name: str, labels: tuple[str, ...], *, seed: int = 0, base_seed: int = 0
) -> Adapter:
    folder = tmp_path / f"base-{base_seed}"
    if not folder.exists():
        base_folder(folder, seed=base_seed)
    model = tiny_classifier(seed=base_seed, pad_token_id=1)  # as in the folder
    model.config.name_or_path = str(folder)
    head = head_of(model)
    assert head is not None
    head = replace(head, labels=labels)
    return replace(random_adapter(model, name, seed=seed), base=describe(model), head=head)


def publish(catalog: Catalog, made: Adapter, **facts: Any) -> None:
    folder = catalog.home / f"saved-{made.name}"
    facts = {"task_type": "text-classification", **facts}
    save_folder(made, manifest_of(made, **facts), folder)
    catalog.publish(AdapterRef.parse(made.name), read_folder(folder))


def load_named(catalog: Catalog, name: str) -> Published:
    return load_published(catalog, catalog.resolve(AdapterRef.parse(name)))


def test_a_stack_has_the_labels_and_the_head_of_its_last_adapter(catalog: Catalog) -> None:
    publish_stack(catalog, AdapterRef.parse("s"), REFS)
    published = load_named(catalog, "s")
    assert isinstance(published.composition, Stack)
    assert [leaf.name for leaf in Tree.of(published.composition).adapters] == ["a", "b"]
    assert published.manifest.labels == ("no", "yes")
    assert published.head is not None
    assert published.head.labels == ("no", "yes")


def test_a_stack_of_a_stack_loads_all_the_way_down(catalog: Catalog, tmp_path: Path) -> None:
    publish(catalog, adapter(tmp_path, "c", ("n", "y"), seed=5))
    publish_stack(catalog, AdapterRef.parse("s"), REFS)
    deep = publish_stack(
        catalog, AdapterRef.parse("deep"), [AdapterRef.parse("s"), AdapterRef.parse("c")]
    )
    composition = load_published(catalog, deep).composition
    assert str(composition) == "stack(stack(a, b), c)"


def test_stacks_need_two_adapters_of_one_base(catalog: Catalog, tmp_path: Path) -> None:
    publish(catalog, adapter(tmp_path, "far", ("n", "y"), base_seed=4))
    name = AdapterRef.parse("s")
    with pytest.raises(BaseModelMismatchError, match="a@1 and far@1 belong to different base"):
        publish_stack(catalog, name, [REFS[0], AdapterRef.parse("far")])
    with pytest.raises(CompositionError, match="a@1 is given twice"):
        publish_stack(catalog, name, [REFS[0], AdapterRef.parse("a@1")])
    with pytest.raises(CompositionError, match="at least two"):
        publish_stack(catalog, name, REFS[:1])


def test_a_missing_parent_is_named(catalog: Catalog) -> None:
    publish_stack(catalog, AdapterRef.parse("s"), REFS)
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE parents SET digest = :other"), {"other": "0" * 64})
    with pytest.raises(ParentNotFoundError, match=r"s@1 is made of a@1 .*Publish or pull a@1"):
        load_named(catalog, "s")


def test_labels_that_the_manifest_and_the_head_do_not_share_are_refused(
    catalog: Catalog, tmp_path: Path
) -> None:
    publish(catalog, adapter(tmp_path, "c", ("n", "y")), labels=("y", "n"))
    with pytest.raises(
        AdapterError, match=r"The head of c@1 has the labels n, y, but its manifest says y, n"
    ):
        load_named(catalog, "c")


def test_what_cannot_predict_says_so(catalog: Catalog, tmp_path: Path) -> None:
    publish(catalog, replace(adapter(tmp_path, "headless", ()), head=None))
    with pytest.raises(AdapterError, match="headless@1 has no head, so it cannot"):
        hubkit.load("headless", catalog=catalog)
    publish(catalog, adapter(tmp_path, "painter", ("n", "y")), task_type="text-to-image")
    with pytest.raises(AdapterError, match="painter@1 has the task type text-to-image; hub"):
        hubkit.load("painter", catalog=catalog)


def test_the_registry_of_the_user_is_the_default(hubkit_home: Path, tmp_path: Path) -> None:
    publish(open_catalog(hubkit_home), adapter(tmp_path, "mine", ("n", "y")))
    assert hubkit.load("mine").labels == ("n", "y")


def test_what_is_wrong_with_a_version_is_told_by_its_name(catalog: Catalog, tmp_path: Path) -> None:
    broken = adapter(tmp_path, "broken", ("n", "y"))
    with torch.no_grad():
        next(iter(broken.deltas.values())).down[0, 0] = float("nan")
    publish(catalog, broken)  # as an older release, which did not look
    with pytest.raises(
        AdapterError, match=r"^broken@1: adapter 'broken' at .* holds NaN"
    ) as caught:
        load_named(catalog, "broken")
    assert str(catalog.home) not in str(caught.value)
