"""Another library, at work in the interpreter of its own environment.

A worker holds its model and answers each line of JSON with one: so its measurements take turns with
those of hubkit, and a busy machine slows all alike.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE, Popen
from types import TracebackType
from typing import Any, Self

import torch

from benchmarks.support.epochs import Epochs, epochs
from benchmarks.support.rows import Method, Row
from benchmarks.support.subject import NotOfferedError, PeerSubject, Timing, base_model, measure

BENCHMARKS = Path(__file__).parents[1]


class Peer:
    """A worker, started and asked. A context manager, at whose end it stops.

    Args:
        library: ``adapters`` or ``peft``.
        python: An interpreter that imports it.
        model: The base model, as for :func:`support.subject.base_model`.
        device: Where it runs.
    """

    def __init__(self, library: str, python: str, model: str, device: str) -> None:
        self._library = library
        quiet = {"TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
        self._process = Popen(
            [
                python,
                str(BENCHMARKS / "peers" / f"{library}_worker.py"),
                model,
                device,
                str(torch.get_num_threads()),
            ],
            env={**os.environ, **quiet, "PYTHONPATH": str(BENCHMARKS.parent)},
            stdin=PIPE,
            stdout=PIPE,
            text=True,
        )

    def measure(self, row: Row) -> Timing | None:
        """Measure ``row``; None where the library does not do it."""
        answer = self._ask({"row": row.as_json()})
        return None if answer is None else Timing(**answer)

    def epochs(self, row: Row, texts: int, count: int) -> Epochs | None:
        """As :func:`support.epochs.epochs`; None where the library does not do it."""
        answer = self._ask({"epochs": [texts, count], "row": row.as_json()})
        return None if answer is None else Epochs(**answer)

    def attach_seconds(self, method: Method, number: int) -> float | None:
        """As :meth:`support.subject.PeerSubject.attach_seconds`; None where it does not do that."""
        seconds: float | None = self._ask({"method": method, "number": number})
        return seconds

    def _ask(self, request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The worker for {self._library} stopped; see what it wrote above.")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(make: Callable[[Callable[[], Any]], PeerSubject]) -> None:
    """Answer requests until there are none: the whole life of a worker.

    Args:
        make: From a function that makes base models to the library at work on one.
    """
    name, device, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    answers, sys.stdout = sys.stdout, sys.stderr  # Libraries print.
    subject = make(lambda: base_model(name, device))
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        try:
            if "epochs" in request:
                answer = asdict(epochs(subject, Row.from_json(request["row"]), *request["epochs"]))
            elif "row" in request:
                answer = asdict(measure(subject, Row.from_json(request["row"])))
            else:
                answer = subject.attach_seconds(**request)
        except NotOfferedError:
            answer = None
        print(json.dumps(answer), file=answers, flush=True)
