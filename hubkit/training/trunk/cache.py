"""What the trunk gives for each row, computed when the row first comes, and kept for the run.

A row is known by its content: its token ids and all else that the backbone reads of it, up to its
last token, and the precision that is computed in. So it is found again in another order and in
another batch. The padding after its last token is no part of it: no token attends to it. The
weights are no part of the key, since the file is that of one model in one run.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hubkit import processes
from hubkit.nn.host import backbone
from hubkit.tasks.task import Encoded
from hubkit.training.trunk.cut import Cut
from hubkit.training.trunk.store import RowStore
from registry.errors import FullDiskError

logger = logging.getLogger(__name__)

_WHOLE = ("output_hidden_states", "output_attentions", "past_key_values")
"""Outputs that only the whole model gives."""


@contextmanager
def trunk_cached(
    model: PreTrainedModel, folder: Path, limit: int, rows: Sequence[Encoded] = ()
) -> Iterator[None]:
    """Inside the block, run the trunk of ``model`` once for each row, without dropout.

    Args:
        model: Carries what is trained.
        folder: On whose disk the results are kept, until the block ends.
        limit: Their bytes at most, of all processes together. What is more is computed each time.
        rows: All rows that the model is to run on, to say beforehand whether there is room.

    Raises:
        NoTrunkError: As :class:`~hubkit.training.trunk.cut.Cut`.
        FullDiskError: There is too little room for the rows.
        StorageError: The disk is not writable.
    """
    cut = Cut(model)
    _require_room(model, folder, limit, rows)
    with RowStore(folder, limit // processes.count()) as store:
        run = _Run(backbone(model), cut, store)
        with cut.going_on(lambda: run.states):
            hooks = [
                run.base.register_forward_pre_hook(run.enter, with_kwargs=True),
                run.base.register_forward_hook(run.leave, always_call=True),
            ]
            try:
                yield
            finally:
                for hook in hooks:
                    hook.remove()


def _require_room(
    model: PreTrainedModel, folder: Path, limit: int, rows: Sequence[Encoded]
) -> None:
    tokens = sum(_tokens(one.features.get("input_ids", ())) for one in rows)
    needed = tokens * model.config.hidden_size * model.dtype.itemsize
    if needed > limit:
        logger.warning(
            "The outputs of the frozen trunk take %s bytes, and %s are allowed: the rows beyond "
            "that go through the trunk in every epoch.",
            f"{needed:,}",
            f"{limit:,}",
        )
    place = next(one for one in (folder, *folder.parents) if one.is_dir())
    free = shutil.disk_usage(place).free
    if min(needed, limit) > free:
        raise FullDiskError(
            f"The outputs of the frozen trunk take {min(needed, limit):,} bytes, and the disk of "
            f"{folder} has {free:,} left.",
            folder,
        )


def _tokens(ids: Any) -> int:
    if not isinstance(ids, list | tuple):
        return int(getattr(ids, "size", 1))
    return sum(_tokens(one) for one in ids) if ids and not isinstance(ids[0], int) else len(ids)


class _Run:
    """The forward passes of a backbone from the end of its trunk.

    Attributes:
        base: The backbone.
        states: What the trunk gives for the batch that is under way; None outside of a pass.
    """

    def __init__(self, base: PreTrainedModel, cut: Cut, store: RowStore) -> None:
        self.base = base
        self.states: Tensor | None = None
        self._cut = cut
        self._store = store
        self._names = [*signature(base.forward).parameters]

    def enter(self, _base: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Find what the trunk gives for a batch, or compute it."""
        self._cut.without_dropout()
        inputs = {**dict(zip(self._names, arguments, strict=False)), **named}
        main = inputs.get(str(self.base.main_input_name))
        config = self.base.config
        if main is None or any(inputs.get(n) or getattr(config, n, None) for n in _WHOLE):
            return
        self.states = self._found(inputs, main)

    def leave(self, *_: Any) -> None:
        """Let go of the batch."""
        self.states = None

    def _found(self, inputs: Mapping[str, Any], main: Tensor) -> Tensor:
        lengths = _lengths(main, inputs.get("attention_mask"))
        keys = _keys(inputs, lengths, main)
        kept = [self._store.get(key) for key in keys]
        missing = [row for row, one in enumerate(kept) if one is None]
        new: Tensor | None = None
        if missing:
            new = self._cut.states(_at_rows(inputs, missing, len(main)))
            for place, row in enumerate(missing):
                self._store.put(keys[row], new[place, : lengths[row]])
            if len(missing) == len(keys):
                return new
        some = next(one for one in (new, *kept) if one is not None)
        width = main.shape[1] if lengths[0] is not None else some.shape[-2]
        # Padding is never read.
        states = torch.zeros(
            (len(main), width, some.shape[-1]), dtype=some.dtype, device=main.device
        )
        for row, one in enumerate(kept):
            if one is not None:
                states[row, : len(one)] = one.to(main.device)
        if new is not None:
            states[torch.tensor(missing, device=main.device)] = new
        return states


def _lengths(main: Tensor, mask: Any) -> list[int | None]:
    """The tokens of each row up to its last one; None for what has no tokens, such as an image."""
    if main.ndim != 2:
        return [None] * len(main)
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        return [main.shape[1]] * len(main)
    places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return [*map(int, ((mask != 0) * places).amax(1).tolist())]


def _keys(inputs: Mapping[str, Any], lengths: list[int | None], main: Tensor) -> list[bytes]:
    device = main.device.type
    computed = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    keys = [hashlib.blake2b(str(computed).encode(), digest_size=16) for _ in lengths]
    for name, value in sorted(inputs.items()):
        if not isinstance(value, Tensor) or name == "labels":
            continue
        value = value.cpu()
        for row, (key, length) in enumerate(zip(keys, lengths, strict=True)):
            own = value[row] if _is_by_row(value, len(main)) else value
            if length is not None and own.shape[:1] == main.shape[1:]:
                own = own[:length]
            key.update(f"{name} {own.dtype} {tuple(own.shape)} ".encode())
            key.update(own.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return [key.digest() for key in keys]


def _at_rows(inputs: Mapping[str, Any], rows: list[int], count: int) -> dict[str, Any]:
    """The inputs of some rows."""
    return {
        name: value[torch.tensor(rows, device=value.device)]
        if isinstance(value, Tensor) and _is_by_row(value, count)
        else value
        for name, value in inputs.items()
        if name != "labels"
    }


def _is_by_row(value: Tensor, count: int) -> bool:
    return value.ndim > 0 and len(value) == count
