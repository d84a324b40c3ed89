"""Blocks that workers of Ray Data answer, each with a model of its own.

Ray is asked from a process of its own, because it writes to the terminal from several places, some
of which have no switch. It starts on this machine, or is the cluster that RAY_ADDRESS names.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from registry.errors import EngineError, HubkitError

if TYPE_CHECKING:
    from hubkit.predicting.answers import Predictor
    from hubkit.predicting.blocks import Block, Part, Work, Worker

_SETTINGS = ("HUBKIT_", "HF_", "AWS_", "GOOGLE_", "AZURE_", "OMP_")
"""How the settings begin that a worker has from this process, wherever it is."""

_STORE = 256 << 20
"""Bytes for parts on their way; a part has a thousand rows."""

_PATIENCE = 30
"""Seconds that Ray has to end its processes."""

_RESTARTS = 3
"""How often a worker that died is started again."""


def require_ray() -> None:
    """Fail early: loading a model takes seconds.

    Raises:
        EngineError: Ray is not installed.
    """
    try:
        version("ray")
    except PackageNotFoundError:
        raise EngineError(
            "Ray is not installed. Install it with: pip install 'hubkit[ray]'", "ray"
        ) from None


@dataclass(frozen=True)
class RayEngine:
    """An engine that answers blocks with the workers of Ray.

    Attributes:
        load: Loads the model, in each worker.
        workers: How many there are; default: one for each GPU, or else for each processor core.
    """

    load: Callable[[], Predictor]
    workers: int | None = None

    def __call__(self, work: Work, blocks: Sequence[Block]) -> Iterator[Part]:
        """Yield the parts as they are done.

        Raises:
            EngineError: Ray cannot be used, has too few processors, or lost its workers.
            HubkitError: A worker raised it.
        """
        require_ray()
        if not blocks:
            return
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        told = pickle.dumps((self.load, work, blocks))
        asker = context.Process(target=_ask, args=(theirs, told, len(blocks), self.workers))
        asker.start()
        theirs.close()
        try:
            while (said := _said(ours)) is not None:
                if isinstance(said, Exception):
                    raise said
                yield said
        finally:
            ours.close()
            asker.terminate()
            asker.join(_PATIENCE)
            asker.kill()
            asker.join()


def _said(connection: Connection) -> Part | Exception | None:
    try:
        return pickle.loads(connection.recv_bytes())  # type: ignore[no-any-return]
    except EOFError:
        return EngineError("Ray ended before all blocks were answered; what is done is kept.")


def _ask(connection: Connection, told: bytes, count: int, workers: int | None) -> None:
    """The process that asks Ray: it sends each part, then None; or the error that ended it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process decides, and ends this one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    with suppress(BrokenPipeError):  # the other process is gone
        try:
            for part in _parts(told, count, workers):
                connection.send_bytes(part)
            connection.send_bytes(pickle.dumps(None))
        except HubkitError as error:
            connection.send_bytes(pickle.dumps(error))
        except Exception as error:
            reason = " ".join(str(error).split())[:500]
            connection.send_bytes(pickle.dumps(EngineError(f"Ray failed: {reason}")))


def _parts(told: bytes, count: int, workers: int | None) -> Iterator[bytes]:
    # It would ask on a terminal whether to report how it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Its workers are to compute as this process would: by default, all others come first.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray
    import ray.data

    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:
        cores = max(workers or 0, os.cpu_count() or 1)
        ray.init(num_cpus=cores, object_store_memory=_STORE, include_dashboard=False)
    try:
        have = ray.cluster_resources()
        kind = "GPU" if have.get("GPU") else "CPU"
        workers = workers or min(int(have[kind]), count)
        if have[kind] < workers:
            raise EngineError(
                f"Ray has {have[kind]:g} {kind}s: expected one for each of {workers} workers.",
                given=workers,
                found=have[kind],
            )
        ray.data.DataContext.get_current().enable_progress_bars = False
        settings = {k: v for k, v in os.environ.items() if k.startswith(_SETTINGS)}
        numbers = ray.data.from_items(list(range(count)), override_num_blocks=count)
        answered = numbers.map(
            _Worker,
            fn_constructor_args=(os.getcwd(), settings, told),
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            num_gpus=int(kind == "GPU"),
            ray_remote_args_fn=partial(dict, max_restarts=_RESTARTS),
        )
        for row in answered.iter_rows():
            yield row["part"]
    finally:
        ray.shutdown()


class _Worker:
    """An actor of Ray: it loads the model with the first block."""

    def __init__(self, folder: str, settings: Mapping[str, str], told: bytes) -> None:
        with suppress(OSError):  # on another machine, there may be none
            os.chdir(folder)
        os.environ.update(settings)
        self._told = told
        self._worker: Worker | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        try:
            if self._worker is None:
                from hubkit.predicting.blocks import Worker

                load, work, self._blocks = pickle.loads(self._told)
                self._worker = Worker(load(), work)
            return {"part": pickle.dumps(self._worker.part(self._blocks[row["item"]]))}
        except HubkitError as error:  # a value: Ray would try again, and wrap it
            return {"part": pickle.dumps(error)}
