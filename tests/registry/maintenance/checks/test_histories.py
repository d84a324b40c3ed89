"""Histories that differ from the log are reported, and written again from it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from alembic import command
from sqlalchemy import delete, select, text, update

from registry import Catalog, Folder, Version
from registry.catalog import publish
from registry.database.database import alembic_config
from registry.errors import AlteredRowsError
from registry.history.versions import commit_version, complete_commits
from registry.maintenance.checks import histories
from registry.maintenance.checks.histories import check_histories, describe
from registry.maintenance.checks.trees import check_trees
from registry.maintenance.findings import Finding
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage
from registry.maintenance.rebuild import rebuild
from registry.tables.edit import remove_history
from registry.tables.models import (
    HUB_LISTINGS,
    HUB_TAGS,
    NAME_GRAMS,
    REPOSITORIES,
    TREE_FILES,
    TREES,
)
from tests.registry.maintenance.conftest import ONE, damage, texts
from tests.support.sweeps import on_one_each

PUSHED = "(SELECT id FROM repositories WHERE folded = 'alice/pushed')"
REVIEWS = "(SELECT id FROM repositories WHERE folded = 'datasets/alice/reviews')"
AFTER = "(SELECT id FROM repositories WHERE folded = 'acme/after')"
CHANGES = {
    "visibility": (
        "UPDATE repositories SET visibility = 'public' WHERE folded = 'datasets/alice/reviews'",
        "datasets/alice/Reviews: the log says something else of its visibility",
    ),
    "account": (
        "UPDATE repositories SET account_id = (SELECT id FROM accounts WHERE folded = 'bob')"
        " WHERE folded = 'alice/pushed'",
        "account",
    ),
    "no account": ("UPDATE repositories SET account_id = NULL", "account"),
    "kind": ("UPDATE repositories SET kind = 'space' WHERE folded = 'alice/pushed'", "kind"),
    "a name": (
        "UPDATE repositories SET name = 'REVIEWS' WHERE folded = 'datasets/alice/reviews'",
        "name",
    ),
    "a date": (
        "UPDATE repositories SET created_at = '2020-01-01 00:00:00.000000' WHERE kind = 'dataset'",
        "dates",
    ),
    "a deletion": (
        "UPDATE repositories SET deleted_at = '2020-01-01 00:00:00.000000' WHERE kind = 'dataset'",
        "dates",
    ),
    "a former name": ("DELETE FROM former_names WHERE folded = 'alice/before'", "former names"),
    "a former name of another": (
        f"UPDATE former_names SET repository_id = {PUSHED} WHERE folded = 'alice/before'",
        "former names",
    ),
    "a message": ("UPDATE commits SET message = 'x' WHERE message = 'All of it'", "commits"),
    "an author": (f"UPDATE commits SET author = 'eve' WHERE repository_id = {PUSHED}", "commits"),
    "a parent": (
        f"UPDATE commits SET parent_id = NULL WHERE repository_id = {REVIEWS}",
        "commits",
    ),
    "a version": (
        f"UPDATE commits SET revision_id = NULL WHERE repository_id = {PUSHED}",
        "commits",
    ),
    "a reason": (f"UPDATE commits SET reason = 'x' WHERE repository_id = {PUSHED}", "commits"),
    "a branch": (
        "UPDATE branches SET commit_id = (SELECT min(id) FROM commits WHERE repository_id ="
        f" {PUSHED}) WHERE repository_id = {PUSHED} AND name = 'main'",
        "branches",
    ),
    "a lost branch": ("DELETE FROM branches WHERE name = 'work/x'", "branches"),
    "a tag": ("UPDATE commit_tags SET message = 'x' WHERE name = 'best'", "tags"),
    "a lost tag": (f"DELETE FROM commit_tags WHERE repository_id = {REVIEWS}", "tags"),
    "a listing": ("UPDATE hub_listings SET visibility = 'public'", "listing"),
    "a lost listing": (f"DELETE FROM hub_listings WHERE repository_id = {PUSHED}", "listing"),
    "a count": ("UPDATE hub_listings SET downloads = 1000", "listing"),
    "a word": (f"DELETE FROM hub_tags WHERE repository_id = {PUSHED}", "words"),
    "a part of a name": (f"DELETE FROM name_grams WHERE repository_id = {AFTER}", "parts"),
    "a path": (
        "UPDATE tree_files SET path = 'x' WHERE path = 'train.csv'",
        "its rows differ from its bytes",
    ),
    "a digest": (
        "UPDATE tree_files SET sha256 = (SELECT min(sha256) FROM tree_files)"
        " WHERE path = 'train.csv'",
        "its rows differ from its bytes",
    ),
    "a size": ("UPDATE trees SET size = size + 1", "its rows differ from its bytes"),
}


def described(catalog: Catalog) -> dict[str, Any]:
    with catalog.database.read() as connection:
        return describe(connection, connection.scalars(select(REPOSITORIES.c.folded)).all())


def checked(catalog: Catalog, *, repair: bool) -> Iterator[Finding]:
    yield from check_trees(catalog, repair)
    yield from check_histories(catalog, repair)


def forget(catalog: Catalog, folded: str) -> None:
    """Remove all rows of the history of a repository."""
    with catalog.database.write() as connection:
        named = select(REPOSITORIES.c.id).where(REPOSITORIES.c.folded == folded)
        remove_history(connection, connection.execute(named).scalar_one())


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.torture)])
def test_rows_that_differ_from_the_log_are_found_and_written_again(
    hub: Catalog, every: bool
) -> None:
    # Else each database has every second change: all of them are made in one or the other.
    first = int(hub.database.backend.reading_engine.dialect.name == "postgresql")
    changes = [*CHANGES.items()] if every else [*CHANGES.items()][first::2]
    before = described(hub)
    assert check_registry(hub, full=True).findings == ()
    assert described(hub) == before
    for change, (statement, told) in changes:
        with hub.database.write() as connection:
            assert connection.execute(text(statement)).rowcount, change
        changed = described(hub)
        found = [*checked(hub, repair=False)]
        assert {finding.about for finding in found} == {AlteredRowsError}, change
        assert told in "\n".join(finding.text for finding in found), change
        assert described(hub) == changed, change
        mended = [*checked(hub, repair=True)]
        assert {finding.state for finding in mended} == {"repaired"}, change
        assert described(hub) == before, change
    assert check_registry(hub, full=True).findings == ()


def test_nothing_is_done_again_where_all_is_as_the_log_says(hub: Catalog) -> None:
    with mock.patch.object(histories, "_remake", side_effect=AssertionError):
        assert check_registry(hub, full=True).findings == ()


@on_one_each("folded", [("alice/pushed",), ("datasets/alice/reviews",), ("acme/after",)])
def test_a_history_whose_rows_are_gone_comes_back_and_its_bytes_are_no_garbage(
    hub: Catalog, folded: str
) -> None:
    before = described(hub)
    forget(hub, folded)
    if folded.startswith("datasets/"):
        with hub.database.write() as connection:
            connection.execute(delete(REPOSITORIES).where(REPOSITORIES.c.folded == folded))
    with pytest.raises(AlteredRowsError, match=r"has lost its rows.*Nothing was removed"):
        collect_garbage(hub, grace=timedelta(0))
    assert check_registry(hub, full=True).status == 2
    assert check_registry(hub, full=True, repair=True).status == 1
    assert described(hub) == before
    collect_garbage(hub, grace=timedelta(0))


def test_bytes_of_a_commit_stay_though_the_rows_of_its_files_are_gone(hub: Catalog) -> None:
    collect_garbage(hub, grace=timedelta(0))
    with hub.database.write() as connection:
        connection.execute(delete(TREE_FILES).where(TREE_FILES.c.path == "train.csv"))
    with pytest.raises(AlteredRowsError, match=r"The list of files .* names files that no row"):
        collect_garbage(hub, grace=timedelta(0))


def test_what_is_not_known_to_be_public_is_private(hub: Catalog) -> None:
    with hub.database.write() as connection:
        connection.execute(update(REPOSITORIES).values(visibility="public"))
        connection.execute(update(HUB_LISTINGS).values(visibility="public"))
    check_registry(hub, full=True, repair=True)
    found = {name: one["visibility"] for name, one in described(hub).items()}
    assert (found["alice/one"], found["two"], found["alice/pushed"]) == (
        "private",
        "private",
        "public",
    )


def test_what_is_damaged_is_named_once_and_its_rows_stay(hub: Catalog) -> None:
    before = described(hub)
    with hub.database.read() as connection:
        digest = connection.scalar(
            select(TREES.c.digest).where(
                TREES.c.id.in_(
                    select(TREE_FILES.c.tree_id).where(TREE_FILES.c.path == "data/big.parquet")
                )
            )
        )
    assert digest is not None
    damage(hub.blobs.path(digest), b"x")
    for repair in (False, True):
        report = check_registry(hub, full=True, repair=repair)
        assert (report.status, len(report.findings)) == (2, 1)
        assert "the list of its files" in texts(report)
    assert described(hub) == before


def test_what_an_account_has_claimed_need_not_be_listed_yet(hub: Catalog) -> None:
    with hub.database.write() as connection:
        named = select(REPOSITORIES.c.id).where(REPOSITORIES.c.folded == "alice/one")
        for table in (HUB_LISTINGS, HUB_TAGS, NAME_GRAMS):
            connection.execute(delete(table).where(table.c.repository_id.in_(named)))
    assert check_registry(hub, full=True).findings == ()


def test_versions_of_before_there_were_commits_get_theirs(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    """And the same ones by a rebuild, in whichever order their numbers were given."""

    def of_before(*arguments: Any) -> dict[str, Any]:
        commit_version(*arguments)
        return {}

    with mock.patch.object(publish, "commit_version", of_before):
        for number in (7, 3, None, 5):
            catalog.publish(ONE, make_folder(), number=number)
    before = described(catalog)
    assert len(before["alice/one"]["commits"]) == 4
    for mend in (
        lambda: complete_commits(catalog.store),
        lambda: check_registry(catalog, full=True, repair=True),
    ):
        forget(catalog, "alice/one")
        assert "4 versions have no commit" in texts(check_registry(catalog, full=True))
        mend()
        assert described(catalog) == before
        assert check_registry(catalog, full=True).findings == ()
    catalog.publish(ONE, make_folder())
    before = described(catalog)
    with catalog.database.migrating() as connection:
        command.downgrade(alembic_config(connection), "base")
    catalog.close()
    assert rebuild(catalog).problems == ()
    assert described(catalog) == before


def test_a_database_that_was_taken_back_gets_its_histories_again(hub: Catalog) -> None:
    before = described(hub)
    with hub.database.migrating() as connection:
        command.downgrade(alembic_config(connection), "0005")
        command.upgrade(alembic_config(connection), "head")
    hub.close()
    complete_commits(hub.store)
    with pytest.raises(AlteredRowsError, match="has lost its rows"):
        collect_garbage(hub, grace=timedelta(0))
    assert check_registry(hub, full=True, repair=True).status == 1
    assert check_registry(hub, full=True).findings == ()
    hub.history.complete_listings()
    after = described(hub)
    for name, one in after.items():
        assert one == before[name], name
    assert after.keys() == before.keys()


def test_a_repository_that_others_publish_to_during_each_look_has_lost_nothing(
    catalog: Catalog, make_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.publish(ONE, make_folder())
    pages, published = histories._pages, list[Version]()

    def busy(of: Catalog) -> Iterator[Any]:
        for page in pages(of):
            published.append(catalog.publish(ONE, make_folder()))
            yield page

    monkeypatch.setattr(histories, "_pages", busy)
    assert [*histories.missing_commits(catalog)] == []
    assert len(published) == 2
