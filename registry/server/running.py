"""Run the hub: processes that answer requests, until they are stopped."""

import ctypes
import errno
import json
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict

from registry.errors import InvalidNameError, TakenAddressError
from registry.history.committing import Convert
from registry.home import find_catalog
from registry.server.app import App
from registry.server.hub import Hub, Settings

VARIABLE = "HUBKIT_SERVING"
"""The settings of the processes; only `run` sets it."""

PATIENCE = 60
"""Seconds that a process has to finish its requests when it is stopped."""

_M_ARENA_MAX = -8


def run(settings: Settings, *, host: str, port: int, workers: int, app: str) -> None:
    """Serve the user's registry until this process is interrupted or ended.

    Args:
        settings: How it is served.
        host: The address to listen on.
        port: The port.
        workers: The number of processes.
        app: The module and function that return the application in each, such as
            ``hubkit.serving:make_app``; they call `make_app` below.

    Raises:
        TakenAddressError: Another program listens there.
        InvalidNameError: This machine has no such address.
    """
    _require_free(host, port)
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels

    os.environ[VARIABLE] = json.dumps({**asdict(settings), "hosts": sorted(settings.hosts)})
    Granian(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        http=HTTPModes.http1,
        websockets=False,
        factory=True,
        log_level=LogLevels.warning,
        respawn_failed_workers=True,
        workers_kill_timeout=PATIENCE,
    ).serve()


def make_app(convert: Convert) -> App:
    """Return the application of a process that `run` started, with settings of its environment.

    Args:
        convert: Makes safetensors of pickled weights; see `registry.history.committing.Committer`.
    """
    _keep_memory_together()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    given = json.loads(os.environ[VARIABLE])
    settings = Settings(**{**given, "hosts": frozenset(given["hosts"])})
    return App(Hub(find_catalog(), settings, convert=convert))


def _require_free(host: str, port: int) -> None:
    """Refuse an address where another program listens; two hubs could share it unnoticed."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        where = f"{host}, port {port}"
        if error.errno == errno.EADDRINUSE:
            raise TakenAddressError(f"Another program listens at {where}.", where) from error
        reason = error.strerror or str(error)
        raise InvalidNameError(f"Nothing can listen at {where}: {reason}.", where) from error


def _keep_memory_together() -> None:
    """Let all threads share two pools of memory: a pool for each would keep much."""
    with suppress(AttributeError, OSError, TypeError):  # where the C library is not glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def _end_with(parent: int) -> None:
    """End this process when its parent ends, so that no old hub keeps answering."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
