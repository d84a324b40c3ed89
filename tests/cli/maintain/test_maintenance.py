"""The commands that keep a registry whole, on a sound one and on sabotaged ones."""

import gc
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hubkit.cli import main
from registry import Catalog, Version, open_catalog

Run = Callable[..., Result]
Publish = Callable[..., Version]


@pytest.fixture
def film(publish: Publish) -> Version:
    return publish("film", message="first")


@pytest.fixture
def blob(film: Version) -> Path:
    """The file of the adapter's configuration."""
    catalog = open_catalog()
    digest = catalog.manifest(film).files["adapter_config.json"].sha256
    path = catalog.blobs.path(digest)
    path.chmod(0o600)
    return path


def lose_database(content: bytes | None) -> Path:
    catalog = open_catalog()
    catalog.close()
    gc.collect()  # in this process, others would go on with what they have of the old one
    path = catalog.database.path
    for journal in path.parent.glob(f"{path.name}-*"):
        journal.unlink()
    path.unlink() if content is None else path.write_bytes(content)
    return path


def test_delete_asks_first(run: Run, film: Version) -> None:
    result = run("delete", "film", text="n\n", status=1)
    assert "Nothing else ever gets the name" in result.output
    nobody = run("delete", "film", status=1)
    assert nobody.stderr.endswith("\nError: Not deleted: add --yes where nobody can answer.\n")
    assert open_catalog().resolve(film.ref) == film
    assert run("delete", "film", text="y\n").output.endswith("film is deleted (1 version).\n")


def test_delete_says_what_cannot_be_deleted(run: Run, film: Version, publish: Publish) -> None:
    publish("book")
    run("stack", "film", "book", "--name", "both")
    result = run("delete", "film", "--yes", status=1)
    assert "both@1 would lose what it is made of" in result.stderr
    assert "hubkit yank film@1" in run("delete", "film@1", "--yes", status=2).stderr


def test_log_shows_who_did_what(run: Run, film: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    run("yank", "film@1", "--reason", "leaked")
    lines = [line.split("\t") for line in run("log").stdout.splitlines()]
    assert [(line[0], *line[3:]) for line in lines] == [
        ("1", "publish", "film@1", "first"),
        ("2", "yank", "film@1", "leaked"),
    ]
    assert lines[1][2] == "carol"
    document = json.loads(run("log", "film", "--json").stdout)
    assert document["length"] == len(document["entries"]) == 2
    assert document["hash"] == document["entries"][-1]["hash"]
    assert document["hash"] in run("log").stderr
    assert json.loads(run("log", "book", "--json").stdout)["entries"] == []


def test_log_names_what_was_altered(run: Run, film: Version) -> None:
    from sqlalchemy import text

    with open_catalog().database.write() as connection:
        connection.execute(text("UPDATE log SET actor = 'eve'"))
    result = run("log", status=1)
    assert result.stderr.startswith("Entry 1 was altered: its hash is another.\n")
    assert "`hubkit fsck --full` says what to do" in result.stderr
    assert json.loads(run("log", "--json", status=1).stdout)["problems"]


def test_a_bundle_goes_to_another_registry(
    run: Run, film: Version, tmp_path: Path, publish: Publish
) -> None:
    publish("book")
    run("stack", "film", "book", "--name", "both")
    exported = CliRunner().invoke(main, ["export", "both"])
    assert exported.exit_code == 0
    bundle = tmp_path / "both.bundle"
    bundle.write_bytes(exported.stdout_bytes)
    home = str(tmp_path / "other")
    assert run("import", bundle, HUBKIT_HOME=home).stdout == "book@1\nfilm@1\nboth@1\n"
    again = CliRunner().invoke(
        main, ["import", "-", "--json"], input=bundle.read_bytes(), env={"HUBKIT_HOME": home}
    )
    assert [version["ref"] for version in json.loads(again.stdout)] == [
        "book@1",
        "film@1",
        "both@1",
    ]
    assert json.loads(again.stdout)[1]["digest"] == film.manifest_digest


@pytest.mark.parametrize("content", [b"", b"text", b"x" * 600])
def test_what_is_no_bundle_is_refused(run: Run, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    result = run("import", path, status=1)
    assert result.stderr.startswith("Error: This is no bundle that hubkit wrote")
    assert "Cannot read" in run("import", tmp_path / "absent", status=1).stderr


def test_gc_says_what_goes(run: Run, film: Version) -> None:
    run("delete", "film", "--yes")
    result = run("gc", "--dry-run")
    assert result.stdout.startswith("0 blobs (0 B) would be removed.\n")
    assert json.loads(run("gc", "--json").stdout) == {
        "removed": 0,
        "removed_bytes": 0,
        "condemned": 0,
        "condemned_bytes": 0,
        "leftovers": 0,
        "runs": 0,
        "dry_run": False,
    }


def test_fsck_calls_a_sound_registry_sound(run: Run, film: Version) -> None:
    result = run("fsck")
    assert "is sound: 2 blobs looked at." in result.stdout
    assert "hubkit fsck --full" in result.stderr
    assert json.loads(run("fsck", "--full", "--json").stdout)["findings"] == []


def test_fsck_names_a_flipped_byte_and_what_to_do(run: Run, blob: Path) -> None:
    blob.write_bytes(blob.read_bytes().replace(b"1", b"2"))
    run("fsck")
    result = run("fsck", "--full", status=2)
    assert result.stdout.startswith("DAMAGED: film@1: adapter_config.json: expected SHA-256 ")
    assert "hubkit fsck --repair" in result.stdout
    result = run("fsck", "--full", "--repair", status=2)
    assert "The damaged bytes are kept as" in result.stdout
    assert "Publish or pull the same adapter again" in result.stdout


def test_fsck_fetches_again_what_was_pulled(
    run: Run, blob: Path, tmp_path: Path, hubkit_home: Path
) -> None:
    home = str(tmp_path / "other")
    run("pull", "film", "--from", hubkit_home, HUBKIT_HOME=home)
    copy = Path(home) / blob.relative_to(hubkit_home)
    copy.unlink()
    run("fsck", status=2, HUBKIT_HOME=home)
    result = run("fsck", "--repair", status=1, HUBKIT_HOME=home)
    assert result.stdout.startswith("repaired: film@1: adapter_config.json: ")
    assert f"Fetched again from {hubkit_home}." in result.stdout
    run("fsck", "--full", HUBKIT_HOME=home)


def test_backup_and_restore(run: Run, film: Version, tmp_path: Path) -> None:
    backup, home = tmp_path / "backup", str(tmp_path / "new")
    assert "is a backup of" in run("backup", backup).stdout
    assert json.loads(run("backup", backup, "--json").stdout) == {
        "blobs": 0,
        "bytes": 0,
        "mended": 0,
        "damaged": [],
    }
    result = run("restore", backup, HUBKIT_HOME=home)
    assert f"{home} with the database {home}/hubkit.db is what {backup} was.\n" in result.stdout
    assert open_catalog(Path(home)).resolve(film.ref) == film
    result = run("restore", backup, HUBKIT_HOME=home, status=1)
    assert "is in the way" in result.stderr
    assert "no backup in" in run("restore", tmp_path / "x", status=1).stderr


def test_backup_names_what_is_damaged(run: Run, blob: Path, tmp_path: Path) -> None:
    blob.write_bytes(b"rubbish")
    result = run("backup", tmp_path / "backup", status=1)
    assert result.stdout.startswith("DAMAGED: film@1: adapter_config.json: ")


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


def test_doctor_looks_at_what_there_is(run: Run, hubkit_home: Path, publish: Publish) -> None:
    assert "made when it is first needed" in run("doctor").stdout
    assert not hubkit_home.exists()
    publish("film")
    checks = {check["name"]: check for check in json.loads(run("doctor", "--json").stdout)}
    assert {"programs", "sqlite", "folder", "space", "database", "log"} <= checks.keys()
    assert checks["database"]["state"] == "ok"
    assert checks["leftovers"]["text"] == "None."
    (hubkit_home / "tmp" / ".a.tmp").touch()
    assert "1 file was never finished. `hubkit gc` removes what is old of that." in " ".join(
        run("doctor").stdout.split()
    )


@pytest.mark.parametrize("command", ["gc", "fsck", "backup x", "log", "export film"])
def test_without_a_registry_none_is_made(run: Run, hubkit_home: Path, command: str) -> None:
    status = 2 if command == "fsck" else 1  # 1 would say that all is mended
    assert "There is no registry in" in run(*command.split(), status=status).stderr
    assert not hubkit_home.exists()


def test_a_catalog_can_be_made_without_touching_anything(tmp_path: Path) -> None:
    Catalog(tmp_path / "none")
    assert not (tmp_path / "none").exists()
