from collections.abc import Callable
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, read_folder
from registry.errors import CorruptBlobError, FolderError

pytestmark = pytest.mark.once

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


def test_a_materialized_version_is_the_folder_that_was_published(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder()
    version = catalog.publish(REF, folder)
    destination = tmp_path / "deep" / "out"
    assert catalog.materialize(version, destination) == folder.manifest
    assert read_folder(destination).manifest == folder.manifest
    weights = Path("head") / "weights.bin"
    assert (destination / weights).read_bytes() == (folder.path / weights).read_bytes()
    assert catalog.publish(REF, read_folder(destination)) == version


def test_materialize_writes_into_an_empty_folder_but_over_nothing(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    version = catalog.publish(REF, make_folder())
    (tmp_path / "out").mkdir()
    catalog.materialize(version, tmp_path / "out")
    with pytest.raises(FolderError, match="is in the way"):
        catalog.materialize(version, tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FolderError, match="is in the way"):
        catalog.materialize(version, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("damage", [b"", b"weights 2", b"weights 1 and more", None])
def test_a_damaged_blob_is_named_with_its_version_and_file_and_nothing_is_written(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path, damage: bytes | None
) -> None:
    folder = make_folder(content=b"weights 1")
    version = catalog.publish(REF, folder)
    blob = catalog.blobs.path(folder.manifest.files["head/weights.bin"].sha256)
    blob.chmod(0o600)
    blob.unlink() if damage is None else blob.write_bytes(damage)
    before = set(tmp_path.iterdir())
    with pytest.raises(
        CorruptBlobError, match=r"alice/sst2@1: head/weights\.bin: .*[Pp]ublish or pull"
    ):
        catalog.materialize(version, tmp_path / "out")
    with pytest.raises(CorruptBlobError, match=r"alice/sst2@1: head/weights\.bin"):
        catalog.folder(version)
    assert set(tmp_path.iterdir()) == before
    assert not [path for path in (catalog.home / "cache").iterdir() if path.is_dir()]
    # The cure in the message works.
    blob.unlink(missing_ok=True)
    assert catalog.publish(REF, folder) == version
    catalog.folder(version)


def test_a_damaged_manifest_is_named(catalog: Catalog, make_folder: MakeFolder) -> None:
    version = catalog.publish(REF, make_folder())
    blob = catalog.blobs.path(version.manifest_digest)
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes().replace(b"adapter", b"fusions"))
    with pytest.raises(CorruptBlobError, match=r"alice/sst2@1: hubkit\.json: expected"):
        catalog.manifest(version)
