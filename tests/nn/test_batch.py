from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hubkit.nn.batch import BatchNode, Copies, Entry, Rows
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.nodes import FusionNode, MixNode, MixWeights, Reading, StackNode, add
from registry.errors import CompositionError
from tests.nn.samples import Part, delta, fusion, reading
from tests.support.models import randomize

PARTS = st.builds(
    Part,
    method=st.sampled_from(["seq_bn", "double_seq_bn", "par_bn"]),
    rank=st.integers(1, 5),
    activation=st.sampled_from(["relu", "swish", "gelu", "sigmoid", "linear"]),
    scaling=st.sampled_from([1.0, 4.0, -0.7, "learned", "channel"]),
    biased=st.booleans(),
)
STACK = StackNode([delta(Part(), seed=11), delta(Part("double_seq_bn", 2), seed=12)])
FUSION = fusion([Part(rank=2), Part(rank=1, activation="tanh")], seed=13)
PARALLEL_FUSION = fusion([Part("par_bn", 2), Part("par_bn", 1)], seed=14)
MIX = MixNode([delta(Part(), seed=15), delta(Part("par_bn"), seed=16)], [0.3, -2.0])
STACK_OF_FUSION = StackNode([delta(Part(), seed=17), FUSION])
COMPOSED: tuple[nn.Module, ...] = (STACK, FUSION, PARALLEL_FUSION, MIX, STACK_OF_FUSION)


def row_by_row(nodes: dict[int, nn.Module], entries: Sequence[Entry], site: Reading) -> Tensor:
    """The output of the site, each row by itself."""
    outputs = []
    for row, entry in enumerate(entries):
        one = Reading(site.output[row : row + 1], site.entered[row : row + 1], site.norm)
        node = None if entry is None else nodes.get(entry)
        if node is None:
            outputs.append(one.output)
        else:
            to, added = add(node, one)
            outputs.append(to.output + added)
    return torch.cat(outputs)


def output(node: BatchNode, site: Reading) -> Tensor:
    to, added = node(site)
    result: Tensor = to.output + added
    return result


@settings(max_examples=50)
@given(st.data(), st.integers(1, 7), st.integers(0, 2**32))
def test_a_batch_is_a_loop_over_its_rows(data: st.DataObject, rows: int, seed: int) -> None:
    parts = data.draw(st.lists(PARTS | st.sampled_from(COMPOSED), min_size=1, max_size=5))
    nodes = {
        # Some entries have nothing at this site.
        2 * number: delta(part, seed=number) if isinstance(part, Part) else part
        for number, part in enumerate(parts)
    }
    numbers = st.none() | st.integers(0, 2 * len(parts))
    entries = data.draw(st.lists(numbers, min_size=rows, max_size=rows))
    site = reading(rows=rows, seed=seed)
    found = output(BatchNode(nodes, Rows(entries)), site)
    expected = row_by_row(nodes, entries, site)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    for row, entry in enumerate(entries):
        if entry not in nodes:
            assert torch.equal(found[row], site.output[row])


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_so_it_is_for_lora_on_a_matrix_of_any_shape_and_for_runs_of_rows(
    ranks: list[int], some: list[int | None], run: int, seed: int
) -> None:
    nodes: dict[int, nn.Module] = {
        number: delta(Part("lora", r, "linear", 8 / r, r % 2 == 0), inputs=5, seed=number)
        for number, r in enumerate(ranks)
    }
    # Neighbours with one adapter share a product; an input of a beam search has such runs.
    entries = [entry for entry in some for _ in range(run)]
    site = reading(inputs=5, rows=len(entries), seed=seed)
    found = output(BatchNode(nodes, Rows(entries)), site)
    torch.testing.assert_close(found, row_by_row(nodes, entries, site), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(4, 8), (4, 2, 3, 8)])
def test_rows_of_any_shape_are_told_apart_by_the_first_axis(shape: tuple[int, ...]) -> None:
    nodes: dict[int, nn.Module] = {n: delta(Part(rank=n + 1), seed=n) for n in range(2)}
    generator = torch.Generator().manual_seed(0)
    hidden, entered = torch.randn(2, *shape, generator=generator, dtype=torch.double)
    site, entries = Reading(hidden, entered, None), [1, None, 0, 0]
    found = output(BatchNode(nodes, Rows(entries)), site)
    assert found.shape == shape
    torch.testing.assert_close(found, row_by_row(nodes, entries, site), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_output_has_the_dtype_of_the_model(dtype: torch.dtype) -> None:
    nodes = nn.ModuleList([delta(Part(rank=2, scaling="learned")), delta(Part(scaling=3.0))])
    nodes.to(dtype)
    site, entries = reading(rows=3, dtype=dtype), [1, None, 0]
    found = output(BatchNode(dict(enumerate(nodes)), Rows(entries)), site)
    assert found.dtype == dtype
    close = 0.1 if dtype == torch.bfloat16 else 1e-5
    expected = row_by_row(dict(enumerate(nodes)), entries, site)
    torch.testing.assert_close(found, expected, rtol=close, atol=close)


def test_rows_that_use_nothing_keep_the_bits_of_the_base_model() -> None:
    node = BatchNode({0: delta(Part()), 3: STACK}, Rows([None, 1, 2, None]))
    site = reading(rows=4)
    site.output[0, 0, 0] = 1e300
    assert torch.equal(output(node, site), site.output)
    mixed = BatchNode({0: delta(Part(activation="sigmoid")), 3: STACK}, Rows([None, 0, 3, None]))
    assert torch.equal(output(mixed, site)[[0, 3]], site.output[[0, 3]])


def test_gradients_are_those_of_the_loop() -> None:
    nodes: dict[int, nn.Module] = {
        0: delta(Part(rank=2, scaling="learned"), seed=1),
        1: delta(Part(rank=4, scaling="channel"), seed=2),
        2: delta(Part("par_bn", 3, "gelu", 4.0), seed=3),
        3: StackNode([delta(Part(), seed=4), delta(Part(rank=1), seed=5)]),
        4: fusion([Part(rank=1), Part(rank=2)], seed=6),
        5: MixNode([delta(Part(), seed=7), delta(Part(rank=2), seed=8)], MixWeights(2).double()),
        6: delta(Part(rank=5), seed=9),
    }
    entries = [3, 0, None, 4, 1, 2, 5, 0, 3, None]
    batch = BatchNode(nodes, Rows(entries)).requires_grad_(True)
    site = reading(rows=len(entries))
    site.output.requires_grad_()
    site.entered.requires_grad_()
    weights = torch.randn(site.output.shape, generator=torch.Generator().manual_seed(0)).double()
    names, tensors = zip(*batch.named_parameters(), strict=True)
    wanted = [*tensors, site.output, site.entered]
    found = torch.autograd.grad((output(batch, site) * weights).sum(), wanted, allow_unused=True)
    expected = torch.autograd.grad(
        (row_by_row(nodes, entries, site) * weights).sum(), wanted, allow_unused=True
    )
    for name, one, other in zip([*names, "output", "entered"], found, expected, strict=True):
        if other is None:
            # No row asks for the last entry.
            assert name.startswith("entries.6"), name
            assert one is None, name
        else:
            assert one is not None, name
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10, msg=name)


def test_a_fusion_in_a_batch_is_computed_once_for_all_its_rows() -> None:
    layer = FusionLayer(8).double()
    randomize(layer, 3, sigma=0.5)
    node = FusionNode([delta(Part()), delta(Part(rank=1), seed=1)], layer)
    seen: list[int] = []
    node.register_forward_hook(lambda _m, inputs, _o: seen.append(len(inputs[0].output)))
    output(BatchNode({0: node, 1: STACK}, Rows([0, 1, 0, None, 0])), reading(rows=5))
    assert seen == [3]


def test_only_the_weights_that_rows_ask_for_are_gathered() -> None:
    class Untouchable(nn.Module):
        def forward(self, _reading: Any) -> Any:
            raise AssertionError("no row asks for it")

    nodes = {0: delta(Part()), **{number: Untouchable() for number in range(1, 500)}}
    site, entries = reading(rows=3), [0, None, 0]
    found = output(BatchNode(nodes, Rows(entries)), site)
    torch.testing.assert_close(found, row_by_row(nodes, entries, site), rtol=0, atol=1e-12)


def test_a_change_of_a_weight_is_seen_at_the_next_call() -> None:
    nodes: dict[int, nn.Module] = {0: delta(Part()), 1: delta(Part(rank=2), seed=1)}
    batch, site = BatchNode(nodes, Rows([0, 1])), reading()
    before = output(batch, site)
    for parameter in batch.parameters():
        parameter.data.mul_(1.5)
    after = output(batch, site)
    assert not torch.equal(after, before)
    torch.testing.assert_close(after, row_by_row(nodes, [0, 1], site), rtol=0, atol=1e-12)


def test_an_adapter_that_is_trained_in_a_batch_has_its_dropout() -> None:
    made = delta(Part()).requires_grad_(True)
    made.form = replace(made.form, dropout=0.5)
    batch, site = BatchNode({0: made}, Rows([0, 0])), reading()
    whole = batch.eval()(site)[1]
    torch.manual_seed(0)
    dropped = batch.train()(site)[1]
    assert not torch.equal(dropped, whole)
    assert bool((dropped == 0).any())
    # Frozen, it has none, whatever the mode of the model.
    made.requires_grad_(False)
    torch.testing.assert_close(batch(site)[1], whole, rtol=0, atol=1e-12)


def test_rows_are_chosen_for_a_block_and_then_forgotten() -> None:
    rows = Rows()
    with rows.chosen([1, None]):
        rows.check(2)
        assert list(rows.of(2)) == [1, None]
        with rows.chosen([0]):
            assert list(rows.of(1)) == [0]
        assert list(rows.of(2)) == [1, None]
    with pytest.raises(CompositionError, match=r"no adapters yet: run the model inside .*rows\("):
        rows.check(2)
    with pytest.raises(ZeroDivisionError), rows.chosen([1]):
        raise ZeroDivisionError
    with pytest.raises(CompositionError, match="no adapters yet"):
        rows.check(1)


def test_rows_and_adapters_that_disagree_are_an_error() -> None:
    rows = Rows([0, 1, None])
    rows.check(3)
    with pytest.raises(CompositionError, match="adapter for 3 rows, but the model was given 2"):
        rows.check(2)
    with pytest.raises(CompositionError, match="3 rows with an adapter each, but 1 go"):
        rows.of(1)
    node = BatchNode({0: delta(Part())}, rows)
    with pytest.raises(CompositionError, match="3 rows with an adapter each, but 2 go"):
        node(reading(rows=2))


def test_the_list_of_rows_is_a_copy() -> None:
    entries: list[Entry] = [0, 1]
    rows = Rows(entries)
    entries.append(None)
    assert list(rows.of(2)) == [0, 1]


@pytest.mark.parametrize(("count", "rows"), [(2, 6), (3, 3), (3, 12), (1, 4)])
def test_copies_of_the_input_go_through_one_entry_each(count: int, rows: int) -> None:
    each = rows // count
    expected = [entry for entry in range(count) for _ in range(each)]
    copies = Copies(count)
    copies.check(each)
    assert list(copies.of(rows)) == expected


def test_copies_that_are_not_whole_are_an_error() -> None:
    copies = Copies(3)
    copies.check(2)
    for rows in (2, 4, 9):
        with pytest.raises(CompositionError, match="6 rows with an adapter each"):
            copies.of(rows)
