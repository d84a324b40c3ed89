from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch

from hubkit import Adapter, Batch, Stack, attach
from tests.support.compositions import adapter_of_kind, random_fusion
from tests.support.models import inputs_for, run, tiny_model

# One layer, since it takes seconds to compile two.
SIZES = {
    "bert": {"num_hidden_layers": 1},
    "gpt2": {"n_layer": 1},
    "llama": {"num_hidden_layers": 1},
    "t5": {"num_layers": 1, "num_decoder_layers": 1},
}
COMPOSITIONS: dict[str, Callable[[Adapter, Adapter, Adapter], Any]] = {
    "single": lambda block, _other, _lora: block,
    "stack": lambda block, other, lora: Stack(block, other, lora),
    "fuse": lambda block, other, lora: random_fusion([block, other, lora]),
    "batch": lambda block, _other, lora: Batch([block, lora, None]),
}


# Each architecture and each composition once; `make torture` has all pairs.
QUICK = {
    ("gpt2", "single"),
    ("llama", "stack"),
    ("bert", "batch"),
    ("t5", "fuse"),
}


@pytest.mark.parametrize(
    ("architecture", "composition"),
    [
        pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.torture)
        for pair in product(SIZES, COMPOSITIONS)
    ],
)
def test_a_compiled_model_is_one_graph_with_the_same_output(
    architecture: str, composition: str
) -> None:
    model = tiny_model(architecture, **SIZES[architecture])
    parts = [adapter_of_kind(model, kind) for kind in ("seq_bn", "channel", "lora")]
    inputs, plain = inputs_for(model), run(model, inputs_for(model))
    torch.compiler.reset()
    with attach(model, COMPOSITIONS[composition](*parts)):
        expected = run(model, inputs)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        with torch.no_grad():
            found = compiled(**inputs)[0]
    # A fusion is folded in the plain model alone.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found - plain).abs().max().item() > 0.01
