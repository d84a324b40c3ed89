"""Deltas and sites in double precision in which no number is special, and what they give by hand.

A part is named by its method, its rank, its activation and its factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hubkit.methods.method import DeltaForm, DeltaShape, Reads, Scaling
from hubkit.nn.delta import Delta
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.hooks import SUBMODULE
from hubkit.nn.nodes import FusionNode, Reading
from tests.support.models import inputs_for, randomize, run, same, snapshot

READS: dict[str, Reads] = {
    "seq_bn": "norm",
    "double_seq_bn": "output",
    "par_bn": "residual",
    "lora": "input",
}


class Part(NamedTuple):
    """What one delta is."""

    method: str = "seq_bn"
    rank: int = 3
    activation: str = "relu"
    scaling: Scaling = 1.0
    biased: bool = True


def delta(part: Part, size: int = 8, *, inputs: int | None = None, seed: int = 0) -> Delta:
    """A frozen delta of `size` outputs."""
    form = DeltaForm(
        reads=READS[part.method],
        activation=part.activation,
        down_bias=part.biased,
        up_bias=part.biased,
        scaling=part.scaling,
    )
    made = Delta(DeltaShape(inputs or size, part.rank, size), form).double()
    randomize(made, seed, sigma=0.5)
    return made.requires_grad_(False).eval()


def reading(
    size: int = 8,
    *,
    inputs: int | None = None,
    rows: int = 2,
    seed: int = 0,
    dtype: torch.dtype = torch.double,
) -> Reading:
    """A site with three tokens a row, and with a norm that is not the identity."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 3, size, generator=generator, dtype=torch.double)
    entered = torch.randn(rows, 3, inputs or size, generator=generator, dtype=torch.double)
    scale = torch.randn(size, generator=generator, dtype=torch.double).to(dtype)
    return Reading(hidden.to(dtype), entered.to(dtype), lambda total: total * scale)


def by_hand(made: Delta, site: Reading) -> Tensor:
    """The published formula: s * (U act(D x + b) + c)."""
    x = {
        "norm": lambda: site.norm(site.output + site.entered) if site.norm else None,
        "output": lambda: site.output,
        "residual": lambda: site.entered,
        "input": lambda: site.entered,
    }[made.form.reads]()
    assert x is not None
    a = torch.einsum("...i,ri->...r", x, made.down)
    if made.down_bias is not None:
        a = a + made.down_bias
    z = torch.einsum("...r,or->...o", activated(a, made.form.activation), made.up)
    if made.up_bias is not None:
        z = z + made.up_bias
    return made.scale * z


def activated(a: Tensor, name: str) -> Tensor:
    """The activation of that name, written out."""
    if name == "linear":
        return a
    if name == "relu":
        return a * (a > 0)
    if name == "leakyrelu":
        return torch.where(a > 0, a, 0.01 * a)
    if name in ("swish", "silu"):
        return a / (1 + torch.exp(-a))
    if name == "tanh":
        return 1 - 2 / (torch.exp(2 * a) + 1)
    assert name == "gelu", name
    return 0.5 * a * (1 + torch.erf(a / 2**0.5))


def naive_fusion(layer: FusionLayer, x: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """The formula of the paper, token by token and adapter by adapter, and its attention."""
    rows, attentions = [], []
    for query_input, of_token in zip(
        x.reshape(-1, x.shape[-1]), deltas.reshape(-1, *deltas.shape[-2:]), strict=True
    ):
        query = layer.query.weight @ query_input + layer.query.bias
        keys = [layer.key.weight @ z + layer.key.bias for z in of_token]
        values = [z if layer.value is None else layer.value.weight @ z for z in of_token]
        scores = torch.stack([(query * key).sum() for key in keys])
        exponents = (scores - scores.max()).exp()
        attention = exponents / exponents.sum()
        rows.append(sum(p * value for p, value in zip(attention, values, strict=True)))
        attentions.append(attention)
    shape = deltas.shape
    return (
        torch.stack(rows).reshape(*shape[:-2], shape[-1]),
        torch.stack(attentions).reshape(shape[:-1]),
    )


def fusion(
    parts: Sequence[Part],
    size: int = 8,
    *,
    inputs: int | None = None,
    value: bool = True,
    seed: int = 0,
    sigma: float = 0.5,
) -> FusionNode:
    """A frozen fusion."""
    deltas = [delta(part, size, inputs=inputs) for part in parts]
    node = FusionNode(deltas, FusionLayer(size, inputs, value=value))
    randomize(node.double(), seed, sigma)
    return node.requires_grad_(False).eval()


def plain(node: FusionNode, site: Reading) -> Tensor:
    """What the node adds, with every delta written out and the fusion layer at work."""
    deltas = torch.stack([branch(site.read(branch.form.reads)) for branch in node.branches], dim=-2)
    added: Tensor = node.layer(site.read(node.reads), deltas).delta
    return added + site.entered if node.reads == "residual" else added


def is_folded(node: FusionNode) -> bool:
    """Whether the node would compute itself folded."""
    return folded(node) is not None


def folded(node: FusionNode) -> object:
    """The folded form that the node would use; None if it would not."""
    branches = list(node.branches)
    if not node.joins(branches, node.layer):
        return None
    return node.folded(branches, node.layer, node.reads)  # type: ignore[arg-type]


def untouched(model: PreTrainedModel, state: dict[str, Tensor], outputs: Tensor) -> None:
    """Make sure that a model is what it was when it had this state and these outputs."""
    assert same(snapshot(model), state)
    assert torch.equal(run(model, inputs_for(model)), outputs)
    assert not hasattr(model, SUBMODULE)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
