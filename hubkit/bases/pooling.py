"""How a base model makes one vector of a text, as the files of sentence-transformers say."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers.utils.hub import cached_file

from registry.errors import UnsupportedModelError

logger = logging.getLogger(__name__)

Kind = Literal["mean", "cls", "max", "last"]

_KINDS: dict[str, Kind] = {
    "mean_tokens": "mean",
    "cls_token": "cls",
    "max_tokens": "max",
    "lasttoken": "last",
    **{"mean": "mean", "cls": "cls", "max": "max"},
}


@dataclass(frozen=True)
class PoolingInfo:
    """How the vectors of a text's tokens become one.

    Attributes:
        kind: Their mean; the first token's; the largest value of each feature; the last token's.
        normalize: Whether the result gets the length 1.
        max_length: Tokens of a text at most; None: as many as the tokenizer says.
    """

    kind: Kind = "mean"
    normalize: bool = False
    max_length: int | None = None


class Pooling(nn.Module):
    """A text's vector from those of its tokens; it has no weights.

    Args:
        kind: The way of pooling.
        normalize: Whether the result gets the length 1.
    """

    def __init__(self, kind: Kind, normalize: bool) -> None:
        super().__init__()
        self.kind, self.normalize = kind, normalize

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Pool in float32.

        Args:
            hidden: *Shape:* ``(texts, tokens, width)``.
            mask: 1 for a token, 0 for padding. *Shape:* ``(texts, tokens)``.

        Returns:
            *Shape:* ``(texts, width)``.
        """
        hidden, there = hidden.float(), mask.unsqueeze(-1).bool()
        if self.kind == "mean":
            pooled = hidden.masked_fill(~there, 0).sum(1) / there.sum(1).clamp(min=1)
        elif self.kind == "max":
            pooled = hidden.masked_fill(~there, -torch.inf).amax(1)
        else:
            # Padding may stand on either side.
            places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
            if self.kind == "cls":
                at = places.masked_fill(mask == 0, mask.shape[1] - 1).amin(1)
            else:
                at = places.masked_fill(mask == 0, 0).amax(1)
            pooled = hidden[torch.arange(len(hidden), device=mask.device), at]
        return normalize(pooled, dim=-1) if self.normalize else pooled


def read_pooling(base: str) -> PoolingInfo:
    """How a base model pools: as its ``modules.json`` says, or the mean where it has none.

    Args:
        base: Where the base model is: a folder, or a hub id.

    Raises:
        UnsupportedModelError: It does what hubkit does not know.
    """
    modules = _read(base, "modules.json")
    if modules is None:
        return PoolingInfo()
    kinds = [str(one.get("type")).rpartition(".")[2] for one in modules]
    if odd := [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]:
        raise UnsupportedModelError(
            f"The base model {base!r} makes a vector of a text with a module {odd[0]} "
            "(modules.json); hubkit knows Transformer, Pooling and Normalize.",
            base,
        )
    if kinds.count("Pooling") != 1:
        raise UnsupportedModelError(
            f"The base model {base!r} has {kinds.count('Pooling')} modules for pooling "
            "(modules.json); expected one.",
            base,
        )
    folder = PurePosixPath(str(modules[kinds.index("Pooling")].get("path")))
    kind = _kind(base, _read(base, str(folder / "config.json")) or {})
    limit = (_read(base, "sentence_bert_config.json") or {}).get("max_seq_length")
    return PoolingInfo(kind, "Normalize" in kinds, limit if isinstance(limit, int) else None)


def _kind(base: str, config: dict[str, Any]) -> Kind:
    prefix = "pooling_mode_"
    named = [name.removeprefix(prefix) for name, on in config.items() if on is True]
    if isinstance(config.get("pooling_mode"), str):
        named = [config["pooling_mode"]]
    chosen = [name for name in named if name != "include_prompt"]
    if len(chosen) != 1 or chosen[0] not in _KINDS:
        raise UnsupportedModelError(
            f"The base model {base!r} pools by {' and '.join(chosen) or 'nothing'}; hubkit knows "
            "the mean, the maximum, the first and the last token.",
            base,
        )
    return _KINDS[chosen[0]]


def _read(base: str, name: str) -> Any:
    """A JSON file of a base model; None where it has none."""
    try:
        path = cached_file(base, name, _raise_exceptions_for_missing_entries=False)
    except OSError:
        logger.warning("Could not ask whether %s has a file %s: assumed that not.", base, name)
        return None
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)
