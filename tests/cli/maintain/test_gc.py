"""hubkit gc."""

import json
from collections.abc import Callable

from click.testing import Result

from registry import Version

Run = Callable[..., Result]


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
