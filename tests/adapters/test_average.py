"""An average is the weighted sum of weights, of the shape of each part."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch

from hubkit import Adapter, Mix, Stack, average, collapse
from hubkit.bases.describe import describe
from registry.errors import ArgumentError, BaseModelMismatchError, CompositionError
from tests.support.compositions import KINDS, adapter_of_kind, copies_of, run_with
from tests.support.models import random_adapter, run, tiny_model


def pair(kind: str, **changes: Any) -> tuple[Any, Adapter, Adapter]:
    model = tiny_model()
    one = adapter_of_kind(model, kind, "one", seed=1, **changes)
    return model, one, adapter_of_kind(model, kind, "other", seed=2, **changes)


def dense(adapter: Adapter) -> dict[str, torch.Tensor]:
    return {str(s): d.scale * d.up.double() @ d.down.double() for s, d in adapter.deltas.items()}


@pytest.mark.parametrize("kind", ["seq_bn", "double_seq_bn", "learned", "channel", "ragged"])
def test_each_tensor_is_the_weighted_sum_as_in_average_adapter_of_adapters(kind: str) -> None:
    _, one, other = pair(kind)
    found = average(Mix(one, other, weights=[0.3, 0.7]), "both")
    assert (found.name, found.method, found.head) == ("both", one.method, None)
    for site, delta in found.deltas.items():
        mine, theirs = (part.deltas[site].state_dict() for part in (one, other))
        for name, tensor in delta.state_dict().items():
            torch.testing.assert_close(tensor, 0.3 * mine[name] + 0.7 * theirs[name])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("_inv")])
def test_the_average_of_copies_is_that_adapter(kind: str) -> None:
    model, one, _ = pair(kind)
    for align in (False, True):
        found = average(Mix(*copies_of(one, 3)), align=align)
        torch.testing.assert_close(run_with(model, found), run_with(model, one))
        assert {s: d.shape for s, d in found.deltas.items()} == {
            s: d.shape for s, d in one.deltas.items()
        }


def shuffled(adapter: Adapter) -> Adapter:
    """The same function, with the units of each bottleneck in another order."""
    (copy,) = copies_of(adapter, 1)
    for delta in copy.deltas.values():
        order = torch.arange(delta.shape.rank).roll(1)
        delta.down.data = delta.down.data[order]
        delta.up.data = delta.up.data[:, order]
        if delta.down_bias is not None:
            delta.down_bias.data = delta.down_bias.data[order]
    return copy


def test_alignment_undoes_another_order_of_the_units() -> None:
    model, one, _ = pair("double_seq_bn")
    other = shuffled(one)
    alone = run_with(model, one)
    torch.testing.assert_close(run_with(model, other), alone)
    torch.testing.assert_close(run_with(model, average(Mix(one, other), align=True)), alone)
    assert (run_with(model, average(Mix(one, other))) - alone).abs().max() > 1e-3


def test_the_order_is_the_nearest_of_all() -> None:
    _, one, other = pair("seq_bn", bottleneck_size=4)
    found = average(Mix(one, other, weights=[0.0, 1.0]), align=True)
    for site, delta in found.deltas.items():

        def distance(order: Any, site: Any = site) -> float:
            mine, theirs = one.deltas[site], other.deltas[site]
            return sum(
                (a - b).square().sum().item()
                for a, b in (
                    (mine.down, theirs.down[order]),
                    (mine.up, theirs.up[:, order]),
                    (mine.down_bias, theirs.down_bias[order]),  # type: ignore[index]
                )
            )

        best = min((list(order) for order in permutations(range(4))), key=distance)
        torch.testing.assert_close(delta.down, other.deltas[site].down[best])
        torch.testing.assert_close(delta.up, other.deltas[site].up[:, best])


@pytest.mark.parametrize("kind", ["lora", "rslora", "lora_bias", "all_linear"])
def test_of_lora_it_is_the_nearest_product_of_its_rank(kind: str) -> None:
    _, one, other = pair(kind)
    found = average(Mix(one, other, weights=[0.3, 0.7]))
    wanted, mine, theirs = (dense(each) for each in (found, one, other))
    for site, delta in found.deltas.items():
        u, s, v = torch.linalg.svd(0.3 * mine[str(site)] + 0.7 * theirs[str(site)])
        rank = one.deltas[site].shape.rank
        torch.testing.assert_close(
            wanted[str(site)], (u[:, :rank] * s[:rank]) @ v[:rank], rtol=0, atol=1e-6
        )
        assert (delta.shape.rank, delta.scale) == (rank, 1.0)
    for site, delta in collapse(Mix(one, other, weights=[0.3, 0.7])).deltas.items():
        if delta.up_bias is not None:
            torch.testing.assert_close(found.deltas[site].up_bias, delta.up_bias)


@pytest.mark.parametrize("kind", ["seq_bn", "ragged", "lora_bias"])
def test_it_is_saved_and_read_as_any_adapter(kind: str, tmp_path: Path) -> None:
    model, one, other = pair(kind)
    parts = [replace(part, base=describe(model)) for part in (one, other)]
    found = average(Mix(*parts), "both")
    found.save(tmp_path)
    read = Adapter.load(tmp_path, base=found.base)
    torch.testing.assert_close(run_with(model, read), run_with(model, found))
    assert (run_with(model, found) - run(model)).abs().max() > 1e-3


def refused() -> list[Any]:
    def part(kind: str, name: str = "b", **changes: Any) -> Adapter:
        return adapter_of_kind(tiny_model(), kind, name, **changes)

    return [
        pytest.param(lambda: part("double_seq_bn"), "the method is seq_bn in one", id="method"),
        pytest.param(lambda: part("lora"), "the method is seq_bn in one and lora", id="lora"),
        pytest.param(lambda: part("seq_bn", activation="tanh"), "relu in one", id="activation"),
        pytest.param(lambda: part("channel"), "the scaling is 1.0 in one", id="scaling"),
        pytest.param(lambda: part("left_out"), "is there in one and missing", id="layers"),
        pytest.param(lambda: part("seq_bn", bottleneck_size=3), "the width at", id="width"),
        pytest.param(lambda: part("seq_bn_inv"), "holds an invertible adapter", id="coupling"),
        pytest.param(
            lambda: Stack(part("seq_bn"), part("seq_bn", "c")), "Only adapters", id="stack"
        ),
    ]


@pytest.mark.parametrize(("make", "message"), refused())
def test_what_has_other_weights_is_refused(make: Any, message: str) -> None:
    one = adapter_of_kind(tiny_model(), "seq_bn", "a")
    with pytest.raises(CompositionError, match=message):
        average(Mix(one, make()))


def test_adapters_of_other_bases_are_refused() -> None:
    one, other = (random_adapter(tiny_model(name), name) for name in ("bert", "roberta"))
    with pytest.raises(BaseModelMismatchError, match="belong to different base"):
        average(Mix(one, other))
    with pytest.raises(ArgumentError, match=r"mix must be a Mix, not .*Adapter"):
        average(one)  # type: ignore[arg-type]
