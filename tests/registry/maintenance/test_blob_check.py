import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import AdapterRef, Catalog, Folder, Version
from registry.errors import DamagedBlobError
from registry.maintenance.fsck import check_registry
from registry.storage import folder_blobs
from registry.storage.files import CHUNK, open_file
from registry.tables import references
from tests.registry.maintenance.conftest import damage, texts

MakeFolder = Callable[..., Folder]


def weights(catalog: Catalog, version: Version) -> Path:
    return catalog.blobs.path(catalog.manifest(version).files["head/weights.bin"].sha256)


@pytest.mark.parametrize(
    ("content", "quick"), [(None, True), (b"", True), (b"right!", True), (b"wrong", False)]
)
def test_damaged_bytes_are_named_and_left_as_they_are_without_repair(
    catalog: Catalog, version: Version, content: bytes | None, quick: bool
) -> None:
    path = weights(catalog, version)
    damage(path, content)
    assert check_registry(catalog).status == (2 if quick else 0)
    report = check_registry(catalog, full=True)
    assert (report.status, len(report.findings)) == (2, 1)
    assert f"alice/sst2@1: head/weights.bin: expected SHA-256 {path.name}" in texts(report)
    assert "If it was pulled, it can be fetched again" in texts(report)
    assert report.findings[0].about is DamagedBlobError
    assert (path.read_bytes() if path.exists() else None) == content


def test_repair_sets_aside_what_cannot_be_fetched(
    catalog: Catalog, version: Version, make_folder: MakeFolder
) -> None:
    path = weights(catalog, version)
    damage(path, b"wrong")
    report = check_registry(catalog, full=True, repair=True)
    assert report.status == 2
    assert [kept.read_bytes() for kept in catalog.blobs.quarantine.iterdir()] == [b"wrong"]
    assert not path.exists()
    assert check_registry(catalog).status == 2


def test_repair_fetches_again_what_was_pulled(
    catalog: Catalog, other_catalog: Catalog, version: Version
) -> None:
    other_catalog.pull(version.ref, catalog)
    damage(weights(other_catalog, version), b"wrong")
    damage(other_catalog.blobs.path(version.manifest_digest), None)
    assert check_registry(other_catalog, full=True, repair=True).status == 1
    assert check_registry(other_catalog, full=True).status == 0
    other_catalog.folder(version)


@pytest.mark.once
def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_looked_at(
    catalog: Catalog, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights(catalog, version)

    def refuse(opened: Path, **how: Any) -> Any:
        if opened == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return open_file(opened, **how)

    monkeypatch.setattr(folder_blobs, "open_file", refuse)
    report = check_registry(catalog, full=True, repair=True)
    assert (report.status, report.blobs) == (2, 7)
    assert f"cannot be read (Permission denied) at {path}. It cannot" in texts(report)


@pytest.mark.once
def test_what_lies_among_the_blobs_and_is_none_is_noted_and_left(
    catalog: Catalog, version: Version
) -> None:
    digest, root = version.manifest_digest, catalog.blobs.root
    shard = root / digest[:2] / digest[2:4]
    strays = [root.parent / "README", root / "leftover", shard / ".tmp", root / "00" / digest]
    for path in strays:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"whatever")
    strays.append(root / "folder")
    strays[-1].mkdir()
    report = check_registry(catalog, repair=True)
    assert (report.status, [finding.state for finding in report.findings]) == (0, ["note"])
    named = texts(report).partition(": ")[2].partition(". ")[0]
    assert named == ", ".join(sorted(map(str, strays)))
    strays.append(root / "zz")
    strays[-1].mkdir()
    assert (
        texts(check_registry(catalog)).count(" and 1 more. hubkit neither reads nor removes them.")
        == 1
    )
    assert all(path.exists() for path in strays)


@pytest.mark.parametrize("page", [1, 3])
def test_blobs_are_found_page_by_page(
    catalog: Catalog,
    version: Version,
    make_folder: MakeFolder,
    monkeypatch: pytest.MonkeyPatch,
    page: int,
) -> None:
    for number in range(5):
        catalog.publish(AdapterRef.parse(f"more-{number}"), make_folder(content=b"shared"))
    expected = {path.name for path in catalog.blobs.root.rglob("*/*/*")}
    monkeypatch.setattr(references, "_PAGE", page)
    found = [digest for digest, _ in references.expected_blobs(catalog.database)]
    assert found == sorted(expected)


@pytest.mark.once
def test_large_files_are_hashed_too(
    catalog: Catalog, version: Version, make_folder: MakeFolder
) -> None:
    ref = AdapterRef.parse("large")
    large = catalog.publish(ref, make_folder(content=b"x" * (CHUNK + 1)))
    assert check_registry(catalog, full=True).bytes > CHUNK
    damage(weights(catalog, large), b"y" * (CHUNK + 1))
    assert "large@1: head/weights.bin: expected" in texts(check_registry(catalog, full=True))
