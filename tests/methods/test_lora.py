from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubkit.methods.lora import ALL_LINEAR, LoRA
from hubkit.methods.method import DeltaShape
from hubkit.methods.sites import LinearSite
from hubkit.methods.table import new_method
from registry.errors import AdapterError
from tests.methods.hosts import host


def targets(architecture: str = "bert", **parameters: Any) -> list[str]:
    base = host(architecture)
    return [str(site) for site in new_method("lora", base, **parameters).shapes(base)]


@pytest.mark.parametrize(
    ("architecture", "ends"),
    [
        ("bert", {"query", "value"}),
        ("distilbert", {"q_lin", "v_lin"}),
        ("gpt2", {"c_attn"}),
        ("llama", {"q_proj", "v_proj"}),
        ("t5", {"q", "v"}),
        ("bart", {"q_proj", "v_proj"}),
        ("modernbert", {"Wqkv"}),
        ("mpnet", {"q", "v"}),
        ("deberta-v2", {"query_proj", "value_proj"}),
        ("vit", {"q_proj", "v_proj"}),
    ],
)
def test_by_default_the_queries_and_the_values_are_adapted(
    architecture: str, ends: set[str]
) -> None:
    base = host(architecture)
    method = new_method("lora", base)
    assert {str(site).rpartition(".")[2] for site in method.shapes(base)} == ends
    for layer in base.layers:
        assert any(str(site).startswith(f"{layer}.") for site in method.shapes(base))
    assert (method.rank, method.alpha) == (8, 8)  # type: ignore[attr-defined]


def test_deltas_have_the_sizes_of_their_matrices() -> None:
    base = host()
    shapes = new_method("lora", base, rank=3, target_modules=["dense"]).shapes(base)
    layer = "encoder.layer.1."
    assert shapes[LinearSite(f"{layer}intermediate.dense")] == DeltaShape(16, 3, 32)
    assert shapes[LinearSite(f"{layer}output.dense")] == DeltaShape(32, 3, 16)
    # GPT-2 stores its matrices transposed.
    gpt2 = host("gpt2")
    shapes = new_method("lora", gpt2, rank=3, target_modules=["c_attn", "mlp.c_proj"]).shapes(gpt2)
    assert shapes[LinearSite("h.0.attn.c_attn")] == DeltaShape(16, 3, 48)
    assert shapes[LinearSite("h.0.mlp.c_proj")] == DeltaShape(64, 3, 16)
    assert LinearSite("h.0.attn.c_proj") not in shapes


def test_targets_are_ends_of_paths_or_one_expression_for_whole_paths_or_all() -> None:
    attention = "encoder.layer.0.attention"
    assert targets(target_modules=["self.query"]) == [
        f"encoder.layer.{n}.attention.self.query" for n in range(2)
    ]
    # An end is whole words: "ery" ends no path.
    with pytest.raises(AdapterError, match=r"\('ery',\) name no linear layer of the base model"):
        targets(target_modules=["ery"])
    assert targets(target_modules=[f"{attention}.self.key"]) == [f"{attention}.self.key"]
    assert targets(target_modules=r".*\.0\..*(query|key)") == [
        f"{attention}.self.query",
        f"{attention}.self.key",
    ]
    with pytest.raises(AdapterError, match="'query' name no linear layer"):
        targets(target_modules="query")
    assert targets(target_modules=ALL_LINEAR) == [*host().linears]
    with pytest.raises(AdapterError, match=r"it has dense, key, query, value\."):
        targets(target_modules=[])


def peft_pattern(path: str, pattern: dict[str, Any], default: Any) -> Any:
    """The rule of peft: the first expression that matches the path or an end of it."""
    for expression, number in pattern.items():
        if re.match(rf"(.*\.)?({expression})$", path):
            return number
    return default


PATHS = [
    "encoder.layer.0.attention.self.query",
    "encoder.layer.1.attention.self.query",
    "encoder.layer.0.attention.self.value",
    "encoder.layer.0.output.dense",
    "encoder.layer.0.attention.output.dense",
]
EXPRESSIONS = [
    *PATHS,
    "query",
    "self.query",
    "ery",
    "dense",
    "attention.output.dense",
    r"layer\.0\..*",
    "^encoder.layer.0.output.dense",
    "query|value",
    ".*",
]


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(EXPRESSIONS), unique=True, max_size=4),
    st.sampled_from(PATHS),
)
def test_ranks_and_alphas_follow_their_patterns_as_in_peft(
    expressions: list[str], path: str
) -> None:
    ranks = {expression: number + 10 for number, expression in enumerate(expressions)}
    alphas = {expression: number + 0.5 for number, expression in enumerate(expressions)}
    method = LoRA(target_modules=["query"], rank=4, rank_pattern=ranks, alpha_pattern=alphas)
    assert method.rank_at(path) == peft_pattern(path, ranks, 4)
    assert method.alpha_at(path) == peft_pattern(path, alphas, 8)


def test_a_delta_is_scaled_by_its_own_alpha_and_rank() -> None:
    base = host()
    parameters: dict[str, Any] = {
        "rank": 4,
        "alpha": 6,
        "rank_pattern": {"value": 9},
        "alpha_pattern": {"layer.1.attention.self.value": 3},
    }
    query, value, last = (
        LinearSite(f"encoder.layer.{path}")
        for path in ("0.attention.self.query", "0.attention.self.value", "1.attention.self.value")
    )
    for rslora, root in ((False, lambda r: r), (True, math.sqrt)):
        method = new_method("lora", base, use_rslora=rslora, **parameters)
        shapes = method.shapes(base)
        assert [shapes[site].rank for site in (query, value, last)] == [4, 9, 9]
        for site, alpha, rank in ((query, 6, 4), (value, 6, 9), (last, 3, 9)):
            assert method.form(site, rank).scaling == pytest.approx(alpha / root(rank), rel=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_its_form_is_linear_and_starts_at_nothing(bias: bool) -> None:
    form = new_method("lora", host(), bias=bias, dropout=0.1).form(LinearSite("query"), 8)
    assert (form.reads, form.activation) == ("input", "linear")
    assert (form.down_bias, form.up_bias) == (False, bias)
    assert form.starts_at_zero
    assert form.dropout == 0.1
    assert not form.chained
    chained = LoRA(target_modules=["query"], chained=True)
    assert chained.form(LinearSite("query"), 8).chained
    assert chained.coupling() is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rank": 0}, "rank must be a whole number from 1 to 65536, not 0"),
        ({"rank": 2.0}, "rank must be a whole number from 1 to 65536, not 2.0"),
        ({"rank": True}, "rank must be a whole number from 1 to 65536, not True"),
        ({"rank_pattern": {"query": 0}}, "rank must be a whole number from 1 to 65536, not 0"),
        ({"rank_pattern": {"(": 4}}, r"'\(' is not a regular expression: missing \)"),
        ({"rank_pattern": {4: 4}}, "4 is not a regular expression"),
        ({"rank_pattern": ["query"]}, "rank_pattern"),
        ({"alpha": float("nan")}, "alpha must be a number that is finite, not nan"),
        ({"alpha": "8"}, "alpha must be a number that is finite, not '8'"),
        ({"alpha": 10**400}, "alpha must be a number that is finite, not 1000"),
        ({"alpha_pattern": {"query": None}}, "alpha must be a number that is finite, not None"),
        ({"alpha_pattern": {"[": 4}}, r"'\[' is not a regular expression"),
        ({"target_modules": "("}, r"'\(' is not a regular expression"),
        ({"target_modules": ["nothing"]}, r"target_modules \('nothing',\) name no linear layer of"),
        ({"target_modules": 5}, "target_modules"),
        ({"r": 4}, "The method lora has no parameter 'r'; it has rank, alpha, use_rslora, target"),
        ({"leave_out": [0, 1]}, "All 2 layers"),
        ({"chained": True}, "no parameter 'chained'"),
    ],
)
def test_a_bad_parameter_is_named_with_what_was_expected(
    parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(AdapterError, match=message):
        new_method("lora", host(), **parameters)
