"""When a module may be computed from its weights, and modules that are little but weights.

Joining or folding modules does not call them. That is right only if a module's class alone says
what it computes, and no hook listens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def is_plain(module: nn.Module) -> bool:
    """Whether ``module`` computes what its class says, and no hook listens to it."""
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


_TABLES: dict[str, Callable[[], Any]] = {
    name: type(table)
    for name, table in vars(nn.Module()).items()
    if name.endswith("_hooks") or name == "_non_persistent_buffers_set"
}
"""The attributes of a module for its hooks, and their types."""


class LeanModule(nn.Module):
    """A module that makes the tables for its hooks when they are first used.

    They weigh as much as a small delta. Without them, thousands of adapters cost little but their
    weights. A subclass calls :meth:`slim` at the end of its ``__init__``.
    """

    def slim(self) -> None:
        """Let go of the tables, which are empty."""
        for table in _TABLES:
            vars(self).pop(table, None)

    def __getattr__(self, name: str) -> Any:
        if name in _TABLES:
            return vars(self).setdefault(name, _TABLES[name]())
        return super().__getattr__(name)
