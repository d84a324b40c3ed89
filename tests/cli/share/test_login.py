"""hubkit login, and the settings of the stock client, as another process meets them."""

import json
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
Start = Callable[..., str]


@pytest.fixture
def start(hub: Hub, tmp_path: Path) -> Start:
    """Run commands in one program whose default hub is the one of the test."""

    def start(*commands: list[str], text: str = "", **env: str) -> str:
        script = (
            "import json, sys; from hubkit.cli import main; "
            "[main(command, standalone_mode=False) for command in json.loads(sys.argv[1])]"
        )
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home-of-hf")}
        done = subprocess.run(
            [sys.executable, "-c", script, json.dumps(commands)],
            input=text,
            env={**os.environ, **settings, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "", **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

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
    told = start(
        ["login"],
        ["publish", "film", "--private", "--to"],
        ["pull", "ada/film"],
        text=hub.tokens["ada"],
    )
    assert told == f"Logged in to {hub.url} as ada.\n{hub.url}/ada/film/tree/v1\nada/film@1\n"
    assert (tmp_path / "home-of-hf" / "token").read_text() == hub.tokens["ada"]
    hub.requests.clear()
    fresh = {"HUBKIT_HOME": str(tmp_path / "fresh"), "HF_HUB_OFFLINE": "1"}
    assert start(["pull", "ada/film"], **fresh) == "ada/film@1\n"
    assert hub.requests == []
