"""What a hub is measured beside: loops with a bare socket or file, and nginx."""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1024 * 1024


def sendfile(file: Path, size: int) -> None:
    """Send a file over a socket of this machine, as the system can."""

    def send(peer: socket.socket) -> None:
        with file.open("rb") as stream:
            peer.sendfile(stream)

    fetch(send, size)


def hash_and_send(file: Path, size: int) -> None:
    """Send what a second thread hashes, half a MiB at a time, over a socket of this machine."""
    pieces: queue.Queue[bytes] = queue.Queue(8)

    def read() -> None:
        digest = hashlib.sha256()
        with file.open("rb", buffering=0) as stream:
            while piece := stream.read(MIB // 2):
                digest.update(piece)
                pieces.put(piece)
        pieces.put(b"")

    def send(peer: socket.socket) -> None:
        thread = threading.Thread(target=read)
        thread.start()
        while piece := pieces.get():
            peer.sendall(piece)
        thread.join()

    fetch(send, size)


def fetch(send: Callable[[socket.socket], None], size: int) -> None:
    """Take what is sent over a socket of this machine, and throw it away."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with peer:
                send(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(server.getsockname()) as client:
            buffer, got = bytearray(MIB), 0
            while count := client.recv_into(buffer):
                got += count
        thread.join()
        assert got == size


def durable_copy(content: bytes, target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as stream:
        for start in range(0, len(content), MIB):
            digest.update(content[start : start + MIB])
            stream.write(content[start : start + MIB])
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def serving_nginx(folder: Path) -> Iterator[int | None]:
    """Serve a folder with one process of nginx, where that is installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        yield None
        return
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;"
        "events { worker_connections 1024; } http { sendfile on; access_log off;"
        "keepalive_requests 100000000;"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"
    )
    process = subprocess.Popen([program, "-c", str(folder / "nginx.conf")])
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"Nothing listens on port {port}.")
