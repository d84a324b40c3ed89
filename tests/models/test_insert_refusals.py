from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hubkit import insert_adapter
from registry.errors import AdapterError, InvalidNameError
from tests.support.models import tiny_classifier
from tests.support.untouched import untouched


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a b", "two words", "a/b", "team/a@3", "a@1", "\u00e9", "-a", "_a", "a" * 97),
        *(".", "..", "a..b", "a.", "a\n", "a\0", "../a"),
    ],
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    model = tiny_classifier()
    with untouched(model), pytest.raises(InvalidNameError):
        insert_adapter(model, name)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"bottleneck_size": 0}, ("bottleneck_size", "whole number from 1 to 65536, not 0")),
        ({"bottleneck_size": -3}, ("bottleneck_size", "whole number from 1 to 65536, not -3")),
        ({"bottleneck_size": 8.5}, ("bottleneck_size", "whole number from 1 to 65536, not 8.5")),
        ({"bottleneck_size": 10**11}, ("bottleneck_size", "whole number from 1 to 65536")),
        ({"bottleneck_size": True}, ("bottleneck_size", "whole number from 1 to 65536")),
        ({"bottleneck_size": "8"}, ("bottleneck_size", "'8'")),
        ({"bottleneck_size": [2]}, ("1 numbers", "2 layers")),
        ({"bottleneck_size": {2: 4}}, ("the layer 2", "from 0 to 1")),
        ({"bottlenek_size": 3}, ("'bottlenek_size'", "Did you mean bottleneck_size?")),
        ({"bottleneck_size": 2, "reduction_factor": 2}, ("not both",)),
        ({"reduction_factor": 0}, ("reduction_factor", "not 0")),
        ({"reduction_factor": float("nan")}, ("reduction_factor", "nan")),
        ({"reduction_factor": {7: 2}}, ("the layer 7", "from 0 to 1")),
        ({"dropout": 1.0}, ("dropout", "from 0 to below 1", "1.0")),
        ({"dropout": -0.1}, ("dropout", "-0.1")),
        ({"activation": "wavy"}, ("Unknown activation 'wavy'", "relu")),
        ({"activation": 3}, ("activation", "3")),
        ({"scaling": "wild"}, ("'learned' or 'channel', not 'wild'",)),
        ({"scaling": float("inf")}, ("scaling", "inf")),
        ({"leave_out": (5,)}, ("leave_out", "Layer 5", "2 layers")),
        ({"leave_out": "01"}, ("leave_out", "'01'")),
        ({"leave_out": (-1,)}, ("leave_out", "-1")),
        ({"leave_out": (0, 1)}, ("leave_out",)),
        ({"method": "lore"}, ("Unknown method 'lore'", "Did you mean lora?")),
        ({"method": "seq_bn_inv", "coupling_factor": 0}, ("coupling_factor", "0")),
        ({"method": "lora", "rank": 0}, ("rank", "whole number from 1", "not 0")),
        ({"method": "lora", "rank": 2.5}, ("rank", "2.5")),
        ({"method": "lora", "alpha": float("nan")}, ("alpha", "nan")),
        ({"method": "lora", "bottleneck_size": 4}, ("no parameter 'bottleneck_size'", "rank")),
        ({"method": "lora", "target_modules": ["quary"]}, ("('quary',)", "query")),
        ({"method": "lora", "target_modules": []}, ("target_modules", "query")),
        ({"method": "lora", "target_modules": "("}, ("'('", "regular expression")),
        ({"method": "lora", "target_modules": 5}, ("target_modules", "5")),
        ({"method": "lora", "target_modules": [3]}, ("target_modules", "3")),
        ({"method": "lora", "rank_pattern": {"(": 2}}, ("'('", "regular expression")),
        ({"method": "lora", "rank_pattern": {"query": 0}}, ("rank", "0")),
        ({"method": "lora", "rank_pattern": []}, ("rank_pattern",)),
        ({"method": "lora", "leave_out": (0, 1)}, ("All 2 layers",)),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(
    parameters: Mapping[str, Any], words: tuple[str, ...]
) -> None:
    model = tiny_classifier()
    with untouched(model), pytest.raises(AdapterError) as caught:
        insert_adapter(model, "mine", **parameters)
    for word in words:
        assert word in str(caught.value)
