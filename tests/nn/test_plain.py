from __future__ import annotations

import pytest
import torch
from torch import nn

from hubkit.nn.plain import LeanModule, is_plain


class Lean(LeanModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.slim()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x


def test_a_module_is_plain_until_somebody_listens_or_replaces_what_it_computes() -> None:
    for module in (nn.Linear(2, 2), Lean()):
        assert is_plain(module)
        for register in (module.register_forward_hook, module.register_forward_pre_hook):
            handle = register(lambda *_: None)  # type: ignore[arg-type]
            assert not is_plain(module)
            handle.remove()
        assert is_plain(module)
        module.forward = lambda x: x  # type: ignore[method-assign]
        assert not is_plain(module)


def test_a_lean_module_makes_its_tables_when_they_are_used() -> None:
    module = Lean()
    assert "_forward_hooks" not in vars(module)
    assert torch.equal(module(torch.ones(2)), torch.ones(2))
    module.register_forward_hook(lambda _module, _inputs, output: 3 * output)
    assert torch.equal(module(torch.ones(2)), 3 * torch.ones(2))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = module.nonsense
