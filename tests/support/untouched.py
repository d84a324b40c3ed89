"""That a model is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hubkit.models.attach import attached_to
from tests.support.models import run, same, snapshot


def hooks_of(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in model.modules()
    )


@contextmanager
def untouched(model: PreTrainedModel) -> Iterator[None]:
    """Nothing changes inside the block: weights, modules, hooks, outputs, what is trained."""

    def facts() -> tuple[Any, ...]:
        trained = [parameter.requires_grad for parameter in model.parameters()]
        return hooks_of(model), [*dict(model.named_modules())], trained, attached_to(model)

    before, state, outputs = facts(), snapshot(model), run(model)
    yield
    assert facts() == before
    assert same(snapshot(model), state)
    assert torch.equal(run(model), outputs)
