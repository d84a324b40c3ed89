"""hubkit serve, as far as it is said on the command line."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

from registry.server import running
from registry.server.hub import GIB, Settings

Run = Callable[..., Result]


@pytest.mark.parametrize(("given", "expected"), [((), 64 * GIB), (("--scratch", "3"), 3 * GIB)])
def test_the_disk_for_what_comes_by_xet_is_bounded(
    run: Run, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], expected: int
) -> None:
    served: list[Settings] = []

    def serve(settings: Settings, **more: Any) -> None:
        served.append(settings)

    monkeypatch.setattr(running, "run", serve)
    run("serve", *given)
    assert [settings.scratch for settings in served] == [expected]


@pytest.mark.parametrize("size", ["0", "-1", "much"])
def test_a_disk_of_no_size_is_refused(run: Run, size: str) -> None:
    run("serve", "--scratch", size, status=2)
