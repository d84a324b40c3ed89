"""A model of which a part is trained."""

from __future__ import annotations

from transformers import PreTrainedModel

from hubkit import attach, train_only
from tests.support.models import random_adapter


def carrying(model: PreTrainedModel, *, lowest: int = 1, kind: str = "seq_bn") -> PreTrainedModel:
    """The model with an adapter to train from the layer `lowest` on."""
    adapter = random_adapter(model, "a", kind, leave_out=tuple(range(lowest)))
    attach(model, adapter)
    train_only(model, adapter)
    return model
