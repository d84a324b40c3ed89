"""Run `hubkit serve` in processes of its own, and ask it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """A hub that runs."""

    process: subprocess.Popen[bytes]
    port: int
    printed: Path
    token: str | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @staticmethod
    def wait_for(happened: Callable[[], bool], *, seconds: float) -> bool:
        """Whether something happens soon."""
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def ask(
        self, method: str, path: str, body: bytes | dict[str, Any] = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        if self.token and "/_lfs/" not in path:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            told = {key.lower(): value for key, value in answer.getheaders()}
            return answer.status, told, answer.read()
        finally:
            connection.close()

    def upload(self, repository: str, path: str, content: bytes) -> None:
        sha256 = hashlib.sha256(content).hexdigest()
        href = self.place(repository, sha256, len(content))
        assert self.ask("PUT", href, content)[0] == 200
        value = {"path": path, "algo": "sha256", "oid": sha256, "size": len(content)}
        lines = ({"key": "header", "value": {"summary": "s"}}, {"key": "lfsFile", "value": value})
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        assert self.ask("POST", f"/api/models/{repository}/commit/main", body)[0] == 200

    def place(self, repository: str, sha256: str, size: int) -> str:
        wanted = {"operation": "upload", "objects": [{"oid": sha256, "size": size}]}
        _, _, told = self.ask("POST", f"/{repository}.git/info/lfs/objects/batch", wanted)
        href: str = json.loads(told)["objects"][0]["actions"]["upload"]["href"]
        return href.removeprefix(f"http://127.0.0.1:{self.port}")


@contextmanager
def running(
    home: Path, *options: str, token: str | None = None, port: int | None = None
) -> Iterator[Running]:
    """Run `hubkit serve` until the block ends, on a free port unless one is given."""
    port = port or free_port()
    printed = home.parent / f"printed-{port}"
    with printed.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "hubkit", "serve", "--port", str(port), *options],
            env={**os.environ, "HUBKIT_HOME": str(home)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    hub = Running(process, port, printed, token)
    try:
        answers = hub.wait_for(lambda: process.poll() is not None or is_there(hub), seconds=60)
        assert answers and process.poll() is None, printed.read_text()  # noqa: PT018
        yield hub
    finally:
        process.terminate()
        process.wait(timeout=90)


def is_there(hub: Running) -> bool:
    """Whether a hub answers."""
    try:
        return hub.ask("GET", "/api/models")[0] == 200
    except OSError:
        return False
