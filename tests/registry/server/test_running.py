"""A hub in processes of its own, as `hubkit serve` starts it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from registry import open_catalog
from registry.storage.folder_blobs import FolderBlobStore
from tests.support.serving_hub import Running, free_port, is_there, running

pytestmark = [pytest.mark.once, pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")]

LARGE = os.urandom(5_000_000)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "home"


def said(hub: Running) -> str:
    """All that the hub printed, once it has ended."""
    hub.process.terminate()
    hub.process.wait(timeout=90)
    return hub.printed.read_text()


@pytest.fixture(scope="module")
def token(home: Path) -> str:
    """That of the first user, which the first start prints."""
    with running(home, "--workers", "1") as hub:
        text = said(hub)
    found = re.search(r"HF_TOKEN=(hubkit_\S+)", text)
    assert found
    assert f"HF_ENDPOINT=http://127.0.0.1:{hub.port}" in text
    return found[1]


def test_the_first_start_makes_a_user_and_prints_the_token_once(home: Path, token: str) -> None:
    with running(home, "--workers", "1", token=token) as hub:
        status, _, told = hub.ask("GET", "/api/whoami-v2")
        assert status == 200
        assert json.loads(told)["auth"]["accessToken"]["role"] == "write"
        assert token not in said(hub)


def test_nobody_else_can_come_before_the_first_user(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hubkit", "serve", "--host", "0.0.0.0", "--port", str(free_port())],
        env={**os.environ, "HUBKIT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "hubkit user add NAME --admin" in done.stderr


def test_a_second_hub_does_not_share_the_port_of_the_first(home: Path, token: str) -> None:
    with running(home, "--workers", "1", token=token) as hub:
        done = subprocess.run(
            [sys.executable, "-m", "hubkit", "serve", "--port", str(hub.port)],
            env={**os.environ, "HUBKIT_HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "Another program listens" in done.stderr
    assert "--port" in done.stderr


def test_files_come_whole_and_damaged_ones_end_too_early(home: Path, token: str) -> None:
    with running(home, "--workers", "1", token=token) as hub:
        assert hub.ask("POST", "/api/repos/create", {"name": "m"})[0] == 200
        owner = json.loads(hub.ask("GET", "/api/whoami-v2")[2])["name"]
        hub.upload(f"{owner}/m", "m.bin", LARGE)
        path = f"/{owner}/m/resolve/main/m.bin"
        for _ in range(2):  # verified while it is sent, and sent by the system
            status, told, content = hub.ask("GET", path)
            assert (status, told["content-length"]) == (200, str(len(LARGE)))
            assert content == LARGE
        status, _, content = hub.ask("GET", path, Range="bytes=4000000-")
        assert (status, content) == (206, LARGE[4_000_000:])
        blobs = open_catalog(home).blobs
        assert isinstance(blobs, FolderBlobStore)
        stored = blobs.path(hashlib.sha256(LARGE).hexdigest())
        stored.chmod(0o644)
        stored.write_bytes(LARGE[:-1] + bytes([LARGE[-1] ^ 1]))
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            hub.ask("GET", path)
        assert hub.ask("GET", path)[0] == 410
        # Whoever has the bytes mends it.
        sha256 = hashlib.sha256(LARGE).hexdigest()
        assert hub.ask("PUT", hub.place(f"{owner}/m", sha256, len(LARGE)), LARGE)[0] == 200
        assert hub.ask("GET", path)[2] == LARGE


def test_an_upload_in_progress_ends_well_when_the_hub_is_told_to_stop(
    home: Path, token: str
) -> None:
    content = os.urandom(3_000_000)
    with running(home, "--workers", "2", token=token) as hub:
        owner = json.loads(hub.ask("GET", "/api/whoami-v2")[2])["name"]
        hub.ask("POST", "/api/repos/create", {"name": "stopping"})
        href = hub.place(f"{owner}/stopping", hashlib.sha256(content).hexdigest(), len(content))
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=30)
        connection.putrequest("PUT", href)
        connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content[:1_000_000])
        time.sleep(0.5)
        hub.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.send(content[1_000_000:])
        assert connection.getresponse().status == 200
        connection.close()
        hub.process.wait(timeout=90)
    assert open_catalog(home).blobs.size(hashlib.sha256(content).hexdigest()) == len(content)


def test_what_was_done_before_a_kill_is_there_after_it(home: Path, token: str) -> None:
    with running(home, "--workers", "2", token=token) as hub:
        owner = json.loads(hub.ask("GET", "/api/whoami-v2")[2])["name"]
        hub.ask("POST", "/api/repos/create", {"name": "killed", "visibility": "private"})
        content = os.urandom(3_000_000)
        hub.upload(f"{owner}/killed", "m.bin", content)
        later = os.urandom(200_000)
        href = hub.place(f"{owner}/killed", hashlib.sha256(later).hexdigest(), len(later))
        hub.process.kill()
        hub.process.wait(timeout=30)
        assert hub.wait_for(lambda: not is_there(hub), seconds=30)  # its workers end with it
    with running(home, "--workers", "1", token=token) as hub:
        assert hub.ask("GET", f"/{owner}/killed/resolve/main/m.bin")[2] == content
        assert hub.ask("PUT", href, later)[0] == 200  # signed before


def test_many_clients_at_once_get_what_they_ask_for(home: Path, token: str) -> None:
    with running(home, "--workers", "2", token=token) as hub:
        owner = json.loads(hub.ask("GET", "/api/whoami-v2")[2])["name"]
        hub.ask("POST", "/api/repos/create", {"name": "many"})
        content = os.urandom(3_000_000)
        hub.upload(f"{owner}/many", "m.bin", content)
        wrong: list[object] = []

        def fetch(number: int) -> None:
            start = number * 100_000
            got = hub.ask("GET", f"/{owner}/many/resolve/main/m.bin", Range=f"bytes={start}-")
            if got[2] != content[start:]:
                wrong.append(got[0])

        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
