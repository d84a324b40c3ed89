"""hubkit doctor."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from registry import Version

Run = Callable[..., Result]
Publish = Callable[..., Version]


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
