from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, set_seed

from hubkit import Fuse, Fusion, attach, train_only
from hubkit.nn.host import backbone
from hubkit.tasks.table import TASK_TYPES
from hubkit.tasks.task import Encoded
from hubkit.training import fit as module
from hubkit.training.check import checked_job
from hubkit.training.choosing.hold_out import hold_out
from hubkit.training.fit import Fit, fit
from hubkit.training.settings import Decided
from hubkit.training.start import Measured
from hubkit.training.trainer import RowTrainer
from hubkit.training.trunk.cache import trunk_cached
from hubkit.training.trunk.cut import Cut, can_be_cut
from registry.errors import FullDiskError, NoTrunkError, StorageError
from registry.manifest import TextInfo
from tests.support.data import job, labelled_text
from tests.support.models import (
    ENCODER_DECODERS,
    REFERENCED,
    inputs_for,
    random_adapter,
    tiny_classifier,
    tiny_model,
    tokenizer,
)
from tests.support.starts import start_with
from tests.training.trunk.conftest import carrying

TASK = TASK_TYPES["text-classification"]
PLAN = TASK.fit_plan(labelled_text())
LARGE = 10**9


def fused(model: PreTrainedModel) -> PreTrainedModel:
    """The model with adapters everywhere, and a fusion to train over those of the last layer."""
    parts = [random_adapter(model, name, seed=seed) for seed, name in enumerate("ab")]
    fusion = Fusion.create(Fuse(*parts)).leaving_out([0], model)
    attach(model, fusion)
    train_only(model, fusion)
    return model


def at(inputs: Mapping[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    return {name: value[rows] for name, value in inputs.items()}


@pytest.mark.parametrize("architecture", [a for a in REFERENCED if a not in ENCODER_DECODERS])
def test_a_model_gives_what_it_gives_without_a_cache(architecture: str, tmp_path: Path) -> None:
    model = carrying(tiny_model(architecture)).eval()
    inputs = inputs_for(model)
    orders = [[0, 1, 2], [2, 0], [1, 2, 0]]
    with torch.no_grad():
        expected = [model(**at(inputs, order))[0] for order in orders]
        with trunk_cached(model, tmp_path, LARGE):
            found = [model(**at(inputs, order))[0] for order in orders]
        after = model(**inputs)[0]
    mask = inputs.get("attention_mask", torch.ones(3, found[0].shape[1])).bool()
    for order, one, other in zip(orders, expected, found, strict=True):
        read = mask[order]
        assert torch.allclose(one[read], other[read], atol=1e-5), order
    assert torch.equal(after, expected[0])


def test_the_trunk_of_a_head_alone_is_all_of_the_layers(tmp_path: Path) -> None:
    model = tiny_classifier()
    assert can_be_cut(model)
    model.bert.requires_grad_(False)
    inputs, expected = inputs_for(model), model(**inputs_for(model)).logits
    ran = _trunk_runs(model)
    with trunk_cached(model, tmp_path, LARGE):
        assert torch.allclose(model(**inputs).logits, expected, atol=1e-6)
        assert torch.allclose(model(**inputs).logits, expected, atol=1e-6)
    assert len(ran) == 1


def test_padding_is_no_part_of_a_row(tmp_path: Path) -> None:
    model = carrying(tiny_classifier())
    ids = torch.tensor([[5, 6, 7]])
    short = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    long = {name: torch.cat([one, one.new_ones(1, 4)], 1) for name, one in short.items()}
    long["attention_mask"][:, 3:] = 0
    with torch.no_grad(), trunk_cached(model, tmp_path, LARGE):
        ran = _trunk_runs(model)
        one, other = model(**short).logits, model(**long).logits
        assert len(ran) == 1
    assert torch.allclose(one, other, atol=1e-6)


def test_other_token_types_are_another_row(tmp_path: Path) -> None:
    model = carrying(tiny_classifier())
    inputs = {"input_ids": torch.tensor([[5, 6, 7]]), "token_type_ids": torch.tensor([[0, 0, 1]])}
    with torch.no_grad(), trunk_cached(model, tmp_path, LARGE):
        one = model(**inputs).logits
        other = model(**{**inputs, "token_type_ids": torch.tensor([[0, 1, 1]])}).logits
    assert not torch.allclose(one, other)


def test_who_asks_for_hidden_states_gets_those_of_all_layers(tmp_path: Path) -> None:
    model, inputs = carrying(tiny_model()), inputs_for(tiny_model())
    expected = model(**inputs, output_hidden_states=True).hidden_states
    with trunk_cached(model, tmp_path, LARGE):
        model(**inputs)
        found = model(**inputs, output_hidden_states=True).hidden_states
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


@contextmanager
def _evaluated(model: PreTrainedModel, *_: Any) -> Iterator[None]:
    """In place of the cache: the trunk runs in every epoch, in eval mode."""
    cut = Cut(model)
    hook = backbone(model).register_forward_pre_hook(lambda *_: cut.without_dropout())
    yield
    hook.remove()


def _trunk_runs(model: PreTrainedModel) -> list[int]:
    ran: list[int] = []
    layer: Any = model.get_submodule("bert.encoder.layer.0.attention")
    layer.register_forward_hook(lambda _m, given, _o: ran.append(len(given[0])))
    return ran


def _trained(model: PreTrainedModel, folder: Path, limit: int, **changes: Any) -> Fit:
    rows = labelled_text(24)
    parts = [
        Measured(part, TASK.encode(tokenizer(), part, PLAN, TextInfo(max_length=16)))
        for part in hold_out(rows, rows.labels, 0)
    ]
    values = {"epochs": 3, "learning_rate": 1e-2, "batch_size": 8, "max_length": 16, **changes}
    settings = Decided(cache_trunk=limit, patience=3, **values)  # type: ignore[arg-type]
    start = start_with(model, settings, TASK, rows, tokenizer())
    return fit(start, *parts, settings, folder)


def _model(make: Any = carrying) -> PreTrainedModel:
    set_seed(0)
    model: PreTrainedModel = make(tiny_classifier(pad_token_id=1))
    return model


def _losses(result: Fit) -> list[float]:
    return [
        value
        for entry in result.history
        for name, value in entry.items()
        if name in ("loss", "eval_loss")
    ]


@pytest.mark.parametrize(
    ("make", "limit", "changes"),
    [
        (carrying, LARGE, {}),
        (fused, LARGE, {}),
        (carrying, 4_000, {}),  # a part of the rows
        (carrying, LARGE, {"gradient_accumulation": 2, "batch_size": 4}),
        (carrying, LARGE, {"gradient_checkpointing": True}),
    ],
)
def test_training_gives_the_losses_of_a_trunk_without_dropout(
    make: Any, limit: int, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(make)
    ran = _trunk_runs(model)
    found = _losses(_trained(model, tmp_path / "cached", limit, **changes))
    if limit == LARGE:
        assert sum(ran) == 24 + 4  # each row once, and for the pictures those to validate with
    monkeypatch.setattr(module, "trunk_cached", _evaluated)
    expected = _losses(_trained(_model(make), tmp_path / "plain", LARGE, **changes))
    assert found == pytest.approx(expected, abs=1e-5)
    assert len(found) == 6


def test_a_run_that_was_broken_off_goes_on_to_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _losses(_trained(_model(), tmp_path / "whole", LARGE))
    with monkeypatch.context() as patch:
        patch.setattr(RowTrainer, "evaluate", _broken_after(2))
        with pytest.raises(KeyboardInterrupt):
            _trained(_model(), tmp_path / "broken", LARGE)
    assert not [p for p in (tmp_path / "broken").iterdir() if not p.name.startswith("checkpoint")]
    again = _losses(_trained(_model(), tmp_path / "broken", LARGE))
    assert again[-2:] == pytest.approx(whole[-2:], abs=1e-5)


def _broken_after(epochs: int) -> Any:
    evaluate, done = RowTrainer.evaluate, []

    def broken(self: Any, *arguments: Any, **named: Any) -> Any:
        done.append(1)
        if len(done) > epochs:
            raise KeyboardInterrupt
        return evaluate(self, *arguments, **named)

    return broken


def test_a_disk_without_room_for_the_rows_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    rows = Encoded({"input_ids": [[1, 2], [3]]}, [0, 1])
    with (
        pytest.raises(FullDiskError, match=r"take 192 bytes, and the disk of .* has 1 left\."),
        trunk_cached(carrying(tiny_model()), tmp_path, LARGE, [rows]),
    ):
        pass


def test_a_disk_that_is_full_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> bool:
        raise FullDiskError("The disk is full.")

    monkeypatch.setattr("hubkit.training.trunk.store.RowStore.put", full)
    model = _model()
    with pytest.raises(StorageError, match="The disk is full"):
        _trained(model, tmp_path, LARGE)
    assert [*tmp_path.iterdir()] == []
    assert all("forward" not in vars(layer) for layer in model.bert.encoder.layer)


def test_rows_that_chance_draws_anew_are_refused() -> None:
    wanted = replace(job("a", cache_trunk=LARGE), task_type="fill-mask")
    with pytest.raises(NoTrunkError, match="fill-mask draws what is read of a row anew"):
        checked_job(wanted)
