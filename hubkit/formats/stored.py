"""What an adapter's folder holds, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from hubkit.formats.heads import Head
from hubkit.methods.method import Method
from hubkit.methods.sites import Site

SiteTensors = dict[Site, dict[str, Tensor]]
"""By site and by the name of the parameter there."""


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter as it lies in a folder.

    Attributes:
        name: Its name in the files.
        method: Its method.
        model_type: The architecture; None where the files do not say.
        tensors: The parameters of the delta at each site: ``down``, ``up``, ...
        coupling: The parameters of its invertible adapter; empty if it has none.
        head: Its head; None if it has none.
        backbone: The name of the backbone in the model that a LoRA of PEFT was trained in; empty if
            that is the backbone.
    """

    name: str
    method: Method
    model_type: str | None
    tensors: SiteTensors
    coupling: Mapping[str, Tensor] = field(default_factory=dict)
    head: Head | None = None
    backbone: str = ""
