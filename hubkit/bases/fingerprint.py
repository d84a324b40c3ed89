"""The identity of a base model's weights."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hubkit.nn.hooks import SUBMODULE
from hubkit.nn.host import backbone

BESIDE_BACKBONE = ("qa_outputs.",)
"""The trained heads that T5 holds beside the backbone's own modules."""
NOT_BACKBONE = ("pooler.", "lm_head.", *BESIDE_BACKBONE, f"{SUBMODULE}.")
"""A pooler is part of some head classes and not of others; a language model's head is the base's,
but not its backbone's."""

_State = tuple[tuple[str, int, int], ...]
_cache: WeakKeyDictionary[PreTrainedModel, tuple[_State, str]] = WeakKeyDictionary()


def fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 (64 hex digits) over the backbone's tensors: names, dtypes, shapes and bytes.

    It is the same whichever head class holds the backbone, and another if one weight differs.
    Kept for each model object until one of its tensors is written to or replaced.
    """
    tensors = {
        name: tensor
        for name, tensor in sorted(backbone(model).state_dict().items())
        if not name.startswith(NOT_BACKBONE)
    }
    state = tuple((name, t.data_ptr(), t._version) for name, t in tensors.items())
    known = _cache.get(model)
    if known and known[0] == state:
        return known[1]
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(_bytes(tensor))
    _cache[model] = (state, digest.hexdigest())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
