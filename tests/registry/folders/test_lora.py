"""The options of a LoRA: what is read, what makes it another method, and what is refused."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
from peft.tuners.tuners_utils import check_target_module_exists

from registry.errors import FolderError
from registry.folders.lora import read_lora
from tests.support.foreign import PEFT

WHERE = Path("mine") / "adapter_config.json"
PLAIN = {"r": 4, "lora_alpha": 8, "target_modules": ["query"]}


@pytest.mark.parametrize("file", sorted(PEFT.rglob("adapter_config.json")), ids=str)
def test_options_are_read_as_peft_reads_them(file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs: Any = peft.PeftConfig.from_pretrained(str(file.parent))
    ours = read_lora(json.loads(file.read_text()), file)
    assert (ours.rank, ours.alpha, ours.dropout) == (
        theirs.r,
        theirs.lora_alpha,
        theirs.lora_dropout,
    )
    assert (ours.use_rslora, ours.bias) == (theirs.use_rslora, theirs.lora_bias)
    targets = theirs.target_modules
    assert (ours.targets if isinstance(targets, str) else set(ours.targets or ())) == targets
    assert (ours.rank_pattern, ours.alpha_pattern) == (theirs.rank_pattern, theirs.alpha_pattern)
    assert ours.variant is None


def test_patterns_end_the_path_of_a_module() -> None:
    patterns = {"rank_pattern": {"self.query": 2}, "alpha_pattern": {r"layer\.1\..*": 1.5}}
    found = read_lora(PLAIN | patterns, WHERE)
    assert found.rank_at("bert.layer.0.self.query") == 2
    assert found.rank_at("bert.layer.0.self.query_proj") == 4
    assert (found.alpha_at("layer.1.key"), found.alpha_at("layer.0.key")) == (1.5, 8)


@pytest.mark.parametrize(
    ("targets", "reached"),
    [
        (["query"], ["layer.0.query"]),
        (["layer.0.query", "key"], ["layer.0.query", "layer.0.key"]),
        (r".*\.key", ["layer.0.key"]),
        (r"key", []),
        ("all-linear", ["layer.0.query", "layer.0.key"]),
        (None, ["layer.0.query", "layer.0.key"]),
    ],
)
def test_targets_are_ends_of_paths_or_whole_ones(targets: Any, reached: list[str]) -> None:
    found = read_lora(PLAIN | {"target_modules": targets}, WHERE)
    modules = ["layer.0.query", "layer.0.key"]
    assert [module for module in modules if found.is_target(module)] == reached


@pytest.mark.parametrize(
    ("module", "reached"),
    [
        ("encoder.block.1.layer.0.SelfAttention.q", True),
        ("encoder.block.0.layer.1.SelfAttention.q", False),
        ("model.layers.1.mlp.experts.0.q", True),
        ("model.layers.0.mlp.experts.1.q", False),
        ("model.q", False),
        ("model.layers.0.own", True),
    ],
)
def test_the_number_of_a_layer_is_the_first_in_a_path(module: str, reached: bool) -> None:
    targets = {"target_modules": ["q", "model.layers.0.own"], "layers_to_transform": [1]}
    assert read_lora(PLAIN | targets, WHERE).is_target(module) == reached
    theirs = peft.LoraConfig(**targets)
    assert bool(check_target_module_exists(theirs, module)) == reached


@pytest.mark.parametrize(
    ("changes", "method", "reason"),
    [
        ({"use_dora": True}, "dora", "the option use_dora is True"),
        ({"init_lora_weights": "PiSSA"}, "pissa", "init_lora_weights is 'PiSSA', .* base model"),
        ({"bias": "lora_only"}, "lora_with_biases", "the option bias is 'lora_only'"),
        ({"target_parameters": ["w"]}, "lora_variant", "the option target_parameters is"),
    ],
)
def test_what_is_more_than_a_low_rank_update_says_why(
    changes: dict[str, Any], method: str, reason: str
) -> None:
    found = read_lora(PLAIN | changes, WHERE).variant
    assert found is not None
    assert found.method == method
    assert re.search(reason, found.reason)


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "EVA", "orthogonal"])
def test_an_initialisation_that_leaves_the_base_alone_changes_nothing(start: Any) -> None:
    assert read_lora(PLAIN | {"init_lora_weights": start}, WHERE).variant is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": None}, "r is None; expected a whole number from 1"),
        ({"layers_to_transform": [1.0]}, r"layers_to_transform is \[1\.0\]; expected numbers"),
        ({"layers_to_transform": "1"}, "layers_to_transform is '1'; expected numbers of layers"),
        ({"layers_pattern": [1]}, r"layers_pattern is \[1\]; expected names"),
        ({"exclude_modules": 3}, "exclude_modules is 3; expected names of modules"),
        ({"r": 4.5}, "r is 4.5; expected a whole number from 1"),
        ({"r": "4"}, "r is '4'; expected a whole number from 1"),
        ({"lora_alpha": None}, "lora_alpha is None; expected a number"),
        ({"lora_alpha": "x"}, "lora_alpha is 'x'; expected a number"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan; expected a number"),
        ({"lora_alpha": True}, "lora_alpha is True; expected a number"),
        ({"lora_dropout": 1.5}, "lora_dropout is 1.5; expected a number from 0 to below 1"),
        ({"lora_dropout": "x"}, "lora_dropout is 'x'"),
        ({"rank_pattern": {"query": "x"}}, "rank_pattern is {'query': 'x'}; expected whole numb"),
        ({"rank_pattern": {"query": 0}}, "rank_pattern is {'query': 0}; expected whole numbers"),
        ({"rank_pattern": ["query"]}, r"rank_pattern is \['query'\]; expected whole numbers"),
        ({"rank_pattern": {"((": 4}}, r"rank_pattern holds '\(\(', which is no regular expressi"),
        ({"alpha_pattern": {"query": "x"}}, "alpha_pattern is {'query': 'x'}; expected numbers"),
        ({"target_modules": 5}, "target_modules is 5; expected names of modules"),
        ({"target_modules": ["query", 3]}, r"target_modules is \['query', 3\]; expected names"),
        ({"target_modules": "(("}, r"target_modules holds '\(\(', which is no regular expression"),
        ({"use_rslora": "maybe"}, "use_rslora is 'maybe'; expected true or false"),
        ({"use_dora": 1}, "use_dora is 1; expected true or false"),
        ({"lora_bias": "x"}, "lora_bias is 'x'; expected true or false"),
        ({"bias": "some"}, "bias is 'some'; expected none, all or lora_only"),
    ],
)
def test_a_value_without_meaning_is_refused_by_file_and_option(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FolderError, match=rf"mine/adapter_config\.json: {message}"):
        read_lora(PLAIN | changes, WHERE)
