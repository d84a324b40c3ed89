"""Which blobs are referred to, and which are condemned because none refers to them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from registry import AdapterRef, Catalog, Folder, Version
from registry.tables.models import TREES
from registry.tables.references import (
    condemn,
    condemned,
    condemned_prefixes,
    referenced,
    referenced_between,
    spare,
    unnoticed,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ONE, TWO, THREE = "0a" + "0" * 62, "0a" + "f" * 62, "f" * 64


@pytest.fixture
def version(catalog: Catalog, make_folder: Callable[..., Folder]) -> Version:
    return catalog.publish(AdapterRef.parse("film"), make_folder())


def blobs_of(catalog: Catalog, version: Version) -> set[str]:
    files = catalog.manifest(version).files.values()
    with catalog.database.read() as connection:
        trees = connection.scalars(select(TREES.c.digest)).all()
    return {version.manifest_digest, *trees, *(info.sha256 for info in files)}


def test_a_version_refers_to_its_manifest_its_files_and_the_list_of_them(
    catalog: Catalog, version: Version
) -> None:
    own = blobs_of(catalog, version)
    assert len(own) > 1
    with catalog.database.read() as connection:
        assert referenced(connection, {*own, ONE}) == own
        assert referenced(connection, ()) == set()
        assert referenced_between(connection, "0" * 64, "f" * 64) == own
        last = max(own)
        assert referenced_between(connection, last, last) == {last}


def test_only_what_nothing_refers_to_is_condemned_and_only_once(
    catalog: Catalog, version: Version
) -> None:
    with catalog.database.write() as connection:
        asked = {*blobs_of(catalog, version), TWO, ONE}
        assert unnoticed(connection, asked) == [ONE, TWO]
        assert condemn(connection, asked, NOW) == [ONE, TWO]
        assert condemn(connection, {*asked, THREE}, LATER) == [THREE]
        assert unnoticed(connection, asked) == []


def test_what_is_condemned_is_found_by_its_time_and_its_digest(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        condemn(connection, [ONE, TWO], NOW)
        condemn(connection, [THREE], LATER)
        assert condemned_prefixes(connection, before=NOW) == set()
        assert condemned_prefixes(connection, before=LATER) == {"0a"}
        after = LATER + timedelta(seconds=1)
        assert condemned_prefixes(connection, before=after) == {"0a", "ff"}
        assert condemned(connection, ONE, THREE, before=after, limit=2) == [ONE, TWO]
        assert condemned(connection, TWO, THREE, before=after, limit=9) == [TWO, THREE]
        assert condemned(connection, ONE, THREE, before=LATER, limit=9) == [ONE, TWO]


def test_what_is_spared_can_be_condemned_again(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        condemn(connection, [ONE, TWO], NOW)
        spare(connection, [ONE, THREE])
        assert unnoticed(connection, [ONE, TWO]) == [ONE]
        assert condemn(connection, [ONE, TWO], LATER) == [ONE]
