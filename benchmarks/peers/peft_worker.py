"""The library ``peft`` under measurement: LoRA, alone and in mixed batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from peft import LoraConfig, get_peft_model  # type: ignore[import-not-found]

from benchmarks.support.peer import serve
from benchmarks.support.rows import LORA_RANK, Row
from benchmarks.support.subject import Forward, NotOfferedError, PeerSubject, randomized, seconds


class Peft(PeerSubject):
    """Adapters stay in the model once they were needed; a row activates its own."""

    def __init__(self, make_model: Callable[[], Any]) -> None:
        self._make_model = make_model
        self._config = LoraConfig(
            r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=["query", "value"]
        )
        self.bare = make_model()
        self.model = get_peft_model(make_model(), self._config, adapter_name="lora_0")
        self._freeze("lora_0")

    @contextmanager
    def at_work(self, row: Row, first: int = 0) -> Iterator[Forward]:
        if row.method != "lora" or row.kind not in ("single", "batch") or row.dropped:
            raise NotOfferedError
        if row.step != "forward" and row.kind == "batch":
            raise NotOfferedError
        names = [f"lora_{first + number}" for number in range(row.count)]
        for name in names:
            if name not in self.model.peft_config:
                self.model.add_adapter(name, self._config)
                self._freeze(name)
        self.model.eval()
        if row.kind == "single":
            self.model.set_adapter(names[0])
            for path, parameter in self.model.named_parameters():
                trained = row.step != "forward" and f".{names[0]}." in path
                parameter.requires_grad_(trained)
            yield lambda ids: self.model(input_ids=ids)
            self.model.requires_grad_(False)
        else:
            by_row = [name for name in names for _ in range(row.shape[0] // row.count)]
            forward = partial(self.model, adapter_names=by_row)
            yield lambda ids: forward(input_ids=ids)

    def attach_seconds(self, method: str, number: int) -> float:
        if method != "lora":
            raise NotOfferedError
        if number == 1:
            model = self._make_model()
            return seconds(lambda: get_peft_model(model, self._config))
        model = get_peft_model(self._make_model(), self._config, adapter_name="held_1")
        for place in range(2, number):
            model.add_adapter(f"held_{place}", self._config)
        return seconds(lambda: model.add_adapter(f"held_{number}", self._config))

    def _freeze(self, adapter: str) -> None:
        for path, module in self.model.named_modules():
            if path.endswith(f".{adapter}"):
                randomized(module)


if __name__ == "__main__":
    serve(Peft)
