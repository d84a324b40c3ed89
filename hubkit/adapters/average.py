"""Adapters averaged into one of their own shape, weight by weight (MerA, He et al. 2023)."""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from hubkit.adapters.adapter import Adapter, frozen
from hubkit.adapters.mix import collapse, fixed_weights
from hubkit.adapters.tree import Tree
from hubkit.composition import Mix
from hubkit.methods.bottleneck import Bottleneck
from hubkit.methods.lora import LoRA
from hubkit.methods.method import DeltaShape
from hubkit.methods.sites import Site
from hubkit.nn.delta import Delta
from registry.arguments import checked
from registry.errors import CompositionError


@checked
def average(mix: Mix, name: str = "average", *, align: bool = False) -> Adapter:
    """One adapter of the shape of each part, whose weights are the weighted sum of theirs.

    It costs what one adapter costs, and is not the same function as ``mix``: a bottleneck is not
    linear in its weights. ``collapse`` gives that function exactly, in a wider adapter.

    The units of a bottleneck have no order, so the unit ``i`` of one adapter need not do what the
    unit ``i`` of another does. With ``align``, the units of each part are first put into the order
    in which their weights lie nearest to those of the first part. This is optimal transport on
    weights (MerA, arXiv 2308.15982): between as many units of equal mass, the optimal plan is an
    assignment, which is found exactly.

    LoRA is linear in ``U D``, so what is averaged is that product: the result is the nearest one of
    the rank of the first part (by the singular values; Eckart and Young 1936), and needs no
    alignment.

    Args:
        mix: Adapters with a weight each; without weights, all count the same.
        name: The name of the adapter.
        align: Whether to order the units first.

    Raises:
        CompositionError: A part is not an adapter, or is invertible; or they differ in method,
            activation, scaling, layers or width.
        BaseModelMismatchError: The parts belong to different base models.

    Example:
        >>> one = average(Mix(film, book), align=True)
        >>> one.deltas.keys() == film.deltas.keys()
        True
    """
    Tree.of_one_base(mix)
    parts = [part for part in mix.parts if isinstance(part, Adapter)]
    if len(parts) < len(mix.parts):
        raise CompositionError(f"Only adapters are averaged; {mix} holds other compositions.")
    first = parts[0]
    for part in parts:
        if part.coupling is not None:
            raise CompositionError(
                f"{part} holds an invertible adapter, which is not averaged: its halves act on "
                "each other."
            )
        _check_alike(first, part)
    weights = fixed_weights(mix)
    if isinstance(first.method, LoRA):
        return _nearest(first, collapse(Mix(*parts, weights=weights.tolist())), name)
    return replace(
        first,
        name=name,
        deltas={
            site: _averaged(site, [part.deltas[site] for part in parts], weights, align)
            for site in first.deltas
        },
        base=next((part.base for part in parts if part.base is not None), None),
        model_type=next((p.model_type for p in parts if p.model_type is not None), None),
        head=None,
    )


def _check_alike(first: Adapter, other: Adapter) -> None:
    """Make sure that two adapters have the same weights to add up, by name, place and size."""
    one, two = first.method, other.method
    facts = [("the method", str(one.type), str(two.type))]
    if isinstance(one, Bottleneck) and isinstance(two, Bottleneck):
        facts += [
            ("the activation", one.activation, two.activation),
            ("the scaling", str(one.scaling), str(two.scaling)),
        ]
    sites = [{*map(str, each.deltas)} for each in (first, other)]
    if odd := sorted(sites[0] ^ sites[1]):
        has = ["there" if odd[0] in own else "missing" for own in sites]
        facts.append((f"the delta at {odd[0]}", has[0], has[1]))
    elif not isinstance(one, LoRA):
        facts += [
            (f"the width at {site}", str(delta.shape.rank), str(other.deltas[site].shape.rank))
            for site, delta in first.deltas.items()
        ]
    for fact, mine, theirs in facts:
        if mine != theirs:
            raise CompositionError(
                f"{first} and {other} do not average to one adapter: {fact} is {mine} in one and "
                f"{theirs} in the other. Publish a mix of them, which needs no such likeness."
            )


def _averaged(site: Site, deltas: list[Delta], weights: Tensor, align: bool) -> Delta:
    first = deltas[0]
    tensors = [{name: t.double() for name, t in delta.state_dict().items()} for delta in deltas]
    if align:
        tensors = [tensors[0], *(_ordered(other, tensors[0]) for other in tensors[1:])]
    summed = {
        name: sum(
            (weight * each[name] for weight, each in zip(weights, tensors, strict=True)),
            torch.zeros_like(tensor),
        ).to(getattr(first, name).dtype)
        for name, tensor in tensors[0].items()
    }
    return frozen(f"The average at {site}", lambda: Delta(first.shape, first.form), summed)


def _ordered(delta: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same delta, its units in the order in which they lie nearest to those of ``like``."""
    # Of all pairs of units, the sum of their inner products is greatest where the sum of their
    # squared distances is least.
    alike = _units(like) @ _units(delta).T
    _, order = linear_sum_assignment(alike.numpy(force=True), maximize=True)
    chosen = torch.as_tensor(order, device=alike.device)
    moved = {"down": delta["down"][chosen], "up": delta["up"][:, chosen]}
    if "down_bias" in delta:
        moved["down_bias"] = delta["down_bias"][chosen]
    return {**delta, **moved}


def _units(delta: dict[str, Tensor]) -> Tensor:
    """All weights of each unit of a bottleneck. *Shape:* ``(r, d_in + 1 + d_out)``."""
    down, up = delta["down"], delta["up"]
    bias = delta.get("down_bias", down.new_zeros(len(down)))
    return torch.cat([down, bias.unsqueeze(1), up.T], dim=1)


def _nearest(first: Adapter, wide: Adapter, name: str) -> Adapter:
    """The LoRA nearest to ``wide`` that has the ranks of ``first``."""
    ranks = {str(site): delta.shape.rank for site, delta in first.deltas.items()}
    rank = max(ranks.values())
    others = {path: own for path, own in ranks.items() if own != rank}
    assert isinstance(wide.method, LoRA)
    # The factor alpha / rank is one.
    method = replace(wide.method, rank=rank, alpha=rank, rank_pattern=others, alpha_pattern=others)
    deltas = {
        site: _narrowed(site, delta, method, ranks[str(site)])
        for site, delta in wide.deltas.items()
    }
    return replace(wide, name=name, method=method, deltas=deltas)


def _narrowed(site: Site, delta: Delta, method: LoRA, rank: int) -> Delta:
    down, up = _factors(delta, rank)
    shape, form = DeltaShape(delta.shape.inputs, rank, delta.shape.outputs), method.form(site, rank)
    tensors = {**delta.state_dict(), "down": down, "up": up}
    return frozen(f"The average at {site}", lambda: Delta(shape, form), tensors)


def _factors(delta: Delta, rank: int) -> tuple[Tensor, Tensor]:
    """The ``D`` and ``U`` of that rank with the product nearest to that of ``delta``."""
    up, down = delta.up.detach().double(), delta.down.detach().double()
    left, inner_left = torch.linalg.qr(up)
    right, inner_right = torch.linalg.qr(down.T)
    u, values, v = torch.linalg.svd(inner_left @ inner_right.T)
    roots = values[:rank].sqrt()
    new_up = left @ u[:, :rank] * roots
    new_down = (right @ v[:rank].T * roots).T
    return new_down.to(delta.down.dtype).contiguous(), new_up.to(delta.up.dtype).contiguous()
