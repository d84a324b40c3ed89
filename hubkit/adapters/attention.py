"""What a fusion attends to, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit.adapters.fusion import Fusion, sites_of
from hubkit.nn.attach import SUBMODULE, node_name
from hubkit.nn.fusion import Fused

SiteAttention = dict[str, dict[str, float]]
"""By site (``encoder.layer.0.feed_forward``), then by adapter; each site sums to one."""


def mean_attention(
    model: PreTrainedModel, fusion: Fusion, batches: Iterable[Mapping[str, Tensor]]
) -> SiteAttention:
    """The mean weight that ``fusion`` gives to each of its adapters, over all tokens but padding.

    Args:
        model: Carries ``fusion`` and nothing else.
        batches: Inputs of the model, with an ``attention_mask`` of *shape* ``(batch, length)``.
    """
    totals: dict[str, Tensor] = {}
    masks: list[Tensor] = []

    def add_to(site: str) -> Any:
        def hook(_layer: nn.Module, _inputs: Any, fused: Fused) -> None:
            weights = fused.attention[masks[-1]].double().sum(0).cpu()
            totals[site] = totals.get(site, torch.zeros_like(weights)) + weights

        return hook

    nodes = getattr(model, SUBMODULE)
    hooks = [
        nodes[node_name(site)].layer.register_forward_hook(add_to(str(site)))
        for site in sites_of(fusion)
    ]
    try:
        for inputs in batches:
            masks.append(inputs["attention_mask"].bool())
            with torch.inference_mode():
                model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        str(site): dict(
            zip(
                [str(part) for part in fusion.parts if site in sites_of(part)],
                (totals[str(site)] / totals[str(site)].sum()).tolist(),
                strict=True,
            )
        )
        for site in sites_of(fusion)
    }
