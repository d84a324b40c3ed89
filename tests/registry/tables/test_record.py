"""The rows of a version: what is refused, what is counted, and what repeats its manifest."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import func, select

from registry import AdapterRef, Catalog, Folder, Manifest
from registry.errors import ConflictError, InvalidNameError
from registry.tables.models import FILES, METRICS, PARENTS, REPOSITORIES, REVISIONS, TAGS
from registry.tables.record import (
    Publication,
    columns,
    record_version,
    require_number,
    reserve_number,
)
from registry.tables.versions import load_version

MakeFolder = Callable[..., Folder]
MakeManifest = Callable[..., Manifest]
REF = AdapterRef.parse("alice/sst2")
NOW = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
NEW = Publication(author="Alice", message="first", created_at=NOW)


def test_a_version_has_a_row_for_each_thing_that_its_manifest_lists(
    catalog: Catalog, make_manifest: MakeManifest
) -> None:
    score = {"dataset": "d", "split": "test", "name": "f1", "value": 0.5, "higher_is_better": True}
    parent = {"ref": "bob/a@1", "digest": "cd" * 32}
    manifest = make_manifest(
        files={"w.bin": {"sha256": "ab" * 32, "size": 3}},
        metrics=[score, score | {"name": "loss", "higher_is_better": False}],
        tags=["b", "a"],
        parents=[parent],
    )
    with catalog.database.write() as connection:
        revision, new = record_version(connection, REF, manifest, NEW)
        assert new
        version = load_version(connection, revision)
        files = connection.execute(select(FILES.c.path, FILES.c.sha256, FILES.c.size)).all()
        parents = connection.execute(select(PARENTS.c.ref, PARENTS.c.digest)).all()
        row = connection.execute(select(REVISIONS)).one()._mapping
    assert (str(version.ref), version.author, version.message) == ("alice/sst2@1", "Alice", "first")
    assert (version.created_at, version.manifest_digest) == (NOW, manifest.digest)
    assert [tuple(file) for file in files] == [("w.bin", "ab" * 32, 3)]
    assert [tuple(one) for one in parents] == [("bob/a@1", "cd" * 32)]
    assert (version.metrics, version.tags) == (manifest.metrics, ("b", "a"))
    assert {name: row[name] for name in columns(manifest)} == columns(manifest)


def test_the_same_manifest_is_recorded_once_in_a_repository_and_again_in_another(
    catalog: Catalog, make_manifest: MakeManifest
) -> None:
    manifest, other = make_manifest(tags=["x"]), AdapterRef.parse("alice/mnli")
    with catalog.database.write() as connection:
        first = record_version(connection, REF, manifest, NEW)
        again = record_version(connection, REF, manifest, NEW)
        elsewhere = record_version(connection, other, manifest, NEW)
        tags = connection.scalar(select(func.count()).select_from(TAGS))
        metrics = connection.scalar(select(func.count()).select_from(METRICS))
    assert (first[1], again) == (True, (first[0], False))
    assert elsewhere[1]
    assert elsewhere[0] != first[0]
    assert (tags, metrics) == (2, 0)


def test_a_number_that_is_taken_is_not_given_to_other_content(
    catalog: Catalog, make_manifest: MakeManifest
) -> None:
    wanted = Publication(author="a", message="", created_at=NOW, number=3)
    one, two = (make_manifest(description=text) for text in "ab")
    with catalog.database.write() as connection:
        record_version(connection, REF, one, wanted)
        with pytest.raises(ConflictError, match=r"alice/sst2@3 already exists with other content"):
            record_version(connection, REF, two, wanted)
        revision, _ = record_version(connection, REF, two, NEW)
        assert load_version(connection, revision).number == 4


def test_a_reserved_number_is_never_given_to_anything(
    catalog: Catalog, make_manifest: MakeManifest
) -> None:
    with catalog.database.write() as connection:
        reserve_number(connection, REF, 5, NOW)
        reserve_number(connection, REF, 2, NOW)
        assert connection.scalar(select(REPOSITORIES.c.next_number)) == 6
        revision, _ = record_version(connection, REF, make_manifest(), NEW)
        assert load_version(connection, revision).number == 6


@pytest.mark.once
def test_a_number_beyond_the_bound_is_refused() -> None:
    assert str(require_number(REF, 7, most=7)) == "alice/sst2@7"
    with pytest.raises(InvalidNameError, match=r"of alice/sst2 is at most 7 here, .* got 8"):
        require_number(REF, 8, most=7)


@pytest.mark.once
def test_what_an_entry_tells_is_a_publication() -> None:
    details = {
        "digest": "ab" * 32,
        "number": 2,
        "author": "Alice",
        "message": "m",
        "created_at": NOW.isoformat(),
    }
    told = Publication(author="Alice", message="m", created_at=NOW, number=2)
    assert Publication.from_log(details) == told
    yanked = {"yanked_at": NOW.isoformat(), "yank_reason": "bad", "origin": "/elsewhere"}
    assert Publication.from_log(details | yanked) == Publication(
        author="Alice",
        message="m",
        created_at=NOW,
        number=2,
        yanked_at=NOW,
        yank_reason="bad",
        origin="/elsewhere",
    )


@pytest.mark.once
@pytest.mark.parametrize("author", ["two\nlines", "x" * 300, "\x1b[31m"])
def test_an_author_is_one_printable_line(author: str) -> None:
    with pytest.raises(InvalidNameError, match="author"):
        Publication(author=author, message="", created_at=NOW)


def test_after_the_highest_number_that_can_be_asked_for_there_are_others_to_publish_and_to_pull(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder
) -> None:
    assert catalog.publish(REF, make_folder(), number=2_000_000_000).number == 2_000_000_000
    following = catalog.publish(REF, make_folder())
    assert following.number == 2_000_000_001
    assert other_catalog.pull(following, catalog) == following
    assert other_catalog.publish(REF, make_folder()).number == 2_000_000_002


def test_a_number_at_the_end_of_the_range_is_not_brought_along(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder
) -> None:
    """As a registry that an earlier hubkit wrote may have it."""
    with catalog.database.write() as connection:
        reserve_number(connection, REF, 2_100_000_000, datetime.now(UTC))
    last = catalog.publish(REF, make_folder())
    assert last.number == 2_100_000_001
    with pytest.raises(InvalidNameError, match="at most 2100000000 here"):
        other_catalog.pull(last, catalog)
    assert other_catalog.pull(last, catalog, name=REF).number == 1


@pytest.mark.parametrize("taken", [2**31 - 2, 2**31 - 1])
def test_a_name_without_a_number_left_says_so(
    catalog: Catalog, make_folder: MakeFolder, taken: int
) -> None:
    """As a registry that an earlier hubkit wrote may have it."""
    with catalog.database.write() as connection:
        reserve_number(connection, REF, taken, datetime.now(UTC))
    with pytest.raises(ConflictError, match=r"has no version number left: .* 2147483647"):
        catalog.publish(REF, make_folder())


@pytest.mark.once
@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 1, 1),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14))),
    ],
)
def test_a_time_that_no_database_holds_is_refused(at: datetime) -> None:
    with pytest.raises(InvalidNameError, match="A time has a zone and, in UTC, a year from"):
        Publication(author="a", message="", created_at=at)
    with pytest.raises(InvalidNameError, match="A time has a zone and, in UTC, a year from"):
        Publication(author="a", message="", created_at=datetime.now(UTC), yanked_at=at)
