"""Adapters as values: checked tensors, with what they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit.formats import folders
from hubkit.formats.heads import Head, described
from hubkit.formats.stored import StoredAdapter
from hubkit.methods.method import DeltaShape, Method
from hubkit.methods.sites import LinearSite, Site
from hubkit.nn.delta import Delta
from hubkit.nn.host import BaseModel
from hubkit.nn.invertible import Coupling
from registry.arguments import checked
from registry.errors import AdapterError
from registry.folders import read_folder
from registry.manifest import BaseModelInfo, Manifest
from registry.storage.files import MANIFEST_NAME
from registry.storage.place import Place

NAME_THE_BASE = (
    "Name it when the folder is loaded: "
    'Adapter.load(FOLDER, base=registry.BaseModelInfo(id="NAME")).'
)
"""The advice if nothing says which base model an adapter belongs to."""

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapter:
    """One trained adapter.

    Attributes:
        name: Its name in messages, tables and files.
        method: Its method and sizes.
        model_type: The architecture it fits, as ``config.json`` spells it (``bert``); None if its
            folder does not say.
        deltas: Its delta at each of its sites.
        coupling: Its invertible adapter; None for a method without one.
        base: The base model it was trained on; None if its folder does not say.
        head: The head it was trained with; None if it has none.
        backbone: The name of the backbone in the model with a head that it was trained in, by which
            PEFT names the tensors of a LoRA; empty if it was trained in the backbone itself.
    """

    name: str
    method: Method
    model_type: str | None
    deltas: Mapping[Site, Delta]
    coupling: Coupling | None = None
    base: BaseModelInfo | None = None
    head: Head | None = None
    backbone: str = ""

    def __str__(self) -> str:
        return self.name

    @classmethod
    @checked
    def create(cls, model: PreTrainedModel, name: str, method: Method) -> Adapter:
        """A new adapter for ``model``, at its initial weights.

        Raises:
            UnsupportedModelError: hubkit knows no sites for this architecture.
            AdapterError: A parameter of the method does not fit ``model``.
        """
        host, form = BaseModel(model), method.coupling()
        return cls(
            name=name,
            method=method,
            model_type=model.config.model_type,
            deltas={
                site: Delta(shape, method.form(site, shape.rank))
                for site, shape in method.shapes(host).items()
            },
            coupling=None if form is None else Coupling(host.embedding_size, form),
            backbone="" if model.base_model is model else model.base_model_prefix,
        )

    @classmethod
    @checked
    def load(
        cls,
        folder: str | Place,
        *,
        name: str | None = None,
        base: BaseModelInfo | None = None,
        with_head: bool = True,
    ) -> Adapter:
        """Read an adapter from its folder, frozen.

        Args:
            folder: A PEFT or an AdapterHub folder, with or without ``hubkit.json``.
                ``hubkit.load_composition`` loads what is published.
            name: Its name; default: the name in the files, or that of a PEFT folder.
            base: The base model, where that is known; default: what ``hubkit.json`` says.
            with_head: Whether to read the head of the folder, too.

        Raises:
            AdapterError: There is no such folder; a file is missing or malformed; or its tensors
                are missing, unexpected, of the wrong shape, or not finite.
            CorruptBlobError: A file is not what ``hubkit.json`` says.
        """
        folder = folder_of(folder, "adapter")
        manifest = None
        if base is None and (folder / MANIFEST_NAME).is_file():
            manifest = read_folder(folder).manifest
            base = manifest.base_model
        stored = folders.read_adapter(folder, with_head=with_head)
        name = name or stored.name
        owner = f"{folder}: adapter {name!r}"
        adapter = cls(
            name=name,
            method=stored.method,
            model_type=stored.model_type,
            deltas={
                site: _delta(f"{owner} at {site}", stored.method, site, tensors)
                for site, tensors in stored.tensors.items()
            },
            coupling=_coupling(f"{owner}, its invertible part", stored),
            base=base,
            head=stored.head,
            backbone=stored.backbone,
        )
        return adapter if manifest is None else adapter.described_by(manifest)

    def described_by(self, manifest: Manifest) -> Adapter:
        """The same, with what a manifest says of the head and the files do not."""
        if self.head is None:
            return self
        return replace(self, head=described(self.head, manifest))

    @checked
    def save(self, folder: str | Path) -> None:
        """Write the adapter and its head, with safetensors, as the library of its method does.

        LoRA becomes a PEFT folder, everything else an AdapterHub folder.

        Raises:
            AdapterError: Nothing says which base model it belongs to.
            StorageError: The folder cannot be written.
        """
        if self.base is None:
            raise AdapterError(
                f"Adapter {self.name!r} names no base model, so it cannot be saved. {NAME_THE_BASE}"
            )
        folders.write_adapter(
            Path(folder),
            name=self.name,
            method=self.method,
            model_type=self.model_type,
            base=self.base,
            tensors={site: _tensors(delta) for site, delta in self.deltas.items()},
            coupling={} if self.coupling is None else _tensors(self.coupling),
            head=self.head,
            backbone=self.backbone,
        )

    def modules(self) -> Iterator[nn.Module]:
        """All that has weights, but for the head."""
        yield from self.deltas.values()
        if self.coupling is not None:
            yield self.coupling


def folder_of(source: str | Place, kind: str) -> Place:
    """The folder that ``source`` names.

    Args:
        source: The path of a folder.
        kind: What is to be in it, for the message: ``adapter`` or ``fusion``.

    Raises:
        AdapterError: It is not the path of a folder.
    """
    if not isinstance(source, str | Place):
        raise AdapterError(f"The folder of the {kind} is a path, not {source!r}.")
    folder = Path(source) if isinstance(source, str) else source
    if not folder.is_dir():
        raise AdapterError(
            f"{source} is not a folder. A published {kind} is loaded by its name with "
            "hubkit.load_composition(NAME)."
        )
    return folder


_RANKS = (("down", 0), ("up", -1), ("down_bias", 0))
"""Where the tensors of a delta have its rank."""


def _delta(owner: str, method: Method, site: Site, tensors: Mapping[str, Tensor]) -> Delta:
    # Of what is there: check_tensors names what is missing or has another shape.
    ranks = [tensors[n].shape[axis] for n, axis in _RANKS if n in tensors and tensors[n].ndim]
    sizes = [tensors[n].shape[0] for n in ("up", "up_bias") if n in tensors and tensors[n].ndim]
    rank, outputs = next(iter(ranks), 1), next(iter(sizes), 1)
    down = tensors.get("down")
    # A sub-block's width is that of what it reads.
    is_free = isinstance(site, LinearSite) and down is not None and down.ndim == 2
    inputs = down.shape[1] if is_free and down is not None else outputs
    shape = DeltaShape(inputs, rank, outputs)
    return frozen(owner, lambda: Delta(shape, method.form(site, rank)), tensors)


def _coupling(owner: str, stored: StoredAdapter) -> Coupling | None:
    form, tensors = stored.method.coupling(), stored.coupling
    if form is None:
        if tensors:
            raise AdapterError(
                f"{owner}, is in the file, but the method {stored.method.type} has none."
            )
        return None
    halves = [len(tensors[n]) for n in ("F.1.bias", "G.1.bias") if n in tensors]
    return frozen(owner, lambda: Coupling(max(2, sum(halves)), form), tensors)


def frozen(owner: str, make: Callable[[], _Module], tensors: Mapping[str, Tensor]) -> _Module:
    """What ``make`` makes, frozen, in eval mode and with ``tensors`` as its weights.

    Args:
        owner: Whose tensors they are, for messages.
        make: Is called once, and need not draw weights.
        tensors: By name; they are shared, not copied.

    Raises:
        AdapterError: As :func:`check_tensors`.
    """
    with torch.device("meta"):
        module = make()
    check_tensors(owner, module, tensors)
    module.load_state_dict(dict(tensors), assign=True)
    return module.requires_grad_(False).eval()


def check_tensors(owner: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make sure that ``tensors`` are just those of ``module``, and finite floating-point numbers.

    Those on torch's device ``meta`` have no numbers, and count as finite.

    Args:
        owner: Whose tensors they are, for messages.
        module: What they are for.
        tensors: By name.

    Raises:
        AdapterError: One is missing, unexpected, of another shape or type, or holds NaN or
            infinity.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        raise AdapterError(f"{owner}: expected the tensors {expected}, found {found}.")
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise AdapterError(
                f"{owner}: {name} is of the type {tensor.dtype}; expected floating-point numbers."
            )
        if not tensor.is_meta and not bool(torch.isfinite(tensor).all()):
            raise AdapterError(f"{owner}: {name} holds NaN or infinite weights.")


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}
