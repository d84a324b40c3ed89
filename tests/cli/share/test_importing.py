"""hubkit export and import: a bundle on its way."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hubkit.cli import main
from registry import Version

Run = Callable[..., Result]
Publish = Callable[..., Version]


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
    assert result.stderr.startswith("Error: hubkit did not write this bundle")
    assert "Cannot read" in run("import", tmp_path / "absent", status=1).stderr
