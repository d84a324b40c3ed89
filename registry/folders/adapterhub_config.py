"""The configuration of an AdapterHub adapter, of any release of the library.

Releases differ: version 1 nests the invertible adapter, and its first files spell options in upper
case; files without a version call activations by older names; some hold the name of a configuration
in place of its options. Facts are those of the library ``adapters`` 1.3
(https://github.com/adapter-hub/adapters) and of adapter-transformers before it.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from registry.errors import FolderError, did_you_mean
from registry.folders.adapterhub_interface import odd_interface
from registry.folders.bounded import shown
from registry.folders.configs import count_of, text_of
from registry.folders.source import Source

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

_PLAIN_LORA: Mapping[str, Any] = {
    "composition_mode": "add",
    "use_dora": False,
    "vera_d": None,
    "vera_b": None,
    "use_gating": False,
}

_SEQUENTIAL = {
    "mh_adapter": False,
    "output_adapter": True,
    "original_ln_before": True,
    "non_linearity": "relu",
    "reduction_factor": 16,
}
_DOUBLE = {
    "mh_adapter": True,
    "output_adapter": True,
    "original_ln_before": False,
    "non_linearity": "swish",
    "reduction_factor": 16,
}
_PARALLEL = {
    "mh_adapter": False,
    "output_adapter": True,
    "original_ln_before": False,
    "is_parallel": True,
    "non_linearity": "relu",
    "reduction_factor": 2,
    "scaling": 4.0,
}
_INVERTIBLE = {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2}
_COMPACTER = {"phm_layer": True, "reduction_factor": 32, "non_linearity": "gelu"}
_LORA = {
    "architecture": "lora",
    "selfattn_lora": True,
    "r": 8,
    "alpha": 8,
    "attn_matrices": ["q", "v"],
}
_NAMED: Mapping[str, Mapping[str, Any]] = {
    "seq_bn": _SEQUENTIAL,
    "double_seq_bn": _DOUBLE,
    "par_bn": _PARALLEL,
    "scaled_par_bn": {**_PARALLEL, "scaling": "learned"},
    "seq_bn_inv": {**_SEQUENTIAL, **_INVERTIBLE},
    "double_seq_bn_inv": {**_DOUBLE, **_INVERTIBLE},
    "compacter++": {**_SEQUENTIAL, **_COMPACTER},
    "compacter": {**_DOUBLE, **_COMPACTER},
    "lora": _LORA,
    "ia3": {**_LORA, "composition_mode": "scale", "r": 1, "alpha": 1},
    "dora": {**_LORA, "use_dora": True},
    "vera": {**_LORA, "vera_d": 0.1, "vera_b": 0.0},
    "dvora": {**_LORA, "use_dora": True, "vera_d": 0.1, "vera_b": 0.0},
    "mtl_lora": {**_LORA, "architecture": "mtl_lora"},
    "prefix_tuning": {"architecture": "prefix_tuning"},
    "prefix_tuning_flat": {"architecture": "prefix_tuning", "flat": True},
    "prompt_tuning": {"architecture": "prompt_tuning"},
    **{name: {"architecture": "reft"} for name in ("loreft", "noreft", "direft")},
    **{name: {"architecture": "union"} for name in ("mam", "unipelt")},
}
_OLD_NAMES = {
    "pfeiffer": "seq_bn",
    "houlsby": "double_seq_bn",
    "parallel": "par_bn",
    "scaled_parallel": "scaled_par_bn",
    "pfeiffer+inv": "seq_bn_inv",
    "houlsby+inv": "double_seq_bn_inv",
}
# The spellings of version 1.0.
_OLD_OPTIONS = {
    "MH_Adapter": "mh_adapter",
    "Output_Adapter": "output_adapter",
    "LN_before": "ln_before",
    "LN_after": "ln_after",
}
# Of fusions, though version 1.0 wrote them for each adapter.
_OF_FUSIONS = ("attention_type", "new_attention_norm")
_OLD_ACTIVATIONS = {"gelu": "gelu_new", "gelu_orig": "gelu"}
"""Today's names of options in files without a version."""

# Options of the training, or of the start of it.
_OF_TRAINING = (
    *("dropout", "init_weights", "init_weights_seed", "stochastic_depth", "dtype"),
    *("phm_dim", "factorized_phm_W", "shared_W_phm", "shared_phm_rule", "factorized_phm_rule"),
    *("phm_c_init", "phm_init_range", "learn_phm", "hypercomplex_nonlinearity", "phm_rank"),
    "phm_bias",
)
_KNOWN_OPTIONS = {
    *PLAIN_BOTTLENECK,
    *_PLAIN_LORA,
    *_OF_TRAINING,
    *("architecture", "mh_adapter", "output_adapter", "reduction_factor", "non_linearity"),
    *("original_ln_before", "is_parallel", "scaling", "inv_adapter", "leave_out", "r", "alpha"),
    *("inv_adapter_reduction_factor", "selfattn_lora", "intermediate_lora", "output_lora"),
    "attn_matrices",
}
# The names in version 1 of the modules that later versions call adapters.
_OLD_MODULES = re.compile(r"(?<![^.])(?:attention|layer)_text_(?:task|lang)_adapters(?=\.)")
_OLD_COUPLING = re.compile(r"(?<![^.])invertible_lang_adapters(?=\.)")

# The names of the layers of queries, keys and values, in the models of the library.
_ATTENTION = {
    **dict.fromkeys(("query", "q_lin", "q_proj", "query_proj", "q"), "q"),
    **dict.fromkeys(("key", "k_lin", "k_proj", "key_proj", "k"), "k"),
    **dict.fromkeys(("value", "v_lin", "v_proj", "value_proj", "v"), "v"),
}
_MERGED = ("c_attn", "in_proj")
_LORA_PLACE = re.compile(r"(?:.+\.)?([^.]+)\.loras\.[^.]+\.lora_[AB]")
# In a model of two parts, the numbers of the decoder's layers continue those of the encoder. The
# networks of an invertible part have numbers, too.
_LAYER = re.compile(r"(?!.*\b(?:decoder|invertible_adapters)\.)[^\d]*\.(\d+)\.")

# Where a bottleneck is (mh_adapter, output_adapter), and whether it is parallel or reads the norm.
_BOTTLENECKS = {
    (False, True, False, True): "seq_bn",
    (True, True, False, False): "double_seq_bn",
    (False, True, True, False): "par_bn",
}


class Shaped(Protocol):
    """A tensor, or its entry in a header."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """A configuration, as today's library would write it.

    Attributes:
        options: The options of the method that are present.
        method: The name of the method in hubkit.
        obstacle: Why hubkit keeps such an adapter and does not attach it, as half a sentence; None
            for one that it composes.
        unknown: Options that are on, and that no known release of the library has.
    """

    options: Mapping[str, Any]
    method: str
    obstacle: str | None
    unknown: tuple[str, ...]


def read_adapter_config(
    source: Mapping[str, Any], where: Source, tensors: Mapping[str, Shaped]
) -> AdapterConfig:
    """Read an ``adapter_config.json`` of the library, and compare it with the weights.

    Args:
        source: The content of the file.
        where: The file, for messages.
        tensors: The adapter's weights, by their names in today's library.

    Raises:
        FolderError: Its ``config`` is not one that the library loads, or the weights are not what
            it describes.
    """
    given = source.get("config")
    if isinstance(given, str):
        options = _named(given, where)
    elif isinstance(given, dict) and given:
        options = _modern(given, "version" in source, where)
    else:
        raise FolderError(
            f"{where}: config is {shown(given)}; expected the name or the options of a method.",
            where,
        )
    # Version 1 names an invertible part for each adapter, and gives it to those of languages.
    is_bare = not any(".invertible_adapters." in f".{current_name(name)}" for name in tensors)
    if is_bare and text_of(source, "type", where) == "text_task":
        options["inv_adapter"] = options["inv_adapter_reduction_factor"] = None
    method, obstacle = _method(options, where)
    if obstacle is None:
        layers = (int(found[1]) for name in tensors if (found := _LAYER.match(name)))
        model_type = text_of(source, "model_type", where)
        obstacle = odd_interface(where.parent, model_type, options, layers)
        if obstacle is not None:
            method = "lora_variant" if method == "lora" else "bottleneck"
    if obstacle is None:
        _require_meaning(options, where)
        _require_places(options, tensors, where)
        _require_sizes(options, count_of(source, "hidden_size", where), tensors, where)
    # hubkit computes no other method.
    known = _KNOWN_OPTIONS if options.get("architecture") in (None, "lora") else options.keys()
    unknown = tuple(key for key, value in options.items() if key not in known and value)
    return AdapterConfig(options, method, obstacle, unknown)


def current_name(tensor: str) -> str:
    """Return the name in today's library of a tensor that any release wrote."""
    return _OLD_COUPLING.sub("invertible_adapters", _OLD_MODULES.sub("adapters", tensor))


def odd_option(settings: Mapping[str, Any], plain: Mapping[str, Any]) -> str | None:
    """Return the first option whose value differs from that in `plain`; None if there is none."""
    for key, value in plain.items():
        # An absent option has its default; false, 0 and null are the same. VeRA starts at 0.0.
        found = settings.get(key, value)
        if found != value if value is None else (found or None) != (value or None):
            return key
    return None


def _named(name: str, where: Source) -> dict[str, Any]:
    if "|" in name:
        return {"architecture": "union"}
    options = _NAMED.get(_OLD_NAMES.get(name, name))
    if options is None:
        known = sorted({*_NAMED, *_OLD_NAMES})
        raise FolderError(
            f"{where}: config is {shown(name)}; expected options, or the name of a configuration: "
            f"{', '.join(known)}.{did_you_mean(name, known)}",
            where,
        )
    # The weights of an adapter show its width.
    return {key: value for key, value in options.items() if key != "reduction_factor"}


def _modern(given: Mapping[str, Any], has_version: bool, where: Source) -> dict[str, Any]:
    options = {
        _OLD_OPTIONS.get(key, key): value for key, value in given.items() if key not in _OF_FUSIONS
    }
    nested = options.pop("invertible_adapter", None)
    if nested is not None and not isinstance(nested, dict):
        raise FolderError(
            f"{where}: invertible_adapter is {shown(nested)}; expected options or null.", where
        )
    if nested:
        options["inv_adapter"] = nested.get("block_type")
        options["inv_adapter_reduction_factor"] = nested.get("reduction_factor")
    if not options.get("inv_adapter"):
        options["inv_adapter"] = None  # The library asks only whether it is on.
    if options.get("architecture") == "lora":
        options = {**_LORA, **options}
    activation = options.get("non_linearity")
    if not has_version and isinstance(activation, str):
        options["non_linearity"] = _OLD_ACTIVATIONS.get(activation, activation)
    return options


def _method(options: Mapping[str, Any], where: Source) -> tuple[str, str | None]:
    """Return the name of a method, and why it is not composed."""
    architecture = text_of(options, "architecture", where)
    if architecture == "lora":
        return _lora(options)
    if architecture is not None:
        return architecture, f"its method is {architecture}"
    inverse = "_inv" if options.get("inv_adapter") else ""
    if odd := odd_option(_that_count(options), PLAIN_BOTTLENECK):
        name = "compacter" if odd == "phm_layer" else f"bottleneck{inverse}"
        return name, _changes(odd, options)
    if options.get("inv_adapter") not in (None, "nice"):
        return f"bottleneck{inverse}", _changes("inv_adapter", options)
    is_parallel = bool(options.get("is_parallel"))
    places = (
        bool(options.get("mh_adapter")),
        bool(options.get("output_adapter")),
        is_parallel,
        bool(options.get("original_ln_before")) and not is_parallel,
    )
    if inverse and is_parallel:
        return f"bottleneck{inverse}", "is_parallel and inv_adapter are on together"
    if places in _BOTTLENECKS:
        return f"{_BOTTLENECKS[places]}{inverse}", None
    if odd := odd_option(options, PLAIN_BOTTLENECK):
        return f"bottleneck{inverse}", _changes(odd, options)
    keys = ("mh_adapter", "output_adapter", "is_parallel", "original_ln_before")
    said = ", ".join(f"{key} {place}" for key, place in zip(keys, places, strict=True))
    return f"bottleneck{inverse}", f"its adapters are at no place that hubkit knows ({said})"


def _that_count(options: Mapping[str, Any]) -> dict[str, Any]:
    """Remove options that the library reads only if another one is on."""
    counting = dict(options)
    if not options.get("original_ln_before") or options.get("is_parallel"):
        counting.pop("residual_before_ln", None)
    if not options.get("ln_after"):
        counting.pop("adapter_residual_before_ln", None)
    return counting


def _lora(options: Mapping[str, Any]) -> tuple[str, str | None]:
    odd = odd_option(options, _PLAIN_LORA)
    if odd is None:
        return "lora", None
    names = {"use_dora": "dora", "vera_d": "vera", "vera_b": "vera"}
    return names.get(odd, "lora_variant"), _changes(odd, options)


def _changes(key: str, options: Mapping[str, Any]) -> str:
    return f"the option {key} is {shown(options.get(key))}, which changes what is computed"


def fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape has the expected sizes; None stands for any."""
    return len(shape) == len(expected) and all(
        size is None or found == size for found, size in zip(shape, expected, strict=True)
    )


def _require_meaning(options: Mapping[str, Any], where: Source) -> None:
    """Check that the library could build an adapter with these options."""
    left_out = options.get("leave_out", [])
    if left_out is not None and (
        not isinstance(left_out, list) or not all(type(number) is int for number in left_out)
    ):
        raise FolderError(
            f"{where}: leave_out is {shown(left_out)}; expected the numbers of layers, from 0, in "
            "a list. Mend the file.",
            where,
        )
    if options.get("architecture") == "lora":
        return
    activation = options.get("non_linearity")
    if not isinstance(activation, str):
        raise FolderError(
            f"{where}: non_linearity is {shown(activation)}; expected the name of a function, such "
            "as relu. Without one, nothing says what the adapter computes. Mend the file.",
            where,
        )
    if options.get("inv_adapter"):
        _factors(options, "inv_adapter_reduction_factor", where)


def _require_places(options: Mapping[str, Any], tensors: Iterable[str], where: Source) -> None:
    """Check that all weights are at places of these options: the library drops others."""
    left_out = options.get("leave_out") or []
    for name in tensors:
        layer = _LAYER.match(name)
        found = _LORA_PLACE.fullmatch(name)
        option = _off_at(found[1], options) if found else None
        if layer and int(layer[1]) in left_out:
            option = "leave_out"
        if option is not None:
            raise FolderError(
                f"{where}: {option} is {shown(options.get(option))}, so that AdapterHub has no "
                f"adapter at {shown(name)}, which the weights hold. Copy both files from one "
                "adapter.",
                name,
            )


def _off_at(layer: str, options: Mapping[str, Any]) -> str | None:
    """Return the option that excludes a linear layer of this name from a LoRA; None if none."""
    part = _ATTENTION.get(layer)
    if part is None and layer not in _MERGED:
        is_on = options.get("intermediate_lora") or options.get("output_lora")
        return None if is_on else "intermediate_lora"
    if not options.get("selfattn_lora"):
        return "selfattn_lora"
    return "attn_matrices" if part and part not in (options.get("attn_matrices") or ()) else None


def _require_sizes(
    options: Mapping[str, Any],
    hidden_size: int | None,
    tensors: Mapping[str, Shaped],
    where: Source,
) -> None:
    """Compare the shapes of all adapted layers with the sizes in the configuration."""
    rank, sizes = options.get("r"), _bottleneck_sizes(options, hidden_size, where)
    between = None
    if options.get("inv_adapter"):
        between = _factors(options, "inv_adapter_reduction_factor", where)[0]
    for name, tensor in tensors.items():
        shape, expected = tuple(tensor.shape), None
        if name.endswith(".adapter_down.0.weight"):
            expected = (_nearest(shape[:1], sizes), hidden_size)
        elif name.endswith(".adapter_up.weight"):
            expected = (hidden_size, _nearest(shape[1:], sizes))
        elif name.endswith((".F.0.weight", ".G.0.weight")) and between and len(shape) == 2:
            expected = (max(1, int(shape[1] // between)), None)
        elif name.endswith(".lora_A") and isinstance(rank, int) and not _is_merged(shape, rank):
            expected = (rank, None)
        elif name.endswith(".lora_B") and isinstance(rank, int):
            expected = (None, rank)
        if expected is not None and not fits(shape, expected):
            raise FolderError(
                f"{where.parent}: {name} has the shape {list(shape)}, but {where.name} says "
                f"{[one if one else 'any' for one in expected]}. Weights and configuration are not "
                "of the same adapter; copy both again.",
                name,
            )


def _bottleneck_sizes(
    options: Mapping[str, Any], hidden_size: int | None, where: Source
) -> list[int] | None:
    """Return the bottleneck sizes that the layers may have; None if they are not known."""
    if options.get("reduction_factor") is None:
        return None
    factors = _factors(options, "reduction_factor", where)
    # The library has no bottleneck of width 0.
    return [max(1, int(hidden_size // one)) for one in factors] if hidden_size else None


def _factors(options: Mapping[str, Any], key: str, where: Source) -> list[float]:
    """Return the ratios of two widths in an option, which may have one for each layer."""
    given = options.get(key)
    by_layer = key == "reduction_factor"
    factors: list[Any] = [given]
    if by_layer and isinstance(given, dict):
        factors = list(given.values())
    if not factors or not all(type(one) in (int, float) and 0 < one < math.inf for one in factors):
        expected = "a number above 0" + (", or one for each layer" if by_layer else "")
        raise FolderError(
            f"{where}: {key} is {shown(given)}; expected {expected}. Mend the file.", where
        )
    return factors


def _nearest(found: tuple[int, ...], sizes: list[int] | None) -> int | None:
    if not sizes:
        return None
    return found[0] if found and found[0] in sizes else sizes[0]


def _is_merged(shape: tuple[int, ...], rank: int) -> bool:
    """Whether one matrix joins those of query, key and value, as in GPT-2, or two of them."""
    return len(shape) == 2 and rank > 0 and shape[0] in (2 * rank, 3 * rank)
