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
    result = run("login", "--to", hub.url, text="ada-writes\n", HF_TOKEN="")
    assert result.stdout == f"Logged in to {hub.url} as ada.\n"
    result = run("login", "--to", hub.url, "--token", "nonsense", status=1)
    assert "does not know this token" in result.stderr


def test_the_settings_of_the_stock_client_are_honoured(
    start: Start, hub: Hub, tmp_path: Path
) -> None:
    folder = PEFT / "lora" / "a"
    assert start("publish", folder, "--name", "film", "--task", "film").stdout == "film@1\n"
    refused = start("publish", "film", "--to")
    assert refused.returncode == 1
    assert "HF_TOKEN" in refused.stderr
    done = start("login", text="ada-writes")
    assert done.stdout == f"Logged in to {hub.url} as ada.\n", done.stderr
    assert (tmp_path / "home-of-hf" / "token").read_text() == "ada-writes"
    done = start("publish", "film", "--to")
    assert done.stdout == f"{hub.url}/ada/film/tree/v1\n", done.stderr
    hub.create("ada/secret", hub.repos["ada/film"].files(), private=True)
    mine = {"HUBKIT_HOME": str(tmp_path / "mine")}
    assert "private" in start("pull", "ada/secret", **mine, HF_TOKEN="bob-writes").stderr
    done = start("pull", "ada/secret", **mine)
    assert done.stdout == "ada/secret@1\n", done.stderr
    asked = len(hub.requests)
    fresh = {"HUBKIT_HOME": str(tmp_path / "fresh"), "HF_HUB_OFFLINE": "1"}
    done = start("pull", "ada/secret", **fresh)
    assert done.stdout == "ada/secret@1\n", done.stderr
    assert "HF_HUB_OFFLINE" in start("pull", "ada/never", **fresh).stderr
    assert len(hub.requests) == asked
    assert done.stderr == ""
