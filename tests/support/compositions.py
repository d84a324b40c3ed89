"""Adapters of every kind, and what combines them, with weights that come from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from hubkit import Adapter, Fuse, Fusion, LearnedMix, Mix, attach
from tests.support.models import inputs_for, random_adapter, randomize, run

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "seq_bn": ("seq_bn", {}),
    "double_seq_bn": ("double_seq_bn", {"activation": "gelu"}),
    "par_bn": ("par_bn", {}),
    "seq_bn_inv": ("seq_bn_inv", {}),
    "double_seq_bn_inv": ("double_seq_bn_inv", {"coupling_factor": 4}),
    "learned": ("par_bn", {"scaling": "learned"}),
    "channel": ("seq_bn", {"scaling": "channel"}),
    "ragged": ("double_seq_bn", {"bottleneck_size": {0: 2, 1: 5}}),
    "left_out": ("seq_bn", {"leave_out": (0,)}),
    "lora": ("lora", {}),
    "rslora": ("lora", {"use_rslora": True, "alpha": 3.0}),
    "lora_bias": ("lora", {"bias": True, "leave_out": (1,)}),
    "all_linear": ("lora", {"target_modules": "all-linear", "bottleneck_size": 2}),
}
"""Methods with their parameters, by a name for the pair."""


def adapter_of_kind(
    model: PreTrainedModel, kind: str, name: str | None = None, *, seed: int = 1, **changes: Any
) -> Adapter:
    """A frozen adapter of one of the KINDS."""
    method, parameters = KINDS[kind]
    return random_adapter(model, name or kind, method, seed=seed, **{**parameters, **changes})


def copies_of(adapter: Adapter, count: int) -> list[Adapter]:
    """The same weights under other names."""
    return [
        replace(
            adapter,
            name=f"copy-{index}",
            deltas={site: deepcopy(delta) for site, delta in adapter.deltas.items()},
        )
        for index in range(count)
    ]


def random_fusion(
    parts: Sequence[Any], name: str = "fusion", *, value: bool = True, seed: int = 0
) -> Fusion:
    """A frozen fusion in which no tensor has its initial value."""
    fusion = Fusion.create(Fuse(*parts), name, value=value)
    for index, layer in enumerate(fusion.layers.values()):
        randomize(layer, 100 * seed + index)
        layer.requires_grad_(False).eval()
    return fusion


def random_mix(
    parts: Sequence[Any], name: str = "mix", *, seed: int = 0, **options: Any
) -> LearnedMix:
    """A frozen learned mix with other weights at each site, unless they are shared."""
    mix = LearnedMix.create(Mix(*parts), name, **options)
    for index, weights in enumerate(dict.fromkeys(mix.weights.values())):
        randomize(weights, 100 * seed + index, sigma=0.5)
        weights.requires_grad_(False)
    return mix


def run_with(
    model: PreTrainedModel, composition: Any, inputs: dict[str, Tensor] | None = None
) -> Tensor:
    """The first output of `model` with `composition`; None for the model alone."""
    inputs = inputs or inputs_for(model)
    if composition is None:
        return run(model, inputs)
    with attach(model, composition):
        return run(model, inputs)


def row_of(inputs: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """The inputs of one row."""
    return {name: tensor[row : row + 1] for name, tensor in inputs.items()}
