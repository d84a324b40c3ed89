"""hubkit under measurement."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.support.rows import BOTTLENECK_SIZE, LORA_RANK, Method, Row
from benchmarks.support.subject import Forward, Subject, randomized
from hubkit import Adapter, Batch, Fuse, Fusion, Mix, Parallel, Stack, attach, train_only
from hubkit.methods.table import new_method
from hubkit.nn.foldable import Foldable
from hubkit.nn.host import BaseModel
from hubkit.training.settings import CACHE_TRUNK
from hubkit.training.trunk.cache import trunk_cached


class Hubkit(Subject):
    """Adapters are values, made once and attached for every measurement.

    Args:
        model: A frozen base model.
    """

    def __init__(self, model: Any) -> None:
        self.bare = self.model = model
        self._adapters: dict[Method, list[Adapter]] = {"seq_bn": [], "lora": []}
        self._fusions: dict[int, Fusion] = {}

    def adapters(self, method: Method, count: int) -> list[Adapter]:
        """The first ``count`` adapters of a method."""
        made = self._adapters[method]
        for number in range(len(made), count):
            made.append(random_adapter(self.model, method, number))
        return made[:count]

    @contextmanager
    def at_work(self, row: Row, first: int = 0) -> Iterator[Forward]:
        """The model with the composition of ``row`` attached."""
        adapters = self.adapters(row.method, first + row.count)[first:]
        if row.dropped and row.kind == "single":
            adapters = [random_adapter(self.model, row.method, first, range(row.dropped))]
        composition = self._composition(row, adapters)
        if row.dropped and isinstance(composition, Fusion):
            composition = composition.leaving_out(range(row.dropped), self.model)
        as_written = patch.object(Foldable, "joins", lambda *_: False)
        with (
            attach(self.model, composition),
            as_written if row.plain else nullcontext(),
            ExitStack() as stack,
        ):
            if row.step != "forward":
                train_only(self.model, composition)
            if row.cached:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                stack.enter_context(trunk_cached(self.model, Path(folder), CACHE_TRUNK))
            try:
                yield lambda ids: self.model(input_ids=ids)
            finally:
                self.model.requires_grad_(False)

    def _composition(self, row: Row, adapters: list[Adapter]) -> Any:
        if row.kind == "fusion":
            if row.count not in self._fusions:
                fusion = Fusion.create(Fuse(*adapters))
                for layer in fusion.layers.values():
                    randomized(layer.to(self.model.device))
                self._fusions[row.count] = fusion
            return self._fusions[row.count]
        if row.kind == "batch":
            each = row.shape[0] // row.count
            return Batch([adapter for adapter in adapters for _ in range(each)])
        if row.kind == "mix":
            return Mix(*adapters, weights=[1 / row.count] * row.count)
        kinds: dict[str, Any] = {"stack": Stack, "parallel": Parallel}
        return adapters[0] if row.kind == "single" else kinds[row.kind](*adapters)


def random_adapter(
    model: Any, method: Method, number: int, leave_out: Sequence[int] = ()
) -> Adapter:
    sizes: dict[Method, dict[str, Any]] = {
        "seq_bn": {"bottleneck_size": BOTTLENECK_SIZE},
        "lora": {"rank": LORA_RANK},
    }
    settings = new_method(method, BaseModel(model), leave_out=tuple(leave_out), **sizes[method])
    adapter = Adapter.create(model, f"{method}-{number}", settings)
    for module in adapter.modules():
        randomized(module.to(model.device))
    return adapter


def named_batch(adapters: list[Adapter]) -> Batch:
    return Batch({adapter.name: adapter for adapter in adapters})
