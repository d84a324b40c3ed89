"""Python with hubkit loaded, whose forks run commands: to load torch for each takes 5 seconds.

A command is what follows `python`, such as `-m hubkit train`. What stands for the program is
`Started.program`: it has the command's input, output, signals and exit status.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

_LOADED = (
    "hubkit.cli",
    "hubkit.predicting.predict_file",
    "hubkit.training.train",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "torch.distributed.run",
    "transformers.models.bert.modeling_bert",
    "transformers.models.gpt2.modeling_gpt2",
)

# Its arguments are the socket and the command. It ends as the fork does.
_PROGRAM = """
import json, os, signal, socket, sys
place = socket.socket(socket.AF_UNIX)
place.connect(sys.argv[1])
told = [sys.argv[2:], os.getcwd(), dict(os.environ)]
socket.send_fds(place, [json.dumps(told).encode()], [0, 1, 2])
place.shutdown(socket.SHUT_WR)
answers = place.makefile()
fork = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(fork, number))
status = answers.readline()
if not status:
    os.kill(os.getpid(), signal.SIGKILL)  # as it was
sys.exit(int(status))
"""


class Started:
    """A process that forks.

    Args:
        folder: Where to put the programs.
    """

    def __init__(self, folder: Path) -> None:
        """Start it, and wait until it listens."""
        socket, client = folder / "socket", folder / "client.py"
        client.write_text(_PROGRAM)
        self.program = folder / "python"
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {client} {socket} "$@"\n')
        self.program.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.started", str(socket)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"listening\n"

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()


@contextmanager
def started() -> Iterator[Started]:
    """Such a process, until the end."""
    with tempfile.TemporaryDirectory() as folder:
        process = Started(Path(folder))
        try:
            yield process
        finally:
            process.close()


def _serve(path: str) -> None:
    """Load everything, and fork for whoever connects."""
    import gc
    import json
    import os
    import runpy
    import signal
    import socket
    import traceback
    import warnings
    from importlib import import_module
    from socketserver import BaseRequestHandler, ForkingMixIn, UnixStreamServer

    for module in _LOADED:
        import_module(module)

    settings = {name: value for name, value in os.environ.items() if name.startswith("HF_")}

    def run(arguments: list[str]) -> int:
        """As Python's main program does."""
        if arguments[:2] == ["-W", "ignore"]:
            warnings.simplefilter("ignore")
            arguments = arguments[2:]
        first, *rest = arguments
        try:
            if first == "-c":
                sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
                exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
            elif first == "-m":
                sys.argv, sys.path[0] = rest, ""
                runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
            else:
                sys.argv, sys.path[0] = arguments, str(Path(first).parent)
                runpy.run_path(first, run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
                return 1
            return end.code or 0
        except BaseException:
            traceback.print_exc()
            return 1
        return 0

    class Handler(BaseRequestHandler):
        """Runs in the fork."""

        def handle(self) -> None:
            told, files, *_ = socket.recv_fds(self.request, 1 << 20, 3)
            while more := self.request.recv(1 << 20):
                told += more
            arguments, folder, environment = json.loads(told)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for standard, file in enumerate(files):
                os.dup2(file, standard)
                os.close(file)
            self.request.sendall(f"{os.getpid()}\n".encode())
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environment)
            # What is read once, when the libraries are loaded, would not be heard.
            heard = {name: value for name, value in environment.items() if name.startswith("HF_")}
            assert heard == settings, (heard, settings)
            status = run(arguments)
            sys.stdout.flush()
            self.request.sendall(f"{status}\n".encode())

    parent = os.getppid()

    class Server(ForkingMixIn, UnixStreamServer):
        request_queue_size = 20

        def service_actions(self) -> None:
            """Twice a second."""
            super().service_actions()
            if os.getppid() != parent:  # whoever started this was killed
                sys.exit()

    gc.collect()
    gc.freeze()  # else a collection copies all of it into the fork
    with Server(path, Handler) as server:
        print("listening", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    _serve(sys.argv[1])
