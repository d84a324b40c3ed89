"""Epochs of training: what they cost, and how the loss goes. Knows of torch alone."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from time import perf_counter, process_time

import torch

from benchmarks.support.rows import Row
from benchmarks.support.subject import Subject

BATCH_SIZE = 16
LENGTH = 128


@dataclass(frozen=True)
class Epochs:
    """What was measured.

    Attributes:
        seconds: Of each epoch: of the processor, as a busy machine slows these least; on a GPU of
            the clock.
        losses: The mean of each epoch.
        peak: Bytes that the process has held at most so far; on a GPU those of its tensors.
    """

    seconds: list[float]
    losses: list[float]
    peak: int


def epochs(subject: Subject, row: Row, texts: int, count: int) -> Epochs:
    """Train what ``row`` trains, the base model in eval mode.

    Args:
        subject: The library.
        row: What is trained.
        texts: How many there are, each of 128 tokens, in batches of 16.
        count: Epochs.
    """
    generator = torch.Generator().manual_seed(0)
    words = subject.bare.config.vocab_size
    ids = torch.randint(words // 10, words, (texts, LENGTH), generator=generator)
    device = subject.bare.device
    on_gpu = device.type == "cuda"
    clock = perf_counter if on_gpu else process_time
    ids = ids.to(device)
    seconds, losses = [], []
    torch.manual_seed(0)
    with subject.at_work(row) as forward:
        subject.model.eval()
        optimizer = torch.optim.AdamW(p for p in subject.model.parameters() if p.requires_grad)
        if on_gpu:  # the kernels are loaded when they first run
            forward(ids[:BATCH_SIZE].flip(1)).last_hidden_state.square().mean().backward()
            optimizer.zero_grad()
            torch.cuda.reset_peak_memory_stats()
        for _ in range(count):
            start, total = clock(), 0.0
            for batch in ids.split(BATCH_SIZE):
                loss = forward(batch).last_hidden_state[:, 0, ::2].square().mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                total += loss.item() * len(batch) / texts
            seconds.append(clock() - start)  # to read the loss was to wait for the GPU
            losses.append(total)
    if on_gpu:
        return Epochs(seconds, losses, torch.cuda.max_memory_allocated())
    return Epochs(seconds, losses, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
