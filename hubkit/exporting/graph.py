"""One forward pass of a model as an ONNX graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from hubkit.inference import AdaptedModel
from hubkit.nn.foldable import folds_held
from registry.errors import ExportError

AXES = {
    "input_ids": ("batch", "tokens"),
    "attention_mask": ("batch", "tokens"),
    "token_type_ids": ("batch", "tokens"),
    "pixel_values": ("batch", "channels", "height", "width"),
}
"""The names of the axes of each input."""

DYNAMIC = ("batch", "tokens")
"""The axes that may have any length."""

_CHATTER = {
    # Of torch about its own use of itself.
    FutureWarning: r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # All inputs for text have the same two axes, as they are meant to.
    UserWarning: r"# The axis name: \w+ will not be used, since it shares",
}


def require_onnx() -> Any:
    """The module of onnxruntime, where all that writes graphs is installed, too.

    Raises:
        ExportError: Something is not installed.
    """
    try:
        import_module("onnxscript")
        return import_module("onnxruntime")
    except ImportError as error:
        raise ExportError(
            f"ONNX graphs are written and checked by onnxscript and onnxruntime; {error.name} is "
            "not installed. Install it with: pip install 'hubkit[onnx]'",
            error.name,
        ) from error


@contextmanager
def _quiet_about_torchvision() -> Iterator[None]:
    """Silence torch's note that it lacks the operators of a library that no model here uses."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


class Graph(nn.Module):
    """A model as a function of its inputs by position.

    Args:
        adapted: A model that answers in one forward pass.
        inputs: The names of its inputs, in order.
    """

    def __init__(self, adapted: AdaptedModel, inputs: Sequence[str]) -> None:
        super().__init__()
        self.model = adapted.model
        self._task, self._inputs = adapted.task, list(inputs)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in the order of their names."""
        return tuple(self.named(dict(zip(self._inputs, values, strict=True))).values())

    def named(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name."""
        return self._task.one_pass(self.model, inputs)


def write_graph(graph: Graph, inputs: Mapping[str, Tensor], path: Path) -> None:
    """Trace a model, and write what it computes; fusions in their folded form.

    Args:
        graph: The model.
        inputs: A batch of several rows. The graph takes any number of rows, of any length.
        path: Of the file to write. Weights of 2 GB or more go to a file beside it.

    Raises:
        ExportError: torch cannot trace the model, or has no ONNX operators for what it computes.
    """
    shapes = [
        {place: axis for place, axis in enumerate(AXES[name]) if axis in DYNAMIC} for name in inputs
    ]
    # torch finds the range of each length; the graph's axes get the names.
    free = tuple(dict.fromkeys(axes, Dim.DYNAMIC) for axes in shapes)
    values = tuple(inputs.values())
    with torch.no_grad(), folds_held(graph):
        names = list(graph.named(inputs))  # which folds what is to be held
        with warnings.catch_warnings(), _quiet_about_torchvision():
            for kind, message in _CHATTER.items():
                warnings.filterwarnings("ignore", message, kind)
            try:
                program = torch.export.export(graph, values, dynamic_shapes=(free,), strict=False)
                made = torch.onnx.export(
                    program,
                    input_names=list(inputs),
                    output_names=names,
                    dynamo=True,
                    dynamic_shapes=tuple(shapes),
                    verbose=False,
                )
            except Exception as error:  # torch raises what it meets in a model
                reason = " ".join(str(error).split())[:300]
                raise ExportError(
                    f"torch {torch.__version__} cannot write the {type(graph.model).__name__} as "
                    f"an ONNX graph: {reason}"
                ) from error
    assert made is not None
    made.save(path)
