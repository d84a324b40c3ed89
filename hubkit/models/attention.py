"""What fusions attend to, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hubkit.adapters.fusion import Fusion
from hubkit.adapters.tree import names_of
from hubkit.models.attach import attached_to
from registry.errors import CompositionError

SiteAttention = dict[str, dict[str, float]]
"""By site (``encoder.layer.0.feed_forward``), then by adapter; each site sums to one."""


def mean_attention(
    model: PreTrainedModel, fusion: Fusion, batches: Iterable[Mapping[str, Any]]
) -> SiteAttention:
    """The mean weight that ``fusion`` gives to each of its adapters, over all tokens but padding.

    Args:
        model: Carries ``fusion`` and nothing else.
        batches: Inputs of the model, with an ``attention_mask`` of *shape* ``(batch, length)``;
            without one, all tokens count.

    Raises:
        CompositionError: ``model`` does not carry ``fusion``, or there are no batches.
    """
    if attached_to(model) is not fusion:
        raise CompositionError(
            f"This {type(model).__name__} does not carry {fusion}; attach that, and nothing else."
        )
    totals: dict[str, Tensor] = {}
    for inputs in batches:
        with torch.inference_mode():
            attention = model(**inputs, output_fusion_attention=True).fusion_attention
        mask = inputs.get("attention_mask")
        for site, weights in attention.items():
            counted = weights.flatten(0, -2)
            if mask is not None and mask.shape == weights.shape[:-1]:
                counted = weights[mask.bool()]
            totals[site] = totals.get(site, 0.0) + counted.double().sum(0).cpu()
    if not totals:
        raise CompositionError("The attention is a mean over batches, but none was given.")
    names = names_of(fusion.parts)
    return {
        str(site): dict(
            zip(
                [names[number] for number in fusion.present(site)],
                (totals[str(site)] / totals[str(site)].sum()).tolist(),
                strict=True,
            )
        )
        for site in fusion.layers
    }
