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

SMALL_DTYPES = (torch.bfloat16, torch.float16)
"""The dtypes in which people run a base model whose weights are stored in a larger one."""

_State = tuple[tuple[str, int, int], ...]
_cache: WeakKeyDictionary[
    PreTrainedModel, tuple[_State, dict[tuple[torch.dtype | None, ...], tuple[str, ...]]]
] = WeakKeyDictionary()


def fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 (64 hex digits) over the backbone's tensors: names, dtypes, shapes and bytes.

    It is the same whichever head class holds the backbone, and another if one weight differs.
    Kept for each model object until one of its tensors is written to or replaced.
    """
    return fingerprints(model, (None,))[0]


def fingerprints(model: PreTrainedModel, dtypes: tuple[torch.dtype | None, ...]) -> tuple[str, ...]:
    """The fingerprints that the backbone's weights have in each of ``dtypes``.

    Weights are rounded to the dtype as loading does it, so that ``base`` loaded in bfloat16 has
    the fingerprint that ``fingerprints(base, (torch.bfloat16,))`` gives in float32.

    Args:
        model: A model, with or without a head.
        dtypes: Floating-point types; None for the weights as they are.
    """
    tensors = {
        name: tensor
        for name, tensor in sorted(backbone(model).state_dict().items())
        if isinstance(tensor, Tensor) and not name.startswith(NOT_BACKBONE)
    }
    state = tuple((name, t.data_ptr(), t._version) for name, t in tensors.items())
    known = _cache.get(model)
    if known is None or known[0] != state:
        known = _cache[model] = (state, {})
    if dtypes not in known[1]:
        digests = [hashlib.sha256() for _ in dtypes]
        for name, tensor in tensors.items():
            for digest, dtype in zip(digests, dtypes, strict=True):
                cast = dtype is not None and tensor.is_floating_point()
                _add(digest, name, tensor.to(dtype) if cast else tensor)
        known[1][dtypes] = tuple(digest.hexdigest() for digest in digests)
    return known[1][dtypes]


def dtype_name(model: PreTrainedModel) -> str:
    """The dtype of the backbone's weights, such as ``float32``; several are joined with ``+``."""
    dtypes = {p.dtype for p in backbone(model).parameters() if p.is_floating_point()}
    return "+".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes)) or "none"


def digest_parts(model: PreTrainedModel) -> dict[str, str]:
    """SHA-256 of each part between the backbone's layers and the outputs, by module path.

    Inside the backbone this is the pooler, outside of it each module of the head; a path inside the
    backbone stands without the backbone's name. The weights are rounded to bfloat16 first, so that
    the digest of a part is the same in float32 and in bfloat16.
    """
    base = backbone(model)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in sorted(base.state_dict().items()):
        if name.startswith(NOT_BACKBONE) and not name.startswith(f"{SUBMODULE}."):
            parts.setdefault(name.partition(".")[0], {})[name] = tensor
    if base is not model:
        inside = (f"{model.base_model_prefix}.", f"{SUBMODULE}.")
        for name, tensor in sorted(model.state_dict().items()):
            if not name.startswith(inside):
                parts.setdefault(name.partition(".")[0], {})[name] = tensor
    return {path: _digest_part(tensors) for path, tensors in parts.items()}


def _digest_part(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        _add(digest, name, tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
    digest.update(_bytes(tensor))


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
