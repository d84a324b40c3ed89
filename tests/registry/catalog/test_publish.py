from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, Manifest, Version
from registry.errors import (
    ConflictError,
    CorruptBlobError,
    InvalidNameError,
    ParentNotFoundError,
    RefNotFoundError,
)
from registry.search.search import search

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


def parent(version: Version) -> dict[str, str]:
    return {"ref": str(version.ref), "digest": version.manifest_digest}


def stored_files(catalog: Catalog) -> set[Path]:
    return {path for path in (catalog.home / "blobs").rglob("*") if path.is_file()}


def test_a_published_version_tells_what_its_manifest_says(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    metric = {
        "dataset": "sst2",
        "split": "test",
        "name": "accuracy",
        "value": 0.9,
        "higher_is_better": True,
    }
    folder = make_folder(
        task="sentiment",
        task_type="text-classification",
        language="en",
        license="apache-2.0",
        description="Reviews",
        tags=["b", "a"],
        metrics=[metric],
    )
    before = datetime.now(UTC)
    version = catalog.publish(REF, folder, message="first", author="Alice")
    assert before <= version.created_at <= datetime.now(UTC)
    assert (str(version.ref), version.author, version.message) == ("alice/sst2@1", "Alice", "first")
    assert version.manifest_digest == folder.manifest.digest
    assert (version.kind, version.method) == ("adapter", "seq_bn")
    assert version.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert version.base_fingerprint == "ab" * 32
    assert (version.task, version.task_type) == ("sentiment", "text-classification")
    assert (version.language, version.license) == ("en", "apache-2.0")
    assert (version.description, version.tags) == ("Reviews", ("b", "a"))
    assert version.metrics == folder.manifest.metrics
    assert version.size == sum(info.size for info in folder.manifest.files.values())
    assert (version.aliases, version.yanked) == ((), False)
    assert catalog.resolve(version.ref) == version
    assert catalog.manifest(version) == folder.manifest


def test_versions_are_numbered_from_one_and_listed_newest_first(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    published = [catalog.publish(REF, make_folder()) for _ in range(3)]
    assert [version.number for version in published] == [1, 2, 3]
    assert catalog.versions(REF) == published[::-1]


def test_publishing_the_same_content_again_returns_the_earlier_version(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    folder = make_folder()
    first = catalog.publish(REF, folder, message="first")
    catalog.publish(REF, make_folder())
    assert catalog.publish(REF, folder, message="again") == first
    assert len(catalog.versions(REF)) == 2


def test_the_same_content_under_two_names_is_two_versions_of_one_set_of_blobs(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    folder = make_folder()
    first = catalog.publish(REF, folder)
    blobs = stored_files(catalog)
    second = catalog.publish(AdapterRef.parse("bob/copy"), folder)
    assert (str(first.ref), str(second.ref)) == ("alice/sst2@1", "bob/copy@1")
    assert stored_files(catalog) == blobs
    assert catalog.find_digest(folder.manifest.digest) == first
    for none in ("", "a\0b", folder.manifest.digest.upper(), "\ud800"):
        assert catalog.find_digest(none) is None


@pytest.mark.parametrize("ref", ["sst2@1", "sst2@best", "sst2@latest"])
def test_publishing_to_a_version_or_alias_is_refused(
    catalog: Catalog, make_folder: MakeFolder, ref: str
) -> None:
    with pytest.raises(InvalidNameError, match="Publish to a name without version or alias"):
        catalog.publish(AdapterRef.parse(ref), make_folder())
    assert stored_files(catalog) == set()


def test_a_given_number_is_kept_and_counted_from(catalog: Catalog, make_folder: MakeFolder) -> None:
    assert catalog.publish(REF, make_folder(), number=7).number == 7
    assert catalog.publish(REF, make_folder(), number=3).number == 3
    assert catalog.publish(REF, make_folder()).number == 8


def test_a_number_with_other_content_is_a_conflict(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    first = catalog.publish(REF, make_folder())
    with pytest.raises(ConflictError, match=r"alice/sst2@1 already exists with other content"):
        catalog.publish(REF, make_folder(), number=1)
    assert catalog.versions(REF) == [first]
    assert catalog.publish(REF, make_folder()).number == 2


@pytest.mark.parametrize(
    ("number", "rule"),
    [
        (0, "from 1 to"),
        (-1, "from 1 to"),
        (2_000_000_001, "at most 2000000000"),
        (2**31 - 1, "at most 2000000000"),
        (2**31, "at most 2000000000"),
        (10**30, "at most 2000000000"),
    ],
)
def test_a_number_out_of_range_is_refused_and_takes_nothing(
    catalog: Catalog, make_folder: MakeFolder, number: int, rule: str
) -> None:
    with pytest.raises(InvalidNameError, match=rule):
        catalog.publish(REF, make_folder(), number=number)
    assert stored_files(catalog) == set()
    assert catalog.publish(REF, make_folder()).number == 1


def test_what_is_too_long_for_a_column_of_one_database_is_kept_in_both(
    catalog: Catalog, make_folder: MakeFolder, make_manifest: Callable[..., Manifest]
) -> None:
    word, base = "x" * 5000, make_manifest().base_model.model_dump()
    longer_in_lower_case = base | {"architecture": "\u0130" * 256}
    folder = make_folder(description=f"{word} found", base_model=longer_in_lower_case)
    version = catalog.publish(REF, folder)
    assert search(catalog, text="found").items == (version,)
    assert search(catalog, text=word).items == ()


def test_a_user_whose_name_cannot_be_stored_is_told_before_anything_changes(
    catalog: Catalog, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = catalog.publish(REF, make_folder())
    monkeypatch.setenv("LOGNAME", "x" * 300)
    with pytest.raises(InvalidNameError, match="name of this process's user has 300 characters"):
        catalog.set_alias(version.ref, "best")
    assert catalog.resolve(REF) == version


def test_an_origin_that_cannot_be_stored_is_refused(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    with pytest.raises(InvalidNameError, match=r"origin .* is not valid Unicode"):
        catalog.publish(REF, make_folder(), origin="/tmp/\udcff")
    assert stored_files(catalog) == set()


@pytest.mark.parametrize(
    ("author", "message", "problem"),
    [
        ("a\nb", "", "one printable line"),
        ("x" * 257, "", "257"),
        ("a", "\ud800", "valid Unicode"),
        ("a", "one\0two", r"message is refused: .*'\\x00' as character 4"),
    ],
)
def test_what_the_database_would_not_keep_as_it_is_is_refused(
    catalog: Catalog, make_folder: MakeFolder, author: str, message: str, problem: str
) -> None:
    with pytest.raises(InvalidNameError, match=problem):
        catalog.publish(REF, make_folder(), author=author, message=message)


def test_the_author_is_the_user_by_default(
    catalog: Catalog, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    assert catalog.publish(REF, make_folder()).author == "carol"


def test_a_file_that_changed_since_it_was_read_is_not_published(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    folder = make_folder()
    (folder.path / "head" / "weights.bin").write_bytes(b"changed")
    with pytest.raises(CorruptBlobError, match=r"alice/sst2: head/weights\.bin: expected"):
        catalog.publish(REF, folder)
    with pytest.raises(RefNotFoundError):
        catalog.versions(REF)


def test_a_missing_parent_is_named_before_a_byte_is_stored(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    here = catalog.publish(REF, make_folder())
    blobs = stored_files(catalog)
    missing = {"ref": "bob/gone@2", "digest": "c" * 64}
    with pytest.raises(ParentNotFoundError, match=r"not in this registry: bob/gone@2 \(cccccc"):
        catalog.publish(
            AdapterRef.parse("fused"), make_folder(kind="fusion", parents=[parent(here), missing])
        )
    assert stored_files(catalog) == blobs
