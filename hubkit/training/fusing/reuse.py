"""Use one loaded base model for several trainings, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from transformers import set_seed

from hubkit.adapters.tree import Attachable
from hubkit.models.attach import attach
from hubkit.models.freeze import Trainable, train_only
from hubkit.models.head import outlet_tensors, renew_head
from hubkit.training.check import Checked
from hubkit.training.start import Start, keep_precision


def started_anew(start: Start, checked: Checked) -> Start:
    """The same base model with a new head, and random numbers as if it had just been loaded."""
    set_seed(checked.settings.seed)
    renew_head(start.model)
    return replace(start, checked=checked)


@contextmanager
def carrying(
    start: Start, composition: Attachable | None, trained: Sequence[Trainable]
) -> Iterator[None]:
    """Inside the block, the base model carries ``composition``; after it, all but the head is as
    before.

    Args:
        start: Its base model carries nothing yet.
        composition: What it is to carry; None: nothing.
        trained: What is to be trained of it, beside the head; the rest is frozen.
    """
    model = start.model
    outlet = {name: one.detach().clone() for name, one in outlet_tensors(model).items()}
    # The base model was compared before it was prepared.
    carried = None if composition is None else attach(model, composition, allow_base_mismatch=True)
    try:
        with nullcontext() if carried is None else carried:
            train_only(model, *trained)
            keep_precision(model, start.checked.settings)
            yield
    finally:
        with torch.no_grad():
            for name, tensor in outlet_tensors(model).items():
                tensor.copy_(outlet[name])
