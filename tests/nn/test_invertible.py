from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForMaskedLM

from hubkit.methods.method import CouplingForm
from hubkit.nn import layout
from hubkit.nn.batch import Copies, Rows
from hubkit.nn.hooks import EMBEDDINGS, Attachment
from hubkit.nn.invertible import Coupling, CouplingNode
from registry.errors import AdapterError, CompositionError, UnsupportedModelError
from tests.nn.samples import activated, untouched
from tests.support.models import (
    inputs_for,
    random_adapter,
    randomize,
    run,
    snapshot,
    tiny_inputs,
    tiny_model,
)


def coupling(
    width: int = 8, activation: str = "relu", factor: float = 2, seed: int = 0
) -> Coupling:
    made = Coupling(width, CouplingForm(activation, factor)).double()
    randomize(made, seed, sigma=0.5)
    return made


def embedded(width: int = 8, rows: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 3, width, generator=generator, dtype=torch.double)


@settings(max_examples=30)
@given(
    st.integers(2, 12),
    st.sampled_from(["relu", "swish", "gelu", "linear"]),
    st.sampled_from([1, 2, 3.5, 100]),
    st.integers(0, 2**32),
)
def test_the_inverse_undoes_the_map(width: int, activation: str, factor: float, seed: int) -> None:
    made, x = coupling(width, activation, factor, seed), embedded(width, seed=seed)
    y = made(x)
    assert (y - x).abs().max().item() > 1e-3
    torch.testing.assert_close(made.inverse(y), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(made(made.inverse(x)), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "swish", "linear"])
def test_the_map_is_the_nice_coupling(activation: str) -> None:
    made, x = coupling(8, activation), embedded()

    def network(layers: torch.nn.ModuleList, x: Tensor) -> Tensor:
        inner = activated(x @ layers[0].weight.T + layers[0].bias, activation)
        result: Tensor = inner @ layers[1].weight.T + layers[1].bias
        return result

    x1, x2 = x[..., :4], x[..., 4:]
    y1 = x1 + network(made.F, x2)
    expected = torch.cat([y1, x2 + network(made.G, y1)], dim=-1)
    torch.testing.assert_close(made(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("width", "factor", "between"), [(16, 2, 4), (16, 3, 2), (16, 100, 1)])
def test_its_bottleneck_is_half_the_width_over_the_factor(
    width: int, factor: float, between: int
) -> None:
    made = Coupling(width, CouplingForm("relu", factor))
    shapes = {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}
    half = width // 2
    one = {
        "0.weight": (between, half),
        "0.bias": (between,),
        "1.weight": (half, between),
        "1.bias": (half,),
    }
    assert shapes == {f"{network}.{name}": one[name] for network in "FG" for name in one}


def test_an_odd_width_is_split_unevenly() -> None:
    made = coupling(7)
    assert (made.F[0].in_features, made.F[1].out_features) == (4, 3)
    assert (made.G[0].in_features, made.G[1].out_features) == (3, 4)


def test_a_new_coupling_is_drawn_as_in_bert() -> None:
    torch.manual_seed(0)
    made = Coupling(512, CouplingForm("relu", 2))
    for layer in (*made.F, *made.G):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert not layer.bias.any()


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(AdapterError, match="Unknown activation 'prelu'"):
        Coupling(8, CouplingForm("prelu", 2))


def test_a_chain_is_applied_in_order_and_undone_in_reverse() -> None:
    first, second = coupling(seed=1), coupling(seed=2)
    node, x = CouplingNode({0: [first, second]}, None), embedded()
    torch.testing.assert_close(node(x), second(first(x)), rtol=0, atol=0)
    torch.testing.assert_close(node(x, inverse=True), first.inverse(second.inverse(x)))
    torch.testing.assert_close(node(node(x), inverse=True), x, rtol=0, atol=1e-12)
    assert not torch.allclose(second(first(x)), first(second(x)))


def test_each_row_goes_through_its_own_chain() -> None:
    one, two, three = (coupling(seed=seed) for seed in range(3))
    # Entry 1 has no invertible adapter.
    entries = [2, None, 0, 1, 2, 0]
    node, x = CouplingNode({0: [one], 2: [two, three]}, Rows(entries)), embedded(rows=6)
    chains = {0: [one], 2: [two, three]}
    for inverse in (False, True):
        expected = []
        for row, entry in zip(x, entries, strict=True):
            steps = chains.get(entry, []) if entry is not None else []
            for made in reversed(steps) if inverse else steps:
                row = made.inverse(row) if inverse else made(row)
            expected.append(row)
        found = node(x, inverse=inverse)
        torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)
        # A row without one keeps its bits.
        assert torch.equal(found[[1, 3]], x[[1, 3]])


def test_gradients_reach_every_chain_that_a_row_uses() -> None:
    chains = {0: [coupling(seed=1)], 1: [coupling(seed=2)], 2: [coupling(seed=3)]}
    node = CouplingNode(chains, Rows([0, 2, 0]))
    node(embedded(rows=3)).square().sum().backward()
    for number, [made] in chains.items():
        assert all((p.grad is not None) == (number != 1) for p in made.parameters())


def test_as_many_rows_are_needed_as_entries() -> None:
    node = CouplingNode({0: [coupling()]}, Rows([0, None]))
    with pytest.raises(CompositionError, match="2 rows with an adapter each, but 4 go"):
        node(embedded())
    copies = Copies(2)
    halves = CouplingNode({0: [coupling()]}, copies)
    copies.check(2)
    torch.testing.assert_close(halves(embedded())[:2], coupling()(embedded()[:2]))
    assert torch.equal(halves(embedded())[2:], embedded()[2:])


def test_couplings_of_a_model_without_embeddings_leave_it_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (row,) = layout._LAYOUTS["bert"]
    monkeypatch.setitem(layout._LAYOUTS, "bert", (replace(row, embeddings=None),))
    model = tiny_model()
    before, state = run(model), snapshot(model)
    node = CouplingNode({0: [Coupling(16, CouplingForm("relu", 2))]}, None)
    with pytest.raises(UnsupportedModelError, match="names no embeddings"):
        Attachment(model, random_adapter(model).deltas, node)
    untouched(model, state, before)


def couplings(width: int) -> tuple[Coupling, CouplingNode]:
    made = Coupling(width, CouplingForm("relu", 2))
    randomize(made, 3, sigma=0.3)
    return made, CouplingNode({0: [made]}, None)


def test_embeddings_go_through_the_coupling_and_the_head_through_its_inverse() -> None:
    model = tiny_model("bert", AutoModelForMaskedLM)
    made, node = couplings(16)
    seen: dict[str, Any] = {}
    model.bert.embeddings.register_forward_hook(lambda _m, _i, o: seen.update(embedded=o))
    model.bert.encoder.register_forward_pre_hook(lambda _m, i: seen.update(entered=i[0]))
    model.cls.predictions.transform.register_forward_hook(lambda _m, _i, o: seen.update(top=o))
    attachment = Attachment(model, {}, node)
    model.cls.predictions.decoder.register_forward_hook(lambda _m, i, o: seen.update(head=i[0]))
    with torch.no_grad():
        model(**tiny_inputs())
        torch.testing.assert_close(seen["entered"], made(seen["embedded"]))
        torch.testing.assert_close(seen["head"], made.inverse(seen["top"]))
    assert EMBEDDINGS in attachment.nodes
    attachment.detach()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5", "bart", "electra"])
def test_a_coupling_that_is_the_identity_changes_nothing(architecture: str) -> None:
    model = tiny_model(architecture)
    inputs = inputs_for(model)
    before, state = run(model, inputs), snapshot(model)
    width = getattr(model.config, "embedding_size", None) or 16
    made, node = couplings(width)
    attachment = Attachment(model, {}, node)
    assert (run(model, inputs) - before).abs().max().item() > 1e-4
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    torch.testing.assert_close(run(model, inputs), before, rtol=0, atol=0)
    attachment.detach()
    untouched(model, state, before)
