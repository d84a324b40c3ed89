"""huggingface_hub with hf_xet, as installed, in processes of its own, with nothing set but
where the hub is and the token.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from registry import open_catalog
from registry.server.app import App
from registry.server.hub import Hub
from registry.server.xet.scratch import FOLDER_NAME
from tests.support.asgi import Client
from tests.support.people import People, with_people
from tests.support.relay import relaying
from tests.support.serving_hub import free_port, is_there, running

pytestmark = [pytest.mark.once, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]

UPLOAD = """
import os, sys
from huggingface_hub import CommitOperationAdd, HfApi
repository, *paths = sys.argv[1:]
files = [CommitOperationAdd(os.path.basename(path), path) for path in paths]
HfApi().create_commit(repository, files, commit_message="by xet")
"""


class Served:
    """A hub on a port that notes what it is asked.

    Attributes:
        people: Who uses it.
        asked: Method, path and length of each request below the address of Xet.
    """

    def __init__(self, people: People) -> None:
        self.people, self.asked = people, list[tuple[str, str, int]]()
        self._app = App(Hub(people.catalog))
        options = {"interface": "asgi3", "log_level": "critical", "lifespan": "off"}
        config = uvicorn.Config(self.serve, host="127.0.0.1", port=0, **options)  # type: ignore[arg-type]
        self.server = uvicorn.Server(config)

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith("/_xet/"):
            headers = dict(scope["headers"])
            path = scope["path"].split("/", 3)[3]
            self.asked.append((scope["method"], path, int(headers.get(b"content-length", 0))))
        await self._app(scope, receive, send)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def xorbs(self) -> int:
        """How many came since the last time; forget them."""
        sent = [path for _, path, _ in self.asked if path.startswith("v1/xorbs/")]
        self.asked.clear()
        return len(sent)

    def read(self, repository: str, name: str) -> bytes:
        with Client(self._app) as client:
            answer = client.ask("GET", f"/{repository}/resolve/main/{name}")
        assert answer.status == 200
        return answer.body


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("hub") / "home"
    served = Served(with_people(open_catalog(home)))
    thread = threading.Thread(target=served.server.run, daemon=True)
    thread.start()
    while not served.server.started:
        time.sleep(0.01)
    yield served
    served.server.should_exit = True
    thread.join(timeout=10)


def environment(url: str, token: str, home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return {**kept, "HF_ENDPOINT": url, "HF_TOKEN": token, "HF_HOME": str(home)}


@pytest.fixture
def upload(served: Served, tmp_path: Path) -> Any:
    """Commit files as somebody, with the same cache of the client each time."""

    def send(by: str, repository: str, *paths: Path) -> int:
        done = subprocess.run(
            [sys.executable, "-c", UPLOAD, repository, *map(str, paths)],
            env=environment(served.url, served.people.tokens[by], tmp_path / "client"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Xet" not in done.stderr
        return served.xorbs()

    return send


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    path.write_bytes(os.urandom(400_000) + bytes(range(256)) * 1000)
    return path


def test_several_files_come_in_one_xorb_of_all_kinds_of_chunks(
    served: Served, upload: Any, tmp_path: Path
) -> None:
    served.people.make("alice/several")
    values = b"".join((n * 7919 % 65_521).to_bytes(4, "little") for n in range(200_000))
    contents = {"a.bin": os.urandom(700_000), "b.bin": b"much the same. " * 40_000, "c.bin": values}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert upload("alice", "alice/several", *(tmp_path / name for name in contents)) == 1
    assert {name: served.read("alice/several", name) for name in contents} == contents


def test_the_same_again_sends_a_shard_alone(served: Served, upload: Any, weights: Path) -> None:
    served.people.make("alice/first")
    served.people.make("alice/again")
    assert upload("alice", "alice/first", weights) == 1
    assert upload("alice", "alice/again", weights) == 0
    assert served.read("alice/again", weights.name) == weights.read_bytes()


def test_two_accounts_share_a_client_but_no_xorb(
    served: Served, upload: Any, weights: Path
) -> None:
    served.people.make("alice/shared")
    served.people.make("bob/shared")
    assert upload("alice", "alice/shared", weights) == 1
    assert upload("bob", "bob/shared", weights) == 1
    assert served.read("bob/shared", weights.name) == weights.read_bytes()


@pytest.mark.parametrize("day", ["today", "tomorrow"])
def test_what_is_gone_is_sent_anew(served: Served, upload: Any, weights: Path, day: str) -> None:
    served.people.make(f"alice/gone-{day}")
    served.people.make(f"alice/anew-{day}")
    assert upload("alice", f"alice/gone-{day}", weights) == 1
    folder = served.people.catalog.home / FOLDER_NAME
    if day == "today":  # the scratch was lost
        shutil.rmtree(folder)
    else:  # a day goes by
        for one in folder.glob("*/*"):
            yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
            shutil.rmtree(one.with_name(yesterday), ignore_errors=True)
            one.rename(one.with_name(yesterday))
    assert upload("alice", f"alice/anew-{day}", weights) == 1
    assert served.read(f"alice/anew-{day}", weights.name) == weights.read_bytes()


def test_an_upload_goes_on_after_the_hub_was_killed(tmp_path: Path, weights: Path) -> None:
    people = with_people(open_catalog(tmp_path / "home"))
    people.make("alice/killed")
    people.catalog.close()
    with relaying(free_port()) as relay:
        process = None
        for word in ("v1/xorb-grants/", "v1/xorbs/"):
            # Before the hub listens: the client asks again as soon as it does.
            relay.stop_after(word)
            with running(tmp_path / "home", "--workers", "2", port=relay.hub) as hub:
                process = process or subprocess.Popen(
                    [sys.executable, "-c", UPLOAD, "alice/killed", str(weights)],
                    env=environment(relay.url, people.tokens["alice"], tmp_path / "client"),
                    stderr=subprocess.PIPE,
                    text=True,
                )
                relay.wait(seconds=60)
                hub.process.kill()
                hub.process.wait(timeout=30)
                assert hub.wait_for(lambda: not is_there(hub), seconds=30)
        relay.go_on()
        time.sleep(4)
        with running(tmp_path / "home", "--workers", "2", port=relay.hub) as hub:
            assert process is not None
            _, told = process.communicate(timeout=120)
            assert process.returncode == 0, told[-3000:]
            path = f"/alice/killed/resolve/main/{weights.name}"
            assert hub.ask("GET", path)[2] == weights.read_bytes()
    sent = [path for path in relay.asked if "v1/xorbs/" in path]
    assert len(sent) == 1  # what had come was not sent again
