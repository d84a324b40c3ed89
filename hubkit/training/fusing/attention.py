"""What a fusion attends to on the rows that it was measured on, as a file beside it.

A hub shows it as a heat map, without a base model at hand.
"""

from __future__ import annotations

import json
from typing import Any

from hubkit.adapters.fusion import Fusion
from hubkit.adapters.tree import Attachable, names_of
from hubkit.models.attach import attached_to
from hubkit.models.attention import layers_and_places, mean_attention
from hubkit.tasks.running import as_read, batches
from hubkit.training.start import Start

ATTENTION_NAME = "attention.json"
"""What the file is called in a version."""

MOST_ROWS = 32
"""Rows that the means are taken over: enough for means, and soon read."""

_DIGITS = 4


def attention_files(start: Start, composition: Attachable) -> dict[str, bytes]:
    """Return the mean weight of each part at each site, as a file by its name.

    There is none for other compositions than a fusion, nor if a decoder attends while it writes.

    Args:
        start: Its model carries the composition, which is trained.
        composition: What was trained. The file lists the weights in the order of its parts, which
            is that of the parents in the manifest; null stands where a part adds nothing.
    """
    checked, model = start.checked, start.model
    task = checked.task
    if not isinstance(composition, Fusion) or attached_to(model) is not composition:
        return {}
    if task.generates and model.config.is_encoder_decoder:
        return {}
    rows = checked.learned if checked.validation is None else checked.validation
    rows = rows.select(range(min(len(rows), MOST_ROWS)))
    encoded = start.encode(task.rows_for_metrics(rows))

    order, size = encoded.by_length(), checked.settings.batch_size
    found = batches(task, start.processor, model, encoded, order, size)
    read = as_read(task, start.processor, found)
    names = names_of(composition.parts)
    attention = mean_attention(model, composition, read)
    sites: list[dict[str, Any]] = [
        {
            "layer": layer,
            "place": place,
            "weights": [
                round(attention[site][name], _DIGITS) if name in attention[site] else None
                for name in names
            ],
        }
        for site, (layer, place) in layers_and_places(model, attention).items()
    ]
    sites.sort(key=lambda one: (one["layer"] is None, one["layer"] or 0))
    told = {"data": rows.dataset, "rows": len(rows), "sites": sites}
    return {ATTENTION_NAME: json.dumps(told, indent=1).encode()}
