from collections.abc import Callable
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, Version
from registry.errors import ConflictError, CorruptBlobError, RefNotFoundError

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


def parent(version: Version) -> dict[str, str]:
    return {"ref": str(version.ref), "digest": version.manifest_digest}


def snapshot(catalog: Catalog) -> dict[Path, bytes]:
    # What SQLite shares between processes says nothing about the registry.
    files = (path for path in catalog.home.rglob("*") if not path.name.endswith("-shm"))
    return {path: path.read_bytes() for path in files if path.is_file()}


@pytest.fixture
def nested(other_catalog: Catalog, make_folder: MakeFolder) -> Version:
    """Publish a stack of a fusion and an adapter that the fusion is made of too."""
    other_catalog.publish(AdapterRef.parse("one"), make_folder())
    one = other_catalog.publish(AdapterRef.parse("one"), make_folder())
    two = other_catalog.publish(AdapterRef.parse("two"), make_folder())
    fused = other_catalog.publish(
        AdapterRef.parse("fused"), make_folder(kind="fusion", parents=[parent(one), parent(two)])
    )
    return other_catalog.publish(
        AdapterRef.parse("all"), make_folder(kind="stack", parents=[parent(fused), parent(one)])
    )


def test_a_pulled_version_keeps_name_number_author_date_and_bytes(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder
) -> None:
    other_catalog.publish(REF, make_folder())
    there = other_catalog.publish(REF, make_folder(content=b"w"), author="Alice", message="hi")
    assert catalog.pull(REF, other_catalog) == there
    assert catalog.pull(there, other_catalog) == there
    assert [version.number for version in catalog.versions(REF)] == [2]
    assert (catalog.folder(there) / "head" / "weights.bin").read_bytes() == b"w"
    assert catalog.publish(REF, make_folder()).number == 3


def test_everything_a_version_is_made_of_comes_first(
    catalog: Catalog, other_catalog: Catalog, nested: Version
) -> None:
    catalog.pull(nested.ref, other_catalog)
    for ref in ("one@2", "two@1", "fused@1", "all@1"):
        version = catalog.resolve(AdapterRef.parse(ref))
        assert version == other_catalog.resolve(AdapterRef.parse(ref))
        catalog.folder(version)
    assert [link.ref for link in catalog.lineage(nested).parents] == ["fused@1", "one@2"]


def test_pulling_again_changes_nothing(
    catalog: Catalog, other_catalog: Catalog, nested: Version
) -> None:
    catalog.pull(nested.ref, other_catalog)
    before, source_before = snapshot(catalog), snapshot(other_catalog)
    catalog.pull(nested.ref, other_catalog)
    assert snapshot(catalog) == before
    assert snapshot(other_catalog) == source_before


def test_an_interrupted_pull_is_finished_by_the_next(
    catalog: Catalog, other_catalog: Catalog, nested: Version
) -> None:
    blob = other_catalog.blobs.path(nested.manifest_digest)
    hidden = blob.with_name("hidden")
    blob.rename(hidden)
    with pytest.raises(CorruptBlobError, match=r"all@1: hubkit\.json"):
        catalog.pull(nested.ref, other_catalog)
    assert catalog.resolve(AdapterRef.parse("fused@1"))
    with pytest.raises(RefNotFoundError):
        catalog.resolve(nested.ref)
    hidden.rename(blob)
    assert catalog.pull(nested.ref, other_catalog) == nested


def test_a_pull_under_another_name_takes_the_next_number(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder
) -> None:
    other_catalog.publish(REF, make_folder(), number=9)
    catalog.publish(AdapterRef.parse("mine"), make_folder())
    pulled = catalog.pull(REF, other_catalog, name=AdapterRef.parse("mine"))
    assert str(pulled.ref) == "mine@2"


def test_a_number_that_holds_other_content_here_is_a_conflict(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder
) -> None:
    mine = catalog.publish(REF, make_folder())
    other_catalog.publish(REF, make_folder())
    with pytest.raises(ConflictError, match="alice/sst2@1 already exists with other content"):
        catalog.pull(REF, other_catalog)
    assert catalog.versions(REF) == [mine]


def test_a_yanked_version_arrives_yanked(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder
) -> None:
    ref = other_catalog.publish(REF, make_folder()).ref
    other_catalog.yank(ref, "wrong labels")
    pulled = catalog.pull(ref, other_catalog)
    assert (pulled.yanked, pulled.yank_reason) == (True, "wrong labels")


def test_altered_bytes_in_the_source_are_not_registered(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder
) -> None:
    folder = make_folder(content=b"right")
    other_catalog.publish(REF, folder)
    blob = other_catalog.blobs.path(folder.manifest.files["head/weights.bin"].sha256)
    blob.chmod(0o600)
    blob.write_bytes(b"wrong")
    with pytest.raises(CorruptBlobError, match=r"alice/sst2@1: head/weights\.bin: expected"):
        catalog.pull(REF, other_catalog)
    with pytest.raises(RefNotFoundError):
        catalog.resolve(REF)
