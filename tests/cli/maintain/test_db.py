import json
from collections.abc import Callable

from click.testing import Result
from sqlalchemy import text

from registry import Version, open_catalog
from registry.database.database import known_revisions

Run = Callable[..., Result]
EARLIER, NEWEST = known_revisions()[-2:]


def test_a_registry_that_is_not_there_is_not_made(run: Run) -> None:
    for arguments in (("current",), ("check",), ("downgrade", EARLIER, "--yes")):
        assert "`hubkit db upgrade` makes them" in run("db", *arguments, status=1).stderr
    assert f"is at migration {NEWEST}." in run("db", "upgrade").stdout
    assert f"is at migration {NEWEST}; the newest is {NEWEST}." in run("db", "current").stdout


def test_down_and_up_again(run: Run, publish: Callable[..., Version]) -> None:
    publish("film")
    refused = run("db", "downgrade", EARLIER, text="n\n", status=1).stderr
    assert "the log and download counts" in refused
    assert refused.endswith("Error: Not taken back.\n")
    assert f"is at migration {EARLIER}." in run("db", "downgrade", EARLIER, text="y\n").stdout
    assert f"is at migration {EARLIER}; the newest is {NEWEST}." in run("db", "current").stdout
    assert "run `hubkit db upgrade`" in run("db", "check", status=1).stderr
    assert "expected an earlier one" in run("db", "downgrade", NEWEST, "--yes", status=1).stderr
    document = json.loads(run("db", "current", "--json").stdout)
    assert (document["migration"], document["newest"]) == (EARLIER, NEWEST)
    run("db", "upgrade")
    assert json.loads(run("db", "check", "--json").stdout) == {
        "database": document["database"],
        "migration": NEWEST,
        "differences": [],
    }
    assert f"has the tables of migration {NEWEST}." in run("db", "check").stdout
    assert run("list").stdout.startswith("film@1\t")


def test_check_tells_what_somebody_altered(run: Run) -> None:
    with open_catalog().database.write() as connection:
        connection.execute(text("DROP INDEX ix_files_sha256"))
    (difference,) = json.loads(run("db", "check", "--json", status=1).stdout)["differences"]
    assert "ix_files_sha256" in difference
    shown = run("db", "check", status=1).stderr
    assert "ix_files_sha256" in shown
    assert "restore a backup" in shown
