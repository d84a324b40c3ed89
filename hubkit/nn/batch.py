"""Another adapter for every row of a batch, in one forward pass.

Rows with plain deltas are computed together by batched matrix products over the weights that they
use. The weights are gathered for each call: nothing is kept, so nothing can be stale, and adapters
that no row asks for cost nothing. Other compositions run once for all the rows that use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, pad

from hubkit.nn.delta import Delta
from hubkit.nn.nodes import Reading, add, reads_of
from hubkit.nn.plain import is_plain
from hubkit.nn.threads import PerThread
from registry.errors import CompositionError

Entry = int | None
"""The number of an entry of the batch; None for the base model as it is."""


class Rows:
    """Which entry each row of the input uses; all the nodes of an attachment share one.

    What is chosen holds for the thread that chooses: others may run the model at the same time.

    Args:
        fixed: An entry for each row, or None where they are chosen for every call.

    Example:
        >>> rows = Rows()
        >>> with rows.chosen([0, None, 1]):
        ...     rows.of(3)
        [0, None, 1]
    """

    def __init__(self, fixed: Sequence[Entry] | None = None) -> None:
        self._fixed = None if fixed is None else list(fixed)
        self._chosen = PerThread()
        self._generates = PerThread()

    def chosen(self, entries: Sequence[Entry]) -> AbstractContextManager[None]:
        """Use ``entries`` inside the block."""
        return self._chosen.holding(list(entries))

    @contextmanager
    def generating(self, given: int) -> Iterator[None]:
        """Inside the block, an input may become several rows, next to each other, for its beams.

        Args:
            given: The rows of the input.

        Raises:
            CompositionError: None are chosen, or for another number of rows.
        """
        self.check(given)
        with self._generates.holding(given):
            yield

    def check(self, batch_size: int) -> None:
        """Make sure that there is an entry for each of the ``batch_size`` rows of an input.

        Raises:
            CompositionError: None are chosen, or for another number of rows.
        """
        entries = self._entries()
        if not self._fits(entries, batch_size):
            raise CompositionError(
                f"The batch names an adapter for {len(entries)} rows, but the model was given "
                f"{batch_size}. Give one for each row; in generation, all the beams of a row have "
                "the adapter of that row."
            )

    def of(self, batch_size: int) -> Sequence[Entry]:
        """The entry of each of the ``batch_size`` rows of what is read at a site.

        Raises:
            CompositionError: It has another number of rows than the input.
        """
        entries = self._entries()
        if not self._fits(entries, batch_size):
            raise _other_rows(len(entries), batch_size)
        if len(entries) == batch_size:
            return entries
        return [entry for entry in entries for _ in range(batch_size // len(entries))]

    def _entries(self) -> list[Entry]:
        if self._fixed is not None:
            return self._fixed
        if not self._chosen.items:
            raise CompositionError(
                "The rows of this batch have no adapters yet: run the model inside "
                "`with attached.rows([...]):`, with the name of an adapter, or None, for each row."
            )
        entries: list[Entry] = self._chosen.items[-1]
        return entries

    def _fits(self, entries: list[Entry], batch_size: int) -> bool:
        if len(entries) == batch_size:
            return True
        several = bool(self._generates.items and entries)
        return several and batch_size > 0 and batch_size % len(entries) == 0


class Copies(Rows):
    """Each entry once for the whole input, which is repeated: a run through several tasks.

    Args:
        count: How many entries there are.

    Example:
        >>> copies = Copies(2)
        >>> copies.check(3)  # an input of three rows, of which six are made
        >>> copies.of(6)
        [0, 0, 0, 1, 1, 1]
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    @contextmanager
    def generating(self, given: int) -> Iterator[None]:
        """Inside the block, the input is repeated already, and its rows may become several.

        Args:
            given: The rows of the repeated input.
        """
        with self._generates.holding(given):
            yield

    @property
    def is_repeated_already(self) -> bool:
        """Whether the input of this thread comes with its copies."""
        return bool(self._generates.items)

    def check(self, batch_size: int) -> None:
        """Remember the number of rows; any will do."""
        self._chosen.items[:] = [batch_size]

    def of(self, batch_size: int) -> Sequence[Entry]:
        """The first copy of the input uses the first entry, and so on."""
        if self._generates.items:
            rows = batch_size // self.count
        else:
            rows = self._chosen.items[0] if self._chosen.items else 0
        if self.count * rows != batch_size:
            raise _other_rows(self.count * rows, batch_size)
        return [row // rows for row in range(batch_size)]


def _other_rows(expected: int, found: int) -> CompositionError:
    return CompositionError(
        f"There are {expected} rows with an adapter each, but {found} go through a module that has "
        "adapters: the model computes it once for several rows, so they cannot have adapters of "
        "their own there. Run the rows of each adapter by themselves."
    )


class BatchNode(nn.Module):
    """What each row's own composition adds at a site.

    Args:
        entries: Those that add something at this site, by number.
        rows: Which of them each row uses.
    """

    def __init__(self, entries: Mapping[int, nn.Module], rows: Rows) -> None:
        super().__init__()
        self.entries = nn.ModuleList(entries.values())
        self.rows = rows
        self.reads = reads_of(self.entries[0])
        self._places = {number: place for place, number in enumerate(entries)}

    def forward(self, reading: Reading) -> tuple[Reading, Tensor]:
        """Let every row read and add what its own entry does."""
        numbers = self.rows.of(len(reading.output))
        places = [None if number is None else self._places.get(number) for number in numbers]
        groups: dict[object, list[int]] = {}
        for row, place in enumerate(places):
            if place is not None:
                groups.setdefault(self._kind(place), []).append(row)
        if not groups:
            return reading, reading.nothing()
        nodes = [None if place is None else self.entries[place] for place in places]
        if len(groups) == 1 and all(node is None or _is_alike(node) for node in nodes):
            return reading, batched(nodes, reading)  # type: ignore[arg-type]

        # Rows that use nothing make a group of their own.
        groups[None] = [row for row, node in enumerate(nodes) if node is None]
        outputs, deltas, order = [], [], []
        for members in filter(None, groups.values()):
            part = reading.at_rows(torch.tensor(members, device=reading.output.device))
            node = nodes[members[0]]
            if node is None:
                delta = part.nothing()
            elif _is_alike(node):
                delta = batched([nodes[row] for row in members], part)  # type: ignore[misc]
            else:
                part, delta = add(node, part)
            outputs.append(part.output)
            deltas.append(delta)
            order += members
        back = torch.tensor(order, device=reading.output.device).argsort()
        changed = Reading(torch.cat(outputs)[back], reading.entered, reading.norm, reading.dtype)
        return changed, torch.cat(deltas)[back]

    def _kind(self, place: int) -> object:
        """A key that is equal for rows that are computed together."""
        node = self.entries[place]
        if isinstance(node, Delta) and _is_alike(node):
            return node.form.reads, id(node.activation), node.dropping
        return place


def _is_alike(node: nn.Module) -> bool:
    """Whether ``node`` is computed together with its like."""
    return type(node) is Delta and is_plain(node)


def batched(deltas: Sequence[Delta | None], reading: Reading) -> Tensor:
    """What the deltas add, one for each row; all of one kind, or None for nothing.

    Args:
        deltas: As many as there are rows, of one activation, with one input and one dropout.
            Smaller ones are filled up with zeros, which add nothing.
        reading: The site. *Shape* of its tensors: ``(rows, ..., d)``.

    Returns:
        *Shape:* that of the output of the site.
    """
    # Neighbours with one adapter share a product.
    run = _run_length(deltas)
    deltas = deltas[::run]
    some = next(delta for delta in deltas if delta is not None)
    x, p = reading.read(some.form.reads), some.dropping
    if p and some.form.reads == "input":
        x = dropout(x, p)
    x = x.reshape(len(deltas), -1, x.shape[-1])
    rank = max(delta.shape.rank for delta in deltas if delta is not None)
    down = torch.stack([_filled(delta, some, "down", (rank, x.shape[-1])) for delta in deltas])
    a = torch.bmm(x, down.transpose(1, 2))
    if any(delta is not None and delta.down_bias is not None for delta in deltas):
        bias = torch.stack([_filled(delta, some, "down_bias", (rank,)) for delta in deltas])
        a = a + bias.unsqueeze(1)
    if some.activation is not None:
        a = some.activation(a)
    up = torch.stack([_filled(delta, some, "up", (len(some.up), rank)) for delta in deltas])
    z = torch.bmm(_scaled(a, deltas, narrow=True), up.transpose(1, 2))
    if any(delta is not None and delta.up_bias is not None for delta in deltas):
        bias = torch.stack([_filled(delta, some, "up_bias", (len(some.up),)) for delta in deltas])
        z = z + _scaled(bias.unsqueeze(1), deltas, narrow=True)
    z = _scaled(z, deltas, narrow=False).reshape(reading.output.shape)
    return dropout(z, p) if p and some.form.reads != "input" else z


def _filled(delta: Delta | None, like: Delta, name: str, shape: tuple[int, ...]) -> Tensor:
    """A weight of ``delta``, padded with zeros to ``shape``; all zeros if it has none."""
    tensor: Tensor | None = None if delta is None else getattr(delta, name)
    if tensor is None:
        return like.down.new_zeros(shape)
    if tensor.shape == shape:
        return tensor
    missing = [size - own for size, own in zip(shape, tensor.shape, strict=True)]
    return pad(tensor, [side for size in reversed(missing) for side in (0, size)])


def _scaled(x: Tensor, deltas: Sequence[Delta | None], *, narrow: bool) -> Tensor:
    """``x`` times the factor of each delta.

    Args:
        x: *Shape:* ``(len(deltas), ..., width)``.
        deltas: Whose factors.
        narrow: The constant factors, which are cheapest applied in the bottleneck; or else those
            that are learned.
    """
    scales = [1.0 if delta is None else delta.scale for delta in deltas]
    if narrow:
        constants = [1.0 if isinstance(scale, Tensor) else scale for scale in scales]
        if all(constant == constants[0] for constant in constants):
            return x if constants[0] == 1.0 else constants[0] * x
        return x * torch.tensor(constants, dtype=x.dtype, device=x.device).view(-1, 1, 1)
    if not any(isinstance(scale, Tensor) for scale in scales):
        return x
    rows = [
        scale.expand(x.shape[-1]) if isinstance(scale, Tensor) else x.new_ones(x.shape[-1])
        for scale in scales
    ]
    return x * torch.stack(rows).unsqueeze(1)


def _run_length(deltas: Sequence[Delta | None]) -> int:
    """The largest number of neighbours into which the rows can be cut, all of one delta each."""
    length, run = 0, 1
    for row in range(1, len(deltas)):
        if deltas[row] is deltas[row - 1]:
            run += 1
        else:
            length, run = gcd(length, run), 1
    return gcd(length, run)
