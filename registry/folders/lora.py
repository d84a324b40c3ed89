"""The configuration of a LoRA in PEFT, and whether hubkit composes it.

A LoRA of rank r adds ``alpha / r * B A`` to a linear layer. Options that make it something else,
such as DoRA, make it a method of its own, which only PEFT runs.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from registry.errors import FolderError
from registry.folders.bounded import shown
from registry.folders.configs import count_of
from registry.folders.expressions import Expressions
from registry.folders.source import Source

ALL_LINEAR = "all-linear"
PLAIN_STARTS = ("gaussian", "eva", "orthogonal")
"""The named initialisations that do not change the base model's weights."""

# Each makes another method if it is on.
_SWITCHES = (
    *("use_qalora", "use_bdlora", "layer_replication", "trainable_token_indices", "loftq_config"),
    *("target_parameters", "alora_invocation_tokens", "arrow_config", "kasa_config"),
    *("velora_config", "monteclora_config", "corda_config", "lora_ga_config"),
)

# All options that any release of PEFT has written.
_KNOWN_OPTIONS = {
    *_SWITCHES,
    *("peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path"),
    *("revision", "inference_mode", "runtime_config", "r", "lora_alpha", "lora_dropout"),
    *("use_rslora", "lora_bias", "bias", "use_dora", "init_lora_weights", "fan_in_fan_out"),
    *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform"),
    *("layers_pattern", "rank_pattern", "alpha_pattern", "megatron_config", "megatron_core"),
    *("eva_config", "qalora_group_size", "ensure_weight_tying", "enable_lora", "merge_weights"),
    "chained",  # hubkit's own
}

# How PEFT finds the number of a layer in the path of a module: the first, as experts have one, too.
_LAYER = re.compile(r".*?\.[^.]*\.(\d+)\.")

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Variant:
    """Why a LoRA is more than low-rank updates of linear layers.

    Attributes:
        method: Its name instead of ``lora``.
        reason: The option that makes it one, and its effect.
    """

    method: str
    reason: str


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """The options that change what a LoRA computes, checked.

    Attributes:
        rank: ``r``.
        alpha: ``lora_alpha``.
        use_rslora: Whether alpha is divided by the root of the rank.
        bias: Whether each ``B`` has a bias.
        dropout: Its dropout in training.
        targets: The ends of the paths of the adapted layers, or an expression for whole paths;
            None where the configuration leaves that to PEFT.
        excluded: The layers that are left out, in the same form.
        layers: The numbers of the layers that are adapted; None for all, or if the
            configuration says in its own way what the number of a layer is.
        rank_pattern: Other ranks, by an expression for the end of a path.
        alpha_pattern: Other alphas, in the same form.
        on_parameters: Whether it adapts parameters beside layers, which PEFT finds by other names;
            one of several matrices, such as those of experts, has the rank once for each.
        in_blocks: Whether its matrices are block-diagonal, and stored without zeros.
        variant: The kind of LoRA; None for a plain one.
        expressions: Matches the expressions of its file.
    """

    rank: int
    alpha: float
    use_rslora: bool
    bias: bool
    dropout: float
    targets: tuple[str, ...] | str | None
    excluded: tuple[str, ...] | str | None
    layers: frozenset[int] | None
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    on_parameters: bool
    in_blocks: bool
    variant: Variant | None
    expressions: Expressions

    def rank_at(self, module: str) -> int:
        """The rank of the layer at a path inside the trained model."""
        return self._at(module, self.rank_pattern, self.rank)

    def alpha_at(self, module: str) -> float:
        """The alpha of the layer at a path inside the trained model."""
        return self._at(module, self.alpha_pattern, self.alpha)

    def is_rank_at(self, module: str, rank: int) -> bool:
        """Whether tensors at a path may have that rank."""
        if self.on_parameters:  # whose names in patterns are not in the weights
            ranks = (self.rank, *self.rank_pattern.values())
            return rank > 0 and any(rank % expected == 0 for expected in ranks)
        return rank == self.rank_at(module)

    def is_target(self, module: str) -> bool:
        """Whether it adapts the layer at a path, as far as its configuration shows."""
        if self.on_parameters:
            return True
        if self.excluded is not None and self._names(self.excluded, module):
            return False
        if self.targets is None or self.targets == ALL_LINEAR:
            return True
        if not self._names(self.targets, module):
            return False
        if self.layers is None or isinstance(self.targets, str) or module in self.targets:
            return True  # a whole path is taken in any layer
        number = _LAYER.match(module)
        return number is not None and int(number[1]) in self.layers

    def _names(self, names: tuple[str, ...] | str, module: str) -> bool:
        if isinstance(names, str):
            return self.expressions.matches(names, module)
        return any(f".{module}".endswith(f".{name}") for name in names)

    def _at(self, module: str, pattern: Mapping[str, _Number], default: _Number) -> _Number:
        """The number of the first pattern that matches the end of the module's path, as in PEFT."""
        for expression, number in pattern.items():
            if self.expressions.matches(rf"(.*\.)?({expression})", module):
                return number
        return default


def read_lora(config: Mapping[str, Any], where: Source) -> LoraConfig:
    """Read the configuration of a LoRA.

    Args:
        config: The content of ``adapter_config.json``.
        where: The file, for messages.

    Raises:
        FolderError: An option has a value that PEFT gives no meaning.
    """
    rank = count_of(config, "r", where)
    alpha: Any = config.get("lora_alpha")
    if rank is None:
        raise _wrong(where, "r", None, "a whole number from 1")
    if not _is_number(alpha):
        raise _wrong(where, "lora_alpha", alpha, "a number")
    dropout = config.get("lora_dropout") or 0.0
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise _wrong(where, "lora_dropout", dropout, "a number from 0 to below 1")
    expressions = Expressions(where)
    return LoraConfig(
        rank=rank,
        alpha=alpha,
        use_rslora=_switch(config, "use_rslora", where),
        bias=_switch(config, "lora_bias", where),
        dropout=dropout,
        targets=_targets(config, where, expressions),
        excluded=_excluded(config, where),
        layers=_layers(config, where),
        rank_pattern=_pattern(
            config, "rank_pattern", expressions, where, "whole numbers from 1", _is_count
        ),
        alpha_pattern=_pattern(config, "alpha_pattern", expressions, where, "numbers", _is_number),
        on_parameters=bool(config.get("target_parameters")),
        in_blocks=bool(config.get("use_bdlora")),
        variant=_variant(config, where),
        expressions=expressions,
    )


def unknown_options(config: Mapping[str, Any]) -> list[str]:
    """Return the options of a LoRA that are on, and that no known release of PEFT has."""
    return [key for key, value in config.items() if key not in _KNOWN_OPTIONS and value]


def _variant(config: Mapping[str, Any], where: Source) -> Variant | None:
    if _switch(config, "use_dora", where):
        return Variant("dora", "the option use_dora is True, which scales the columns of weights")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith("pissa_niter"):
        raise FolderError(
            f"{where}: init_lora_weights is {shown(start)}, which took a part drawn at random out "
            "of the base model's weights, and the folder does not hold that part: PEFT takes out "
            "another one each time. Save the adapter as a plain LoRA, with "
            "path_initial_model_for_weight_conversion of PEFT's save_pretrained.",
            where,
        )
    if isinstance(start, str) and start.lower() not in PLAIN_STARTS:
        return Variant(
            start.lower(),
            f"the option init_lora_weights is {shown(start)}, which changes the base model's "
            "weights",
        )
    bias = config.get("bias") or "none"
    if bias not in ("none", "all", "lora_only"):
        raise _wrong(where, "bias", bias, "none, all or lora_only")
    if bias != "none":
        return Variant(
            "lora_with_biases",
            f"the option bias is {shown(bias)}, which changes the base model's biases",
        )
    for key in _SWITCHES:
        if config.get(key):
            return Variant(
                "lora_variant",
                f"the option {key} is {shown(config[key])}, which changes what is computed",
            )
    return None


def _targets(
    config: Mapping[str, Any], where: Source, expressions: Expressions
) -> tuple[str, ...] | str | None:
    targets = config.get("target_modules")
    if targets is None:
        return None
    if isinstance(targets, str):
        if targets != ALL_LINEAR:
            expressions.check(targets, "target_modules")
        return targets
    if not isinstance(targets, list) or not all(isinstance(one, str) for one in targets):
        raise _wrong(
            where, "target_modules", targets, f"names of modules, an expression or {ALL_LINEAR}"
        )
    return tuple(targets)


def _excluded(config: Mapping[str, Any], where: Source) -> tuple[str, ...] | str | None:
    given = config.get("exclude_modules")
    if isinstance(given, str | None):
        return given or None
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise _wrong(where, "exclude_modules", given, "names of modules, an expression or null")
    return tuple(given) or None


def _layers(config: Mapping[str, Any], where: Source) -> frozenset[int] | None:
    given, pattern = config.get("layers_to_transform"), config.get("layers_pattern")
    numbers = given if isinstance(given, list) else [] if given is None else [given]
    if not all(type(number) is int for number in numbers):
        raise _wrong(where, "layers_to_transform", given, "numbers of layers, or null")
    names = pattern if isinstance(pattern, list) else [pattern or ""]
    if not all(isinstance(name, str) for name in names):
        raise _wrong(where, "layers_pattern", pattern, "names of lists of layers, or null")
    return None if pattern else frozenset(numbers) or None


def _pattern(
    config: Mapping[str, Any],
    key: str,
    expressions: Expressions,
    where: Source,
    expected: str,
    is_meant: Callable[[Any], bool],
) -> dict[str, Any]:
    pattern = config.get(key) or {}
    if not isinstance(pattern, dict) or not all(map(is_meant, pattern.values())):
        raise _wrong(where, key, pattern, f"{expected} by module, such as {{'query': 4}}")
    for expression in pattern:
        expressions.check(expression, key)
    return pattern


def _switch(config: Mapping[str, Any], key: str, where: Source) -> bool:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise _wrong(where, key, value, "true or false")
    return bool(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1  # bool is a subclass of int


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number that is too large for a float
        return False


def _wrong(where: Source, key: str, value: Any, expected: str) -> FolderError:
    return FolderError(
        f"{where}: {key} is {shown(value)}; expected {expected}. Mend the file.", where
    )
