"""hubkit restore, of what hubkit backup wrote."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from registry import Version, open_catalog

Run = Callable[..., Result]


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
