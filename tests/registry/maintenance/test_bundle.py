import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from registry import AdapterRef, Catalog, Folder, HubkitError, Version
from registry.errors import (
    BundleError,
    ConflictError,
    CorruptBlobError,
    ParentNotFoundError,
    RefNotFoundError,
)
from registry.maintenance.bundle import export_bundle, import_bundle
from registry.tables.models import TREES

MakeFolder = Callable[..., Folder]


def parent(version: Version) -> dict[str, str]:
    return {"ref": str(version.ref), "digest": version.manifest_digest}


@pytest.fixture
def nested(other_catalog: Catalog, make_folder: MakeFolder) -> Version:
    """A yanked stack of a fusion and an adapter that the fusion is made of too."""
    one = other_catalog.publish(AdapterRef.parse("ada/One"), make_folder(), author="Ada")
    two = other_catalog.publish(AdapterRef.parse("two"), make_folder(), number=7)
    parents = [parent(one), parent(two)]
    fused = other_catalog.publish(
        AdapterRef.parse("fused"), make_folder(kind="fusion", parents=parents), message="hi"
    )
    whole = other_catalog.publish(
        AdapterRef.parse("all"), make_folder(kind="stack", parents=[parent(fused), parent(one)])
    )
    return other_catalog.yank(whole.ref, "leaked")


def exported(catalog: Catalog, ref: AdapterRef) -> bytes:
    target = io.BytesIO()
    export_bundle(catalog, ref, target)
    return target.getvalue()


def members(bundle: bytes) -> dict[str, bytes]:
    """The files of a bundle, as the standard library's tar reader finds them."""
    with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
        return {
            member.name: file.read()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }


def packed(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar archive with these files, of which the last is of a kind."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.type = kind if name == [*files][-1] else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def test_a_version_and_all_it_is_made_of_arrive_as_they_were(
    catalog: Catalog, other_catalog: Catalog, nested: Version
) -> None:
    versions = import_bundle(catalog, io.BytesIO(exported(other_catalog, nested.ref)))
    assert {str(version.ref) for version in versions} == {"ada/One@1", "two@7", "fused@1", "all@1"}
    assert versions[-1] == nested
    for version in versions:
        assert version == other_catalog.resolve(version.ref)
        catalog.folder(version)


@pytest.mark.once
def test_a_bundle_is_a_tar_archive_of_the_index_and_every_blob_once(
    other_catalog: Catalog, nested: Version
) -> None:
    found = members(exported(other_catalog, nested.ref))
    with other_catalog.database.read() as connection:  # lists of files are made anew on arrival
        lists = {*connection.scalars(select(TREES.c.digest))}
    stored = {
        f"blobs/{path.name}"
        for path in other_catalog.blobs.root.rglob("*/*/*")
        if path.name not in lists
    }
    assert next(iter(found)) == "hubkit-bundle.json"
    assert found.keys() - {"hubkit-bundle.json"} == stored


def test_importing_again_changes_nothing_and_another_reader_may_have_written_it(
    catalog: Catalog, other_catalog: Catalog, nested: Version
) -> None:
    bundle = exported(other_catalog, nested.ref)
    first = import_bundle(catalog, io.BytesIO(bundle))
    assert import_bundle(catalog, io.BytesIO(packed(members(bundle)))) == first
    with catalog.database.read() as connection:
        assert len([*catalog.log.entries(connection)]) == 4


@pytest.mark.sqlite
@pytest.mark.parametrize("part", [0, 3, 20, 50, 70, 90])
def test_a_bundle_that_is_cut_off_anywhere_is_refused(
    catalog: Catalog, other_catalog: Catalog, nested: Version, part: int
) -> None:
    bundle = exported(other_catalog, nested.ref)
    with pytest.raises(BundleError, match=r"it is cut off|does not end"):
        import_bundle(catalog, io.BytesIO(bundle[: len(bundle) * part // 100]))
    with pytest.raises(RefNotFoundError):
        catalog.resolve(nested.ref)


@pytest.mark.once
def test_an_end_that_is_cut_off_is_told_although_all_is_there(
    catalog: Catalog, other_catalog: Catalog, nested: Version
) -> None:
    with pytest.raises(BundleError, match="does not end"):
        import_bundle(catalog, io.BytesIO(exported(other_catalog, nested.ref)[:-1]))
    assert catalog.resolve(nested.ref) == nested


def test_what_a_cut_off_bundle_left_is_completed_by_the_whole_one(
    catalog: Catalog, other_catalog: Catalog, nested: Version
) -> None:
    bundle = exported(other_catalog, nested.ref)
    with pytest.raises(BundleError):
        import_bundle(catalog, io.BytesIO(bundle[: len(bundle) - 2500]))
    assert import_bundle(catalog, io.BytesIO(bundle))[-1] == nested


@pytest.mark.once
def test_an_altered_byte_is_refused_wherever_it_is(
    catalog: Catalog, other_catalog: Catalog, nested: Version
) -> None:
    bundle = exported(other_catalog, nested.ref)
    weights = bundle.index(b"weights ")
    altered = bundle[:weights] + b"Weights " + bundle[weights + 8 :]
    with pytest.raises(CorruptBlobError, match=r"head/weights\.bin: expected"):
        import_bundle(catalog, io.BytesIO(altered))


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "change",
    [
        {"ref": "../../etc/passwd@1"},
        {"ref": "one"},
        {"digest": "a" * 64},
        {"digest": "../" * 20},
        {"author": "two\nlines"},
        {"created_at": "yesterday"},
        {"unknown": 1},
    ],
)
def test_an_index_that_lies_is_refused(
    catalog: Catalog, other_catalog: Catalog, nested: Version, change: dict[str, object]
) -> None:
    files = members(exported(other_catalog, nested.ref))
    index = json.loads(files["hubkit-bundle.json"])
    index["versions"][0] |= change
    files["hubkit-bundle.json"] = json.dumps(index).encode()
    with pytest.raises(HubkitError):
        import_bundle(catalog, io.BytesIO(packed(files)))
    with pytest.raises(RefNotFoundError):
        catalog.resolve(AdapterRef.parse("ada/One"))


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_only_regular_files_of_the_expected_names_are_read(
    catalog: Catalog, other_catalog: Catalog, nested: Version, kind: bytes, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    first, (blob, content), *_ = members(exported(other_catalog, nested.ref)).items()
    index = dict([first])
    strange = ("evil", "../evil", str(tmp_path / "evil"))
    bundles = [packed({name: content}, kind) for name in ("hubkit-bundle.json", *strange)]
    for name in (blob, *strange):
        bundles.append(packed({**index, name: content}, kind))
    bundles += [packed({**index, name: content}) for name in strange]
    for bundle in bundles:
        with pytest.raises(BundleError, match="expected the file"):
            import_bundle(catalog, io.BytesIO(bundle))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_parent_is_named(
    catalog: Catalog, other_catalog: Catalog, nested: Version
) -> None:
    files = members(exported(other_catalog, AdapterRef.parse("fused")))
    index = json.loads(files["hubkit-bundle.json"])
    gone = index["versions"].pop(0)
    files["hubkit-bundle.json"] = json.dumps(index).encode()
    manifest = json.loads(files.pop(f"blobs/{gone['digest']}"))
    kept = {file["sha256"] for name, file in manifest["files"].items() if "weights" in name}
    files = {name: content for name, content in files.items() if name[6:] not in kept}
    with pytest.raises((ParentNotFoundError, BundleError)):
        import_bundle(catalog, io.BytesIO(packed(files)))
    with pytest.raises(RefNotFoundError):
        catalog.resolve(AdapterRef.parse("fused"))


def test_a_number_that_holds_other_content_is_a_conflict(
    catalog: Catalog, other_catalog: Catalog, nested: Version, make_folder: MakeFolder
) -> None:
    mine = catalog.publish(AdapterRef.parse("ada/One"), make_folder())
    with pytest.raises(ConflictError, match="ada/One@1 already exists with other content"):
        import_bundle(catalog, io.BytesIO(exported(other_catalog, nested.ref)))
    assert catalog.versions(mine.ref) == [mine]


@pytest.mark.once
def test_damaged_bytes_are_not_exported(other_catalog: Catalog, nested: Version) -> None:
    weights = other_catalog.manifest(nested).files["head/weights.bin"].sha256
    path = other_catalog.blobs.path(weights)
    path.chmod(0o600)
    path.write_bytes(b"wrong")
    with pytest.raises(CorruptBlobError, match=r"all@1: head/weights\.bin"):
        export_bundle(other_catalog, nested.ref, io.BytesIO())
