"""What may be combined, and what a published stack or mix says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubkit.composing.combine import (
    Chosen,
    choose,
    pins,
    publish_mix,
    publish_stack,
    require_same_kind,
)
from hubkit.composition import Mix, Stack
from registry import AdapterRef, Catalog, Manifest, Version, read_folder, write_manifest
from registry.errors import (
    BaseModelMismatchError,
    CompositionError,
    InvalidNameError,
    NotFoundError,
    OtherKindError,
)
from registry.manifest import BaseModelInfo

BASE = {"id": "team/base", "fingerprint": "ab" * 32, "hidden_size": 8, "num_layers": 2}


def ref(name: str) -> AdapterRef:
    return AdapterRef.parse(name)


def manifest(method: str = "seq_bn", **facts: object) -> Manifest:
    defaults = {"kind": "adapter", "method": {"type": method}, "base_model": BASE}
    return Manifest.model_validate(defaults | facts)


@pytest.fixture
def shelf(catalog: Catalog, tmp_path: Path) -> Catalog:
    """Holds a language adapter, two of one task, one of another base and one hubkit only keeps."""
    labels = ["neg", "pos"]
    classes = {"task_type": "text-classification", "labels": labels, "language": "de"}
    kept = {
        "german": manifest(task="language"),
        "film": manifest(task="sentiment", **classes),
        "book": manifest("lora", task="sentiment", **classes),
        "far": manifest(base_model=BASE | {"fingerprint": "cd" * 32}),
        "prompt": manifest("prompt_tuning"),
    }
    for name, made in kept.items():
        folder = tmp_path / name
        folder.mkdir()
        write_manifest(folder, made)
        catalog.publish(ref(name), read_folder(folder))
    return catalog


def test_what_is_chosen_keeps_its_order_and_is_pinned_by_digest(shelf: Catalog) -> None:
    chosen = choose(shelf, [ref("film"), ref("german@1")], Stack)
    assert [str(version.ref) for version, _ in chosen] == ["film@1", "german@1"]
    assert [one.manifest for one in chosen] == [shelf.manifest(one.version) for one in chosen]
    digests = [shelf.resolve(ref(name)).manifest_digest for name in ("film", "german")]
    assert [(parent.ref, parent.digest) for parent in pins(chosen)] == [
        ("film@1", digests[0]),
        ("german@1", digests[1]),
    ]


def test_what_was_chosen_before_is_not_looked_up_again(
    shelf: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = choose(shelf, [ref("film"), ref("book")], Mix)

    def refuse(*_: object) -> Version:
        raise AssertionError("asked again")

    monkeypatch.setattr(Catalog, "resolve", refuse)
    monkeypatch.setattr(Catalog, "manifest", refuse)
    again: list[AdapterRef | Chosen] = [*chosen]
    assert choose(shelf, again, Mix) == chosen


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["film"], CompositionError, "needs at least two adapters, found 1"),
        (["film", "film@1"], CompositionError, "film@1"),
        (["film", "none"], NotFoundError, "No adapter is called none"),
        (["film", "prompt"], CompositionError, "of the method prompt_tuning, which hubkit keeps"),
        (["film", "far"], BaseModelMismatchError, "film@1 and far@1 belong to different base"),
    ],
)
def test_what_cannot_be_combined_is_refused(
    shelf: Catalog, names: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        publish_stack(shelf, ref("both"), [ref(name) for name in names])
    with pytest.raises(NotFoundError, match="No adapter is called both"):
        shelf.resolve(ref("both"))


def test_a_stack_says_what_its_last_adapter_does(shelf: Catalog) -> None:
    version = publish_stack(shelf, ref("both"), [ref("german"), ref("film")])
    made = shelf.manifest(version)
    assert (made.kind, made.method.type, made.method.parameters) == ("stack", "stack", {})
    assert (made.task, made.task_type) == ("sentiment", "text-classification")
    assert (made.labels, made.language) == (("neg", "pos"), "de")
    assert made.base_model == BaseModelInfo.model_validate(BASE)
    assert [parent.ref for parent in made.parents] == ["german@1", "film@1"]
    assert made.files == {}


@pytest.mark.parametrize(
    ("given", "kept"), [((), [0.5, 0.5]), ((2, -1.5), [2.0, -1.5])], ids=["equal", "given"]
)
def test_a_mix_keeps_its_weights(
    shelf: Catalog, given: tuple[float, ...], kept: list[float]
) -> None:
    version = publish_mix(shelf, ref("both"), [ref("film"), ref("book")], given)
    made = shelf.manifest(version)
    assert (made.kind, made.method.parameters) == ("mix", {"weights": kept})
    assert [parent.ref for parent in made.parents] == ["film@1", "book@1"]


def test_a_mix_needs_a_weight_for_each(shelf: Catalog) -> None:
    with pytest.raises(CompositionError, match="Each part has a weight: expected 2, found 1"):
        publish_mix(shelf, ref("both"), [ref("film"), ref("book")], [1.0])


def test_a_name_goes_on_meaning_what_it_means(shelf: Catalog) -> None:
    with pytest.raises(OtherKindError, match=r"film@1 has the kind adapter") as caught:
        publish_stack(shelf, ref("film"), [ref("german"), ref("book")])
    assert (caught.value.given, caught.value.found) == ({"kind": "stack"}, {"kind": "adapter"})
    version = publish_stack(shelf, ref("film"), [ref("german"), ref("book")], replace_name=True)
    assert str(version.ref) == "film@2"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task": "topic"}, "the task sentiment; .* has topic"),
        ({"labels": ("pos", "neg")}, "the labels neg, pos; .* has pos, neg"),
        ({"base_model": BaseModelInfo(id="x", fingerprint="cd" * 32)}, "the base model team/base"),
        ({"task": None, "task_type": None, "labels": ()}, "and another task type, labels"),
    ],
)
def test_what_would_change_the_meaning_of_a_name_is_named(
    shelf: Catalog, changes: dict[str, object], named: str
) -> None:
    known = shelf.manifest(shelf.resolve(ref("film")))
    other = known.model_copy(update=changes)
    with pytest.raises(OtherKindError, match=named):
        require_same_kind(shelf, ref("film"), other, replace_name=False)
    require_same_kind(shelf, ref("film"), other, replace_name=True)
    require_same_kind(shelf, ref("new"), other, replace_name=False)
    require_same_kind(shelf, ref("film"), known, replace_name=False)


def test_a_name_with_a_version_is_not_published_to(shelf: Catalog) -> None:
    with pytest.raises(InvalidNameError, match="without version or alias"):
        publish_stack(shelf, ref("both@2"), [ref("german"), ref("film")])
