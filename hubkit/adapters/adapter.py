"""Adapters as values: checked tensors, with what they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit.formats import adapterhub
from hubkit.formats.heads import Head, read_head, write_head
from hubkit.nn.delta import Delta
from hubkit.nn.layout import hidden_size, sites
from hubkit.nn.methods import Method
from hubkit.nn.sites import Site
from registry.errors import AdapterError
from registry.manifest import BaseModelInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """One trained adapter.

    Attributes:
        name: What it is called in messages, tables and files.
        method: Its method and sizes.
        model_type: The architecture it fits, as ``config.json`` spells it (``bert``).
        deltas: Its delta at each of its sites.
        base: The base model it was trained on; None if its folder does not say.
        head: The head it was trained with; None if it has none.
    """

    name: str
    method: Method
    model_type: str
    deltas: Mapping[Site, Delta]
    base: BaseModelInfo | None = None
    head: Head | None = None

    def __str__(self) -> str:
        return self.name

    @classmethod
    def create(cls, model: PreTrainedModel, name: str, method: Method) -> Adapter:
        """A new adapter for ``model``, at its initial weights.

        Raises:
            UnsupportedModelError: hubkit knows no sites for this architecture.
        """
        width = hidden_size(model)
        return cls(
            name=name,
            method=method,
            model_type=model.config.model_type,
            deltas={site: Delta(method, width) for site in sites(model, method.places)},
        )

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        name: str | None = None,
        base: BaseModelInfo | None = None,
    ) -> Adapter:
        """Read an AdapterHub folder, frozen.

        Args:
            folder: Holds ``adapter_config.json`` and its weights; a head folder's files may lie
                beside them.
            name: Default: the name in the file.
            base: The base model, when a manifest names it.

        Raises:
            AdapterError: A file is missing or malformed, or its tensors are missing, unexpected,
                of the wrong shape, or not finite.
        """
        stored = adapterhub.read_adapter(Path(folder))
        deltas = {
            site: _delta(stored.name, stored.method, site, tensors)
            for site, tensors in stored.tensors.items()
        }
        return cls(
            name=name or stored.name,
            method=stored.method,
            model_type=stored.model_type,
            deltas=deltas,
            base=base,
            head=read_head(Path(folder)),
        )

    def save(self, folder: str | Path) -> None:
        """Write the adapter and its head as an AdapterHub folder with safetensors.

        Raises:
            StorageError: The folder cannot be written.
        """
        if self.base is None:
            raise AdapterError(f"Adapter {self.name!r} names no base model, so it cannot be saved.")
        adapterhub.write_adapter(
            Path(folder),
            name=self.name,
            method=self.method,
            model_type=self.model_type,
            base=self.base,
            tensors={site: _tensors(delta) for site, delta in self.deltas.items()},
        )
        if self.head is not None:
            write_head(Path(folder), self.head, model_type=self.model_type, base=self.base)


def _delta(adapter: str, method: Method, site: Site, tensors: Mapping[str, Tensor]) -> Delta:
    # Of what is there: check_tensors names what is missing or has another shape.
    known = (tensors[name] for name in ("up.bias", "down.weight") if name in tensors)
    width = next((tensor.shape[-1] for tensor in known if tensor.ndim), 1)
    with torch.device("meta"):
        delta = Delta(method, width)
    check_tensors(f"Adapter {adapter!r} at {site}", delta, tensors)
    delta.load_state_dict(dict(tensors), assign=True)
    return delta.requires_grad_(False).eval()


def check_tensors(owner: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make sure that ``tensors`` are just those of ``module``, and finite.

    Args:
        owner: Whose tensors they are, for messages.

    Raises:
        AdapterError: One is missing, unexpected, of another shape, or holds NaN or infinity.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        raise AdapterError(f"{owner}: expected the tensors {expected}, found {found}.")
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise AdapterError(f"{owner}: {name} holds NaN or infinite weights.")


def _tensors(delta: Delta) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in delta.state_dict().items()}
