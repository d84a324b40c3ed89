"""hubkit backup."""

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_backup_names_what_is_damaged(run: Run, blob: Path, tmp_path: Path) -> None:
    blob.write_bytes(b"rubbish")
    result = run("backup", tmp_path / "backup", status=1)
    assert result.stdout.startswith("DAMAGED: film@1: adapter_config.json: ")
