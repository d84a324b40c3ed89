"""hubkit rebuild, where the database is lost or damaged."""

import gc
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from registry import Version, open_catalog

Run = Callable[..., Result]


def lose_database(content: bytes | None) -> Path:
    catalog = open_catalog()
    catalog.close()
    gc.collect()  # in this process, others would go on with what they have of the old one
    path = catalog.database.path
    for journal in path.parent.glob(f"{path.name}-*"):
        journal.unlink()
    path.unlink() if content is None else path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 999])
def test_a_lost_database_is_named_by_all_and_made_anew(
    run: Run, film: Version, content: bytes | None
) -> None:
    path = lose_database(content)
    for command, status in (("list", 1), ("show film", 1), ("fsck", 2), ("gc", 1), ("log", 1)):
        assert "`hubkit rebuild`" in run(*command.split(), status=status).stderr
    assert "PROBLEM" in run("doctor", status=1).stdout
    assert run("rebuild").stdout == f"{path} is made anew: 1 changes done again.\n"
    run("fsck", "--full")
    assert open_catalog().resolve(film.ref) == film
    assert "left as it is" in run("rebuild").stdout


def test_rebuild_names_what_is_lost(run: Run, film: Version) -> None:
    open_catalog().blobs.path(film.manifest_digest).unlink()
    lose_database(None)
    result = run("rebuild", "--json", status=1)
    assert json.loads(result.stdout)["problems"][0].startswith("film@1 cannot be brought back.")
    assert "nothing to make a database from" in run("rebuild", status=1, HUBKIT_HOME="no").stderr
