"""Which options of AdapterHub's methods have to be left as they are for a method to be composed.

A bottleneck with another option, such as a gate or a LayerNorm of its own, computes something else:
it is kept and listed as a method of its own, but not run.
"""

from collections.abc import Mapping
from typing import Any

PLAIN_BOTTLENECK: Mapping[str, Any] = {
    "original_ln_after": True,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "ln_before": False,
    "ln_after": False,
    "use_gating": False,
    "phm_layer": False,
    "cross_adapter": False,
}
"""The options of bottleneck adapters, with the values that all composed methods share."""

PLAIN_LORA: Mapping[str, Any] = {
    "composition_mode": "add",
    "use_dora": False,
    "use_gating": False,
}
"""The options of LoRA, likewise."""


def odd_option(settings: Mapping[str, Any], plain: Mapping[str, Any]) -> str | None:
    """Return the first option in `settings` with another value than `plain` has, None without."""
    for key, value in plain.items():
        if (settings.get(key, value) or None) != (value or None):
            return key
    return None
