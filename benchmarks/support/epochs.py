"""Epochs of training: what they cost, and how the loss goes. Knows of torch alone."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from time import process_time

import torch

from benchmarks.support.rows import Row
from benchmarks.support.subject import Subject

BATCH_SIZE = 16
LENGTH = 128


@dataclass(frozen=True)
class Epochs:
    """What was measured.

    Attributes:
        seconds: Of the processor, of each epoch: a busy machine slows these least.
        losses: The mean of each epoch.
        peak: Bytes that the process has held at most so far.
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
    ids = ids.to(subject.bare.device)
    seconds, losses = [], []
    torch.manual_seed(0)
    with subject.at_work(row) as forward:
        subject.model.eval()
        optimizer = torch.optim.AdamW(p for p in subject.model.parameters() if p.requires_grad)
        for _ in range(count):
            start, total = process_time(), 0.0
            for batch in ids.split(BATCH_SIZE):
                loss = forward(batch).last_hidden_state[:, 0, ::2].square().mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                total += loss.item() * len(batch) / texts
            seconds.append(process_time() - start)
            losses.append(total)
    return Epochs(seconds, losses, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
