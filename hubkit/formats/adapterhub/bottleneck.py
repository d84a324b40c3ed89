"""A bottleneck method, from and to the configuration of an AdapterHub adapter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

from hubkit.methods.bottleneck import ROWS, Bottleneck
from hubkit.methods.method import Scaling
from hubkit.nn.delta import ACTIVATIONS
from registry.errors import AdapterError, did_you_mean
from registry.folders.adapterhub_config import PLAIN_BOTTLENECK, AdapterConfig, odd_option
from registry.folders.kinds import ADAPTER
from registry.storage.place import Place

# The library's defaults for what a configuration leaves out.
DEFAULTS: dict[str, Any] = {
    **PLAIN_BOTTLENECK,
    "original_ln_before": False,
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "leave_out": [],
    "is_parallel": False,
    "scaling": 1.0,
    "dropout": 0.0,
}


def bottleneck(config: AdapterConfig, sizes: Mapping[str, int], folder: Place) -> Bottleneck:
    """The method that a configuration describes.

    Args:
        config: What it says; hubkit composes the method.
        sizes: The bottleneck size of each layer, by module path, as the tensors have it.
        folder: Where it was found, for messages.

    Raises:
        AdapterError: An option has a value that hubkit does not compute.
    """
    given = {**DEFAULTS, **config.options}
    activation = _activation(given.get("non_linearity"))
    if activation not in ACTIVATIONS:
        raise AdapterError(
            f"{folder / ADAPTER.config}: non_linearity is {given.get('non_linearity')!r}; hubkit "
            f"computes {', '.join(sorted(ACTIVATIONS))}.{did_you_mean(activation, ACTIVATIONS)}"
        )
    with said_in(folder / ADAPTER.config):
        return Bottleneck(
            type=config.method,
            bottleneck_size=1,
            activation=activation,
            scaling=_scaling(given["scaling"]),
            dropout=given["dropout"] or 0.0,
            leave_out=left_out(given),
            coupling_factor=given["inv_adapter_reduction_factor"] if given["inv_adapter"] else 2,
        ).with_sizes(sizes)


def left_out(options: Mapping[str, Any]) -> tuple[int, ...]:
    """The numbers of the layers without deltas.

    The library compares them with those of its layers, so that one below 0 leaves out none.
    """
    return tuple(number for number in options.get("leave_out") or () if number >= 0)


def _activation(given: Any) -> str:
    return str(given).lower()


def bottleneck_config(method: Bottleneck, hidden_size: int, layers: list[str]) -> dict[str, Any]:
    """The library's configuration of ``method``.

    Args:
        method: The method.
        hidden_size: The width ``d`` of the base model.
        layers: The layers that carry it, from the first to the last.
    """
    row = ROWS[method.type]
    return {
        **DEFAULTS,
        "dropout": method.dropout,
        "init_weights": "bert",
        "inv_adapter": "nice" if row.invertible else None,
        "inv_adapter_reduction_factor": method.coupling_factor if row.invertible else None,
        "is_parallel": row.reads == "residual",
        "leave_out": list(method.leave_out),
        "mh_adapter": "attention" in row.places,
        "non_linearity": method.activation,
        "original_ln_before": row.reads == "norm",
        "output_adapter": "feed_forward" in row.places,
        "reduction_factor": _reduction_factors(method, hidden_size, layers),
        # The library refuses an integer here.
        "scaling": method.scaling if isinstance(method.scaling, str) else float(method.scaling),
    }


def reduction_factor(hidden_size: int, bottleneck_size: int) -> float:
    """The ``x`` for which the library's ``int(hidden_size // x)`` is ``bottleneck_size``."""
    factor = hidden_size / bottleneck_size
    if int(hidden_size // factor) != bottleneck_size:
        factor = math.nextafter(factor, 0.0)
    return factor


@contextmanager
def said_in(file: Place) -> Iterator[None]:
    """Name a configuration file in errors of the block.

    Raises:
        AdapterError: The error of the block, with the file before its message.
    """
    try:
        yield
    except AdapterError as error:
        raise AdapterError(f"{file}: {error}", error.subject) from error


def refuse_others(config: Mapping[str, Any], computed: Mapping[str, Any], folder: Place) -> None:
    """Refuse a configuration with another value than ``computed`` has.

    Raises:
        AdapterError: Names the option, what it is and what hubkit computes.
    """
    if key := odd_option(config, computed):
        raise AdapterError(
            f"{folder}: the option {key} is {config[key]!r}, which changes what is computed; "
            f"hubkit computes {key} = {computed[key]!r} only."
        )


def _reduction_factors(method: Bottleneck, hidden_size: int, layers: list[str]) -> Any:
    sizes = method.bottleneck_size
    if isinstance(sizes, int):
        return reduction_factor(hidden_size, sizes)
    kept = (number for number in count() if number not in method.leave_out)
    factors: dict[str, float] = {
        str(number): reduction_factor(hidden_size, sizes[layer])
        for number, layer in zip(kept, layers, strict=False)
    }
    # The library wants one for all other layers.
    return {**factors, "default": ROWS[method.type].reduction_factor}


def _scaling(value: Any) -> Scaling:
    if value in ("learned", "channel"):
        return value  # type: ignore[no-any-return]
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise AdapterError(f"scaling is {value!r}; expected a number, 'learned' or 'channel'.")
    return float(value)
