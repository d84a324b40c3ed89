"""Children that read pickles, as forks of a process that has torch, whose start takes 2 seconds."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

# Runs the script of each line in a child, and answers with its exit status and what it printed.
_PARENT = """
import gc, json, os, runpy, sys
import safetensors.torch
gc.freeze()  # else a collection copies all of it into the child
for line in sys.stdin:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.close(reading)
        sys.argv = json.loads(line)
        sys.stdin.close()
        sys.stdout = open(1, "w")
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.stdout.flush()
        os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        printed = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, printed]), flush=True)
"""


class Forks:
    """What `hubkit.formats.pickles` uses of the module `subprocess`, by forks.

    The children have their own limits of memory and processor time as they always do; how long
    they take on a clock is not limited.
    """

    DEVNULL = subprocess.DEVNULL
    TimeoutExpired = subprocess.TimeoutExpired

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Lock()
        self._parent: subprocess.Popen[str] | None = None

    def run(self, command: Sequence[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run ``python -P SCRIPT ARGUMENTS``."""
        python, _, *arguments = command
        with self._lock:
            if self._parent is None:
                self._parent = subprocess.Popen(
                    [python, "-P", "-c", _PARENT],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            stdin, stdout = self._parent.stdin, self._parent.stdout
            assert stdin is not None
            assert stdout is not None
            stdin.write(json.dumps(arguments) + "\n")
            stdin.flush()
            status, printed = json.loads(stdout.readline())
        return subprocess.CompletedProcess(command, status, printed, "")

    def close(self) -> None:
        """End the process."""
        if self._parent is not None:
            self._parent.communicate()
