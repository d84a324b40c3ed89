"""The adapter methods that hubkit composes, by name.

Names and defaults are those of the libraries they come from. Bottlenecks, as in AdapterHub:
``seq_bn`` of Pfeiffer et al. 2021 (arXiv 2005.00247), ``double_seq_bn`` of Houlsby et al. 2019
(arXiv 1902.00751), ``par_bn`` of He et al. 2022 (arXiv 2110.04366); ``*_inv`` adds the invertible
adapter of MAD-X (Pfeiffer et al. 2020, arXiv 2005.00052). As in PEFT: ``lora`` of Hu et al. 2021
(arXiv 2106.09685).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hubkit.methods.bottleneck import ROWS, Bottleneck
from hubkit.methods.lora import LoRA
from hubkit.methods.method import Host, Method
from registry.errors import AdapterError, did_you_mean

METHODS: dict[str, type[Method]] = {**dict.fromkeys(ROWS, Bottleneck), "lora": LoRA}
"""The class of each method, by name."""


def new_method(type: str, host: Host, **parameters: Any) -> Method:
    """Make the method of a new adapter of ``host``; parameters default to the published values.

    Args:
        type: A key of :data:`METHODS`.
        host: The base model, as ``hubkit.nn.host.BaseModel`` describes it.
        parameters: Those of the method.

    Raises:
        AdapterError: The method or a parameter is unknown, or a parameter is out of range.
    """
    if type not in METHODS:
        raise AdapterError(
            f"Unknown method {type!r}; hubkit composes {', '.join(METHODS)}."
            f"{did_you_mean(type, METHODS)}"
        )
    return METHODS[type].create(type, host, **_plain(parameters))


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy and torch as those of Python, which a manifest can hold."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
