"""The library ``adapters`` (AdapterHub) under measurement."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import adapters  # type: ignore[import-not-found]
from adapters import LoRAConfig, SeqBnConfig
from adapters.composition import (  # type: ignore[import-not-found]
    Average,
    BatchSplit,
    Fuse,
    Parallel,
    Stack,
)

from benchmarks.support.peer import serve
from benchmarks.support.rows import BOTTLENECK_SIZE, LORA_RANK, Row
from benchmarks.support.subject import Forward, NotOfferedError, PeerSubject, randomized, seconds


class AdapterHub(PeerSubject):
    """Adapters stay in the model once they were needed; a row activates its own."""

    def __init__(self, make_model: Callable[[], Any]) -> None:
        self.bare, self.model = make_model(), make_model()
        adapters.init(self.model)
        self._device = self.model.device
        self._configs = {
            "seq_bn": SeqBnConfig(reduction_factor=self.model.config.hidden_size / BOTTLENECK_SIZE),
            "lora": LoRAConfig(r=LORA_RANK, alpha=LORA_RANK),
        }

    @contextmanager
    def at_work(self, row: Row, first: int = 0) -> Iterator[Forward]:
        if row.plain or row.dropped or row.cached:
            raise NotOfferedError
        names = [f"{row.method}_{first + number}" for number in range(row.count)]
        self._add(names, row.method)
        setup = self._composition(row, names)
        if row.kind == "fusion":
            self.model.add_adapter_fusion(setup)
            for name, module in self.model.named_modules():
                if name.endswith(f"adapter_fusion_layer.{','.join(names)}"):
                    randomized(module)
            self.model.to(self._device)
        if row.step == "forward":
            self.model.requires_grad_(False)
            self.model.set_active_adapters(setup)
        elif row.kind == "fusion":
            self.model.train_adapter_fusion(setup)
        else:
            self.model.train_adapter(setup)
        self.model.eval()
        try:
            yield lambda ids: self.model(input_ids=ids)
        finally:
            self.model.set_active_adapters(None)
            if row.kind == "fusion":
                self.model.delete_adapter_fusion(setup)

    def attach_seconds(self, method: str, number: int) -> float:
        if method != "seq_bn":
            raise NotOfferedError
        config = self._configs[method]
        held = [f"held_{place}" for place in range(1, number)]
        for name in held:
            if name not in self.model.adapters_config:
                self.model.add_adapter(name, config=config)
        return seconds(lambda: self.model.add_adapter(f"held_{number}", config=config))

    def _add(self, names: list[str], method: str) -> None:
        for name in names:
            if name not in self.model.adapters_config:
                self.model.add_adapter(name, config=self._configs[method])
                for path, module in self.model.named_modules():
                    if path.endswith(f".{name}"):
                        randomized(module)
        self.model.to(self._device)

    def _composition(self, row: Row, names: list[str]) -> Any:
        if row.kind == "batch":
            return BatchSplit(*names, batch_sizes=row.shape[0] // row.count)
        kinds = {"fusion": Fuse, "mix": Average, "parallel": Parallel}
        return kinds.get(row.kind, Stack)(*names)


if __name__ == "__main__":
    # It warns of adapters that are not active although they are.
    logging.getLogger("adapters").setLevel(logging.ERROR)
    serve(AdapterHub)
