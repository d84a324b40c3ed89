import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, Version
from registry.catalog.origins import open_origin
from registry.errors import CorruptBlobError
from registry.maintenance.fsck import check_registry

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


def damage(path: Path, content: bytes | None) -> None:
    path.chmod(0o600)
    path.unlink() if content is None else path.write_bytes(content)


def weights(catalog: Catalog, version: Version) -> Path:
    return catalog.blobs.path(catalog.manifest(version).files["head/weights.bin"].sha256)


@pytest.fixture
def pulled(catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder) -> Version:
    other_catalog.publish(REF, make_folder(content=b"right"))
    return catalog.pull(REF, other_catalog)


@pytest.mark.parametrize("content", [b"wrong", b"", b"right and more", None])
def test_damaged_bytes_are_fetched_again_from_where_they_came(
    catalog: Catalog, pulled: Version, content: bytes | None
) -> None:
    path = weights(catalog, pulled)
    damage(path, content)
    assert (catalog.folder(pulled) / "head" / "weights.bin").read_bytes() == b"right"
    assert path.read_bytes() == b"right"
    kept = [*catalog.blobs.quarantine.glob(f"{path.name}-*")]
    assert [path.read_bytes() for path in kept] == ([] if content is None else [content])
    with catalog.database.read() as connection:
        entries = [*catalog.log.entries(connection)][1:]
    told = [(entry.action, entry.details["sha256"]) for entry in entries]
    expected = [("quarantine", path.name), ("fetch", path.name)]
    assert told == expected[content is None :]


def test_a_damaged_manifest_is_fetched_again(catalog: Catalog, pulled: Version) -> None:
    path = catalog.blobs.path(pulled.manifest_digest)
    before = path.read_bytes()
    damage(path, b"{}")
    assert catalog.manifest(pulled).digest == pulled.manifest_digest
    assert path.read_bytes() == before


def test_what_comes_from_nowhere_is_set_aside_and_named(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(content=b"right")
    version = catalog.publish(REF, folder)
    path = weights(catalog, version)
    damage(path, b"wrong")
    with pytest.raises(CorruptBlobError, match=r"alice/sst2@1: head/weights\.bin: ") as caught:
        catalog.materialize(version, tmp_path / "out")
    (kept,) = catalog.blobs.quarantine.iterdir()
    assert f"The damaged bytes are kept as {kept}" in str(caught.value)
    assert "Publish or pull the same adapter again, or restore a backup" in str(caught.value)
    assert (kept.read_bytes(), path.exists()) == (b"wrong", False)
    with pytest.raises(CorruptBlobError, match="found no file") as again:
        catalog.materialize(version, tmp_path / "out")
    assert f"found no file. The damaged bytes are kept as {kept}" in str(again.value)
    (finding,) = check_registry(catalog).findings
    assert f"Damaged bytes of it are kept as {kept}." in finding.text
    catalog.publish(REF, folder)  # the cure
    catalog.materialize(version, tmp_path / "out")


@pytest.mark.parametrize("gone", [True, False])
def test_an_origin_that_is_of_no_help_is_told(
    catalog: Catalog, other_catalog: Catalog, pulled: Version, gone: bool
) -> None:
    path = weights(catalog, pulled)
    if gone:
        shutil.rmtree(other_catalog.home)
    else:
        damage(other_catalog.blobs.path(path.name), b"wrong")
    damage(path, None)
    with pytest.raises(CorruptBlobError, match=f"It came from {other_catalog.home}, but: "):
        catalog.folder(pulled)
    assert not path.exists()


def test_a_pull_mends_its_source_from_where_that_was_pulled(
    catalog: Catalog, other_catalog: Catalog, pulled: Version, tmp_path: Path
) -> None:
    third = Catalog(tmp_path / "third")
    third.home.mkdir()
    third.database.upgrade()
    damage(weights(catalog, pulled), b"wrong")
    assert third.pull(REF, catalog) == pulled
    assert weights(catalog, pulled).read_bytes() == b"right"


def test_intact_bytes_are_never_set_aside(catalog: Catalog, pulled: Version) -> None:
    digest = weights(catalog, pulled).name
    assert catalog.blobs.set_aside(digest) is None
    assert catalog.blobs.size(digest) is not None


def test_only_places_that_hubkit_knows_are_fetched_from() -> None:
    from registry.errors import StorageError

    for location in ("file:///etc", "ssh://host", "s3://bucket"):
        with pytest.raises(StorageError, match="hubkit cannot fetch from"):
            open_origin(location)
