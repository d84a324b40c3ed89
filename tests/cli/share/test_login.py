"""hubkit login, and the settings of the stock client, as another process meets them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.support.foreign import PEFT
from tests.support.hub import Hub

Run = Callable[..., Result]
Start = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def start(hub: Hub, tmp_path: Path) -> Start:
    """Run hubkit as a program whose default hub is the one of the test."""

    def start(*arguments: object, text: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
        script = "from hubkit.cli import main; main()"
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home-of-hf")}
        return subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            input=text,
            env={**os.environ, **settings, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "", **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def test_a_token_for_a_hub_of_ones_own(run: Run, hub: Hub) -> None:
    result = run("login", "--to", hub.url, text=f"{hub.tokens['ada']}\n", HF_TOKEN="")
    assert result.stdout == f"Logged in to {hub.url} as ada.\n"
    result = run("login", "--to", hub.url, "--token", "nonsense", status=1)
    assert "does not know this token" in result.stderr


def test_the_settings_of_the_stock_client_are_honoured(
    run: Run, start: Start, hub: Hub, tmp_path: Path
) -> None:
    run("publish", PEFT / "lora" / "a", "--name", "film", "--task", "film")
    done = start("login", text=hub.tokens["ada"])
    assert done.stdout == f"Logged in to {hub.url} as ada.\n", done.stderr
    assert (tmp_path / "home-of-hf" / "token").read_text() == hub.tokens["ada"]
    done = start("publish", "film", "--private", "--to")
    assert done.stdout == f"{hub.url}/ada/film/tree/v1\n", done.stderr
    mine = {"HUBKIT_HOME": str(tmp_path / "mine")}
    refused = start("pull", "ada/film", **mine, HF_TOKEN=hub.tokens["bob"])
    assert "private and the token that was sent does not open it" in refused.stderr
    done = start("pull", "ada/film", **mine)
    assert done.stdout == "ada/film@1\n", done.stderr
    asked = len(hub.requests)
    fresh = {"HUBKIT_HOME": str(tmp_path / "fresh"), "HF_HUB_OFFLINE": "1"}
    done = start("pull", "ada/film", **fresh)
    assert (done.stdout, done.stderr) == ("ada/film@1\n", "")
    assert len(hub.requests) == asked
