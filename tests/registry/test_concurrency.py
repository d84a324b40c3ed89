"""Real processes that want the same thing at the same time."""

from collections.abc import Callable

import pytest

from registry import AdapterRef, Catalog, Folder, read_folder
from tests.support.crowd import at_once

REF = AdapterRef.parse("alice/sst2")


@pytest.mark.parametrize("processes", [2, 8])
def test_versions_published_at_once_are_all_there_with_numbers_of_their_own(
    catalog: Catalog, make_folder: Callable[..., Folder], processes: int
) -> None:
    each = 5
    folders = [[make_folder() for _ in range(each)] for _ in range(processes)]

    def publish(number: int) -> None:
        for folder in folders[number]:
            version = catalog.publish(REF, folder)
            assert catalog.resolve(version.ref) == version

    at_once(publish, processes)
    versions = catalog.versions(REF)
    total = processes * each
    assert [version.number for version in versions] == list(range(total, 0, -1))
    published = {folder.manifest.digest for some in folders for folder in some}
    assert {version.manifest_digest for version in versions} == published
    for version in versions:
        assert read_folder(catalog.folder(version)).manifest.digest == version.manifest_digest


def test_the_same_content_published_at_once_is_one_version(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    folder = make_folder()
    at_once(lambda _: _expect_number_one(catalog, folder), 8)
    assert len(catalog.versions(REF)) == 1


def _expect_number_one(catalog: Catalog, folder: Folder) -> None:
    assert catalog.publish(REF, folder).number == 1


def test_a_version_loaded_at_once_is_whole_for_everyone(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    version = catalog.publish(REF, make_folder(content=b"x" * 100_000))

    def load(_: int) -> None:
        assert (catalog.folder(version) / "head" / "weights.bin").stat().st_size == 100_000

    at_once(load, 8)
    folders = [path.name for path in (catalog.home / "cache").iterdir() if path.is_dir()]
    assert folders == [version.manifest_digest]
