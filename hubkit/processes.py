"""The processes of one training, which a launcher such as ``torchrun`` starts on GPUs or machines.

Each computes its part of every batch. The first alone writes and publishes; of those that fail, the
first to fail says why. Loads torch only where there are several.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from registry.errors import TrainingError

if TYPE_CHECKING:
    from torch.nn import Parameter

T = TypeVar("T")

_MEETING_PLACE = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_OTHER_WAYS = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_MEGATRON_LM")
_LONG = timedelta(days=7)
"""The time that the others wait while the first one measures and publishes."""


def count() -> int:
    """The number of processes; 1 if no launcher started this one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return rank() == 0


def join() -> None:
    """Join the other processes, if there are any.

    Raises:
        TrainingError: What starts the processes does not say where they meet, or wants the model
            itself divided.
    """
    if count() == 1:
        return
    if missing := [name for name in _MEETING_PLACE if name not in os.environ]:
        raise TrainingError(
            f"There are {count()} processes by WORLD_SIZE, but nothing says where they meet: "
            f"expected {', '.join(missing)} beside it, as a launcher such as torchrun sets them.",
            given=count(),
            expected=missing,
        )
    for name in _OTHER_WAYS:
        if os.environ.get(name, "false").lower() in ("true", "1"):
            raise TrainingError(
                f"{name} is set: expected processes that each hold the whole model, without "
                "DeepSpeed, FSDP or Megatron-LM.",
                name,
            )
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.accelerator.is_available())


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` returns in the first process, in each of them; the others wait for it.

    Args:
        make: Called in the first process alone; what it returns can be pickled.

    Raises:
        TrainingError: In the others, where ``make`` failed.
    """
    if count() == 1:
        return make()
    from torch.distributed import broadcast_object_list

    said: list[Any] = [None, None]
    if not is_first():
        broadcast_object_list(said, group=_group())
        if said[1] is not None:
            raise TrainingError(f"The first of {count()} processes broke off: {said[1]}")
        return said[0]  # type: ignore[no-any-return]
    try:
        said[0] = make()
    except BaseException as error:
        said[1] = str(error) or type(error).__name__
        raise
    finally:
        broadcast_object_list(said, group=_group())
    return said[0]  # type: ignore[no-any-return]


def wait_for_all() -> None:
    """Wait until each process has come here."""
    if count() > 1:
        from torch.distributed import barrier

        barrier(group=_group())


def sum_gradients(parameters: Iterable[Parameter]) -> None:
    """Give each parameter the sum of its gradients in all processes.

    A parameter without a gradient in any process stays without. The trained part of a frozen model
    is small, so one message at the end of a step is enough. ``DistributedDataParallel`` would
    require each parameter to take part in each batch, and each process in each step.
    """
    import torch
    from torch.distributed import all_reduce

    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if count() == 1 or not trained:
        return
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    total = torch.cat([part.flatten() for part in parts])
    having = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32)
    having = having.to(total.device)
    all_reduce(total)
    all_reduce(having)
    sums = torch.split(total, [parameter.numel() for parameter in trained])
    for parameter, summed, processes in zip(trained, sums, having.tolist(), strict=True):
        parameter.grad = summed.view_as(parameter) if processes else None


@contextmanager
def one_voice() -> Iterator[None]:
    """Let only the first process print, and of failing processes only the first to fail.

    The block of every other one that fails ends in ``SystemExit``, without a word.
    """
    if count() == 1:
        yield
        return
    kept = sys.stdout, sys.stderr
    try:
        if not is_first():
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        yield
    except BaseException as error:
        sys.stdout, sys.stderr = kept
        if not _is_first_to_fail():
            sys.exit(getattr(error, "exit_code", 1))
        raise
    finally:
        sys.stdout, sys.stderr = kept


@cache
def _group() -> Any:
    """For messages of any length in time; NCCL is for numbers, and does not wait long."""
    from torch.distributed import new_group

    return new_group(backend="gloo", timeout=_LONG)


def _is_first_to_fail() -> bool:
    if any(name not in os.environ for name in _MEETING_PLACE):
        return True
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(iter(rendezvous("env://", timeout=timedelta(minutes=1))))
    return bool(store.add("hubkit/failed", 1) == 1)
