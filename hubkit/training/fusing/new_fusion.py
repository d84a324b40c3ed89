"""A fusion before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from hubkit.adapters.fusion import Fusion
from hubkit.adapters.tree import Attachable
from hubkit.composition import Fuse


def new_fusion(
    model: PreTrainedModel,
    name: str,
    parts: Sequence[Attachable],
    leave_out: Sequence[int] = (),
    **options: Any,
) -> Fusion:
    """New fusion layers over ``parts``.

    Args:
        model: The base model.
        name: Its name.
        parts: The parts to fuse.
        leave_out: The numbers of layers of the base model, from 0, in which nothing is fused.
        options: Options of ``Fusion.create``.

    Raises:
        CompositionError: An option is out of range.
    """
    fusion = Fusion.create(Fuse(*parts), name, **options)
    fusion = replace(fusion, model_type=model.config.model_type)
    return fusion.leaving_out(leave_out, model) if leave_out else fusion
