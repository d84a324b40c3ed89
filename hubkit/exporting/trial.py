"""Whether a graph computes what its model does: on texts, and on noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubkit.exporting.graph import Graph, require_onnx
from hubkit.inference import AdaptedModel
from registry.errors import ExportError

TOLERANCE = 1e-4
"""The largest allowed distance to the model's output, times the largest output if that is over 1.
"""

BATCHES = ((10, 1), (1,), (3,), (40, 2, 17), (25, 25, 25, 25, 25), (200, 1))
"""Words of the rows of each batch that is tried, as far as the adapter reads them."""


def batches(adapted: AdaptedModel) -> Iterator[dict[str, Tensor]]:
    """What the model reads of rows of several lengths; after each batch, the same with noise.

    Noise takes the place of words, and leaves special tokens and padding where they are.
    """
    task, processor = adapted.task, adapted.processor
    collate = task.collator(processor, adapted.model)
    generator = torch.Generator().manual_seed(0)
    for lengths in BATCHES:
        encoded = task.encode(processor, task.probe(lengths), adapted.plan, adapted.text)
        batch = collate([encoded.feature(index) for index in range(len(encoded))])
        inputs = {name: batch[name] for name in processor.model_input_names if name in batch}
        yield inputs
        yield _noise(adapted, inputs, generator)


def _noise(
    adapted: AdaptedModel, inputs: dict[str, Tensor], generator: torch.Generator
) -> dict[str, Tensor]:
    if "pixel_values" in inputs:
        shape = inputs["pixel_values"].shape
        return {"pixel_values": torch.randn(shape, generator=generator)}
    special = torch.tensor(sorted(set(adapted.processor.all_special_ids)))
    table: Any = adapted.model.get_input_embeddings()
    known = torch.arange(len(table.weight))
    words, ids = known[~torch.isin(known, special)], inputs["input_ids"]
    drawn = words[torch.randint(len(words), ids.shape, generator=generator)]
    return {**inputs, "input_ids": torch.where(torch.isin(ids, special), ids, drawn)}


def check_graph(adapted: AdaptedModel, graph: Graph, path: Path) -> float:
    """Compare what onnxruntime computes with the model's own outputs.

    Args:
        adapted: The model.
        graph: The same, as it was traced.
        path: The file with the graph.

    Returns:
        The largest difference, as a part of the largest output where that is over 1.

    Raises:
        ExportError: onnxruntime cannot run the graph, or a difference is over the tolerance.
    """
    onnxruntime = require_onnx()
    worst = 0.0
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for inputs in batches(adapted):
            with torch.no_grad():
                expected = graph.named(inputs)
            found = session.run(
                list(expected), {name: values.numpy() for name, values in inputs.items()}
            )
            for array, tensor in zip(found, expected.values(), strict=True):
                scale = max(1.0, float(tensor.abs().max()))
                worst = max(worst, float((torch.from_numpy(array) - tensor).abs().max()) / scale)
    except Exception as error:  # onnxruntime's own have no class in common
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"onnxruntime cannot run the graph of the model: {reason}") from error
    if not worst <= TOLERANCE:
        raise ExportError(
            f"onnxruntime computes other outputs than the model: they differ by {worst:.2g}, "
            f"expected at most {TOLERANCE:g}.",
            expected=TOLERANCE,
            found=worst,
        )
    return worst
