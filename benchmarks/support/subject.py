"""A library under measurement: what it does to a model, and how that is timed.

Knows of no library but torch and transformers: the workers of other libraries import it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import profile
from transformers import AutoModel, BertConfig, BertModel
from transformers.utils import logging

from benchmarks.support.rows import Row

BASE_SIZED = "base-sized"

Forward = Callable[[Tensor], Any]
"""From token ids to the output of a model."""


class NotOfferedError(Exception):
    """The library does not do this."""


@dataclass(frozen=True)
class Timing:
    """One measurement.

    Attributes:
        reference: Seconds of what the row is compared with.
        variant: Seconds of the row.
        launches: Kernels a layer that each of the two launches on a GPU.
        in_graph: Seconds of each of the two as one CUDA graph.
    """

    reference: float
    variant: float
    launches: tuple[float, float] | None = None
    in_graph: tuple[float, float] | None = None


class Subject(ABC):
    """A library with its own copy of the base model.

    Attributes:
        bare: The base model without any adapters.
        model: The one that carries them; may be the same.
    """

    bare: Any
    model: Any

    @abstractmethod
    def at_work(self, row: Row, first: int = 0) -> AbstractContextManager[Forward]:
        """The model with the composition of ``row``, made of random adapters.

        In a row that trains, what it trains is all that requires gradients.

        Args:
            row: What is measured.
            first: The number of the first adapter.

        Raises:
            NotOfferedError: The library does not do this.
        """


class PeerSubject(Subject):
    """A library that adds adapters to a model one by one, under names."""

    @abstractmethod
    def attach_seconds(self, method: str, number: int) -> float:
        """Seconds that the ``number``-th adapter takes to add.

        Raises:
            NotOfferedError: The library does not do this.
        """


def base_model(name: str, device: str) -> Any:
    """A frozen base model: that of a folder, or random weights of the size of BERT-base."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(0)
    model = BertModel(BertConfig()) if name == BASE_SIZED else AutoModel.from_pretrained(name)
    return model.eval().requires_grad_(False).to(device)


def randomized(module: nn.Module) -> None:
    """Frozen random weights: time does not depend on them, unless they are zero."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.02)
        parameter.requires_grad_(False)


def measure(subject: Subject, row: Row) -> Timing:
    """Time what ``row`` is compared with, and then ``row`` itself."""
    words = subject.bare.config.vocab_size
    ids = torch.randint(words // 10, words, row.shape, device=subject.bare.device)
    reference, launched = _timed(subject, subject.bare, ids)
    if row.kind == "parallel":
        single = replace(row, kind="single", count=1)
        reference = 0.0
        for number in range(row.count):
            with subject.at_work(single, first=number) as forward:
                reference += _timed(subject, forward, ids)[0]
    with subject.at_work(row) as forward:
        if row.step != "forward":
            return Timing(reference, _training_seconds(subject, row, forward, ids))
        variant, launches = _timed(subject, forward, ids)
        # Rows are chosen on the processor, which a graph cannot hold.
        in_graph = None if row.kind in ("batch", "parallel") else _in_graph(forward, ids)
    both = None if launched is None or launches is None else (launched, launches)
    bare = None if in_graph is None else _in_graph(subject.bare, ids)
    graphs = None if in_graph is None or bare is None else (bare, in_graph)
    return Timing(reference, variant, both, graphs)


def seconds(step: Callable[[], object]) -> float:
    """How long ``step`` takes, with all that it has started on a GPU."""
    _synchronize()
    start = perf_counter()
    step()
    _synchronize()
    return perf_counter() - start


@torch.inference_mode()
def _timed(subject: Subject, forward: Forward, ids: Tensor) -> tuple[float, float | None]:
    """Seconds of a forward pass, and the kernels a layer that it launches on a GPU."""
    forward(ids[:, :8])  # What happens once, such as folding.
    spent = seconds(lambda: forward(ids))
    if ids.device.type != "cuda":
        return spent, None
    with profile() as trace:
        forward(ids)
        _synchronize()
    kernels = [
        event
        for event in trace.events() or ()
        if event.device_type == DeviceType.CUDA and not event.name.startswith("Mem")
    ]
    return spent, len(kernels) / subject.bare.config.num_hidden_layers


@torch.inference_mode()
def _in_graph(forward: Forward, ids: Tensor) -> float | None:
    """Seconds of a forward pass that the GPU repeats by itself, as a CUDA graph; None where it
    waits for the processor in between."""
    if ids.device.type != "cuda":
        return None
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        forward(ids)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            forward(ids)
    except RuntimeError:
        return None
    graph.replay()
    return seconds(graph.replay)


def _training_seconds(subject: Subject, row: Row, forward: Forward, ids: Tensor) -> float:
    """Seconds of forward pass, backward pass and the step of AdamW."""
    optimizer = torch.optim.AdamW(p for p in subject.model.parameters() if p.requires_grad)

    def step(ids: Tensor = ids) -> None:
        forward(ids).last_hidden_state.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    subject.model.train(row.step == "training")
    try:
        step(ids[:, :8])  # Makes the state of the optimizer.
        return seconds(step)
    finally:
        subject.model.eval()


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
