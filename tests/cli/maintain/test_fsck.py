"""hubkit fsck, on a sound registry and on damaged ones."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from registry import Version

Run = Callable[..., Result]
Publish = Callable[..., Version]


def test_fsck_calls_a_sound_registry_sound(run: Run, film: Version) -> None:
    result = run("fsck")
    assert "is sound: 3 blobs looked at." in result.stdout
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
