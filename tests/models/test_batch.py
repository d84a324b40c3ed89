"""Another composition for every row, and several for each row."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from hubkit import Adapter, Batch, Mix, Parallel, Stack, attach
from registry.errors import CompositionError
from tests.support.compositions import (
    KINDS,
    adapter_of_kind,
    random_fusion,
    random_mix,
    row_of,
    run_with,
)
from tests.support.models import (
    inputs_for,
    random_adapter,
    run,
    same,
    snapshot,
    tiny_inputs,
    tiny_model,
)

ARCHITECTURES = ("bert", "llama", "t5", "gpt2", "vit")


@cache
def entries(architecture: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model, and compositions of every kind for it."""
    model = tiny_model(architecture)
    made: dict[str, Any] = {
        kind: adapter_of_kind(model, kind, seed=seed) for seed, kind in enumerate(KINDS)
    }
    made |= {
        "wide": adapter_of_kind(model, "seq_bn", "wide", seed=50, bottleneck_size=9),
        "wide_lora": adapter_of_kind(model, "lora", "wide_lora", seed=51, bottleneck_size=9),
        "stack": Stack(made["lora"], made["double_seq_bn"]),
        "fusion": random_fusion([made["seq_bn"], made["channel"], made["rslora"]]),
        "mix": Mix(made["par_bn"], made["all_linear"], weights=[0.5, -0.5]),
        "learned_mix": random_mix([made["seq_bn"], made["lora"]]),
        "of_stacks": random_fusion([Stack(made["lora"], made["channel"]), made["seq_bn"]]),
        "none": None,
    }
    return model, made


def row_by_row(model: PreTrainedModel, parts: list[Any], inputs: dict[str, Tensor]) -> Tensor:
    rows = [run_with(model, part, row_of(inputs, row)) for row, part in enumerate(parts)]
    return torch.cat(rows)


def check_close(found: Tensor, expected: Tensor) -> None:
    tolerance = 1e-5 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def repeated(inputs: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    """So many rows of other content."""
    found = {}
    for name, tensor in inputs.items():
        index = torch.arange(rows) % len(tensor)
        found[name] = tensor[index]
        if not tensor.is_floating_point() and name != "attention_mask":
            ids = (found[name] + torch.arange(rows).unsqueeze(1)) % 36 + 2
            found[name] = ids
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@settings(max_examples=12)
@given(data=st.data())
def test_a_batch_is_a_loop_over_its_rows(architecture: str, data: st.DataObject) -> None:
    model, made = entries(architecture)
    names = data.draw(
        st.lists(st.sampled_from(sorted(made)), min_size=1, max_size=6).filter(
            lambda names: set(names) != {"none"}
        )
    )
    parts = [made[name] for name in names]
    inputs = repeated(inputs_for(model), len(parts))
    check_close(run_with(model, Batch(parts), inputs), row_by_row(model, parts, inputs))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_batch_of_all_kinds_at_once_is_a_loop_over_its_rows(architecture: str) -> None:
    model, made = entries(architecture)
    parts = [*made.values()]
    inputs = repeated(inputs_for(model), len(parts))
    found = run_with(model, Batch(parts), inputs)
    check_close(found, row_by_row(model, parts, inputs))
    plain = run(model, inputs)
    changed = (found - plain).flatten(1).abs().amax(1) > 0.01
    assert changed.tolist() == [part is not None for part in parts]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sixty_four_lora_adapters_in_one_batch(architecture: str) -> None:
    model = entries(architecture)[0]
    parts = [
        random_adapter(model, f"part-{i}", "lora", bottleneck_size=1 + i % 3, seed=i)
        for i in range(16)
    ]
    rows = [*parts, *parts[::-1], *parts, *[None] * 16]
    inputs = repeated(inputs_for(model), len(rows))
    check_close(run_with(model, Batch(rows), inputs), row_by_row(model, rows, inputs))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_are_chosen_by_name_for_every_call(architecture: str) -> None:
    model, made = entries(architecture)
    inputs, plain = inputs_for(model), run(model, inputs_for(model))
    named = {"u1": made["seq_bn"], "u2": made["stack"], "u3": made["fusion"], "u4": made["seq_bn"]}
    handle = attach(model, Batch(named))
    with pytest.raises(CompositionError, match=r"no adapters yet.*rows\(\[\.\.\.\]\)"):
        run(model, inputs)
    found = []
    for names in (["u2", None, "u1"], ["u3", "u4", "u3"], [None, None, None]):
        with handle.rows(names):
            found.append((names, run(model, inputs)))
    with handle.rows(["u1", "u1", "u1"]):
        with handle.rows(["u2", "u2", "u2"]):
            pass
        found.append((["u1"] * 3, run(model, inputs)))
    handle.detach()
    for names, output in found:
        parts = [None if name is None else named[name] for name in names]
        check_close(output, row_by_row(model, parts, inputs))
    assert torch.equal(run(model, inputs), plain)


@pytest.mark.parametrize("architecture", ["bert", "llama", "t5"])
@pytest.mark.parametrize("language", ["seq_bn_inv", "all_linear", "fusion"])
def test_a_batch_can_stand_in_a_stack(architecture: str, language: str) -> None:
    model, made = entries(architecture)
    tasks = [made["channel"], None, made["rslora"]]
    found = run_with(model, Stack(made[language], Batch(tasks)))
    expected = [made[language] if task is None else Stack(made[language], task) for task in tasks]
    check_close(found, row_by_row(model, expected, inputs_for(model)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parallel_gives_the_output_of_each_part(architecture: str) -> None:
    model, made = entries(architecture)
    inputs = inputs_for(model)
    names = ("seq_bn", "lora", "fusion", "left_out", "mix")
    parts = [made[name] for name in names]
    found = run_with(model, Parallel(*parts), inputs)
    check_close(found, torch.cat([run_with(model, part, inputs) for part in parts]))


def test_gradients_of_a_batch_are_those_of_its_rows() -> None:
    def gradients(*, batched: bool) -> list[Tensor]:
        model = tiny_model("bert", AutoModelForSequenceClassification, num_labels=2)
        parts: list[Adapter] = [
            adapter_of_kind(model, kind, seed=s)
            for s, kind in enumerate(("seq_bn", "lora", "channel"))
        ]
        for part in parts:
            for module in part.modules():
                module.requires_grad_()
        inputs = tiny_inputs()
        if batched:
            with attach(model, Batch(parts)):
                model(**inputs).logits.square().sum().backward()
        else:
            for row, part in enumerate(parts):
                with attach(model, part):
                    model(**row_of(inputs, row)).logits.square().sum().backward()
        weights = [p for part in parts for module in part.modules() for p in module.parameters()]
        return [weight.grad for weight in weights if weight.grad is not None]

    found, expected = gradients(batched=True), gradients(batched=False)
    assert len(found) == len(expected) == 2 * 4 + 4 * 2 + 2 * 5
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# Rows and adapters that disagree.


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_another_number_of_rows_than_of_adapters_is_refused_before_anything_runs(
    rows: int,
) -> None:
    model, made = entries("bert")
    state, calls = snapshot(model), []
    hook = model.embeddings.register_forward_hook(lambda *_: calls.append(1))
    parts = [made["seq_bn"], None, made["lora"]]
    named = {"x": made["seq_bn"], "y": made["lora"]}
    message = f"names an adapter for 3 rows, but the model was given {rows}"
    with attach(model, Batch(parts)), pytest.raises(CompositionError, match=message):
        run(model, repeated(tiny_inputs(), rows))
    with attach(model, Batch(named)) as handle, handle.rows(["x", "y", None]):
        with pytest.raises(CompositionError, match=message):
            run(model, repeated(tiny_inputs(), rows))
        assert calls == []
        run(model)
    hook.remove()
    assert calls == [1]
    assert same(snapshot(model), state)


@pytest.mark.parametrize("rows", [["u1", "u3", None], ["u1", "U1", None]])
def test_a_name_that_the_batch_does_not_have_is_refused(rows: list[str | None]) -> None:
    model, made = entries("bert")
    with (
        attach(model, Batch({"u1": made["seq_bn"], "u2": made["lora"]})) as handle,
        pytest.raises(CompositionError, match=f"Row 1 asks for {rows[1]!r}"),
        handle.rows(rows),
    ):
        raise AssertionError("not to be reached")


@pytest.mark.parametrize("name", ["seq_bn", "stack", "fusion"])
def test_rows_are_chosen_in_a_batch_with_names_only(name: str) -> None:
    model, made = entries("bert")
    for composition in (made[name], Batch([made[name], None])):
        with (
            attach(model, composition) as handle,
            pytest.raises(CompositionError, match="a batch with names"),
            handle.rows(["u1"]),
        ):
            raise AssertionError("not to be reached")


def test_an_error_inside_a_call_leaves_the_choice_of_rows_as_it_was() -> None:
    model, made = entries("bert")
    with attach(model, Batch({"u1": made["seq_bn"]})) as handle:
        with pytest.raises(CompositionError), handle.rows(["u1"]):
            run(model)
        with pytest.raises(CompositionError, match="no adapters yet"):
            run(model)
        with handle.rows(["u1", None, "u1"]):
            run(model)
