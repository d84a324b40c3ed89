"""One registry of two machines: a database on a server, and bytes and records in object storage."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder, open_catalog
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage, collection_lock
from registry.maintenance.rebuild import rebuild
from tests.support.object_storage import BUCKET

REF = AdapterRef.parse("team/one")
pytestmark = pytest.mark.postgresql  # a SQLite file is one machine's


@pytest.fixture
def machines(
    tmp_path: Path, s3: object, database: Callable[[str], str | None]
) -> Iterator[tuple[Catalog, Catalog]]:
    url = database("shared")
    here, there = (
        open_catalog(tmp_path / name, database=url, storage=f"s3://{BUCKET}/shared")
        for name in ("here", "there")
    )
    yield here, there
    here.close()
    there.close()


def test_each_finds_the_records_of_the_other_and_can_make_the_database_anew(
    machines: tuple[Catalog, Catalog], make_folder: Callable[..., Folder]
) -> None:
    versions = [machine.publish(REF, make_folder()) for machine in (*machines, *machines)]
    assert [version.number for version in versions] == [1, 2, 3, 4]
    for machine in machines:
        assert check_registry(machine, full=True).findings == ()
        assert [*machine.log.records.sequences()] == [1, 2, 3, 4]
        assert not (machine.home / "records").exists()
    here, there = machines
    with here.database.write() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    assert rebuild(here).entries == 4
    assert there.versions(REF) == versions[::-1]
    assert there.publish(REF, make_folder()).number == 5


def test_one_collects_garbage_at_a_time(machines: tuple[Catalog, Catalog]) -> None:
    here, there = machines
    done = threading.Event()

    def collect() -> None:
        collect_garbage(there, grace=timedelta(0))
        done.set()

    thread = threading.Thread(target=collect)
    with collection_lock(here):
        thread.start()
        assert not done.wait(0.5)
    thread.join()
    assert done.is_set()
