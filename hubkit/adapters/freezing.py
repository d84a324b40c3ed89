"""Freeze a model but for what is trained."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from hubkit.adapters.head import head_parameters


def train_only(model: PreTrainedModel, parameters: Iterable[nn.Parameter]) -> None:
    """Freeze all of ``model`` but ``parameters`` and its head."""
    trained = {id(parameter) for parameter in (*parameters, *head_parameters(model).values())}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)
