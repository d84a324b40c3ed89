from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMultipleChoice,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    set_seed,
)

from hubkit import attach
from hubkit.adapters.fusion import Fusion
from hubkit.composition import Fuse
from hubkit.models.freeze import train_only
from hubkit.nn.fusion import FusionLayer
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from hubkit.training import trainer as module
from hubkit.training.fit import fit
from hubkit.training.start import Measured
from registry.manifest import TextInfo
from tests.support.language import words
from tests.support.models import (
    random_adapter,
    randomize,
    same,
    snapshot,
    tiny_classifier,
    tiny_model,
    tokenizer,
)
from tests.support.starts import start_with
from tests.training.conftest import LABELS, evaluations, settings, start, train


def test_only_what_requires_gradients_is_changed(tmp_path: Path) -> None:
    model = start()
    before = snapshot(model)
    train(model, tmp_path, epochs=1)
    after = snapshot(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name, p in model.named_parameters() if p.requires_grad}


# Without chance in the model, a step can be computed in other parts to the same result.
SURE = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def trained(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def assert_close(found: PreTrainedModel, expected: PreTrainedModel, tolerance: float) -> None:
    for name, value in trained(expected).items():
        assert torch.allclose(trained(found)[name], value, atol=tolerance), name


@pytest.mark.parametrize("weights", [None, {"positive": 3.0}])
def test_accumulated_batches_are_one_step(weights: Any, tmp_path: Path) -> None:
    once, parts, smaller = start(**SURE), start(**SURE), start(**SURE)
    train(once, tmp_path / "once", batch_size=8, class_weights=weights)
    result = train(
        parts, tmp_path / "parts", batch_size=3, gradient_accumulation=3, class_weights=weights
    )
    expected = train(smaller, tmp_path / "9", batch_size=9, class_weights=weights)
    assert_close(parts, smaller, 1e-5)
    assert result.metrics == pytest.approx(expected.metrics, abs=1e-5)
    with pytest.raises(AssertionError):
        assert_close(parts, once, 1e-5)


def test_the_schedule_is_that_of_transformers(tmp_path: Path) -> None:
    from transformers import get_scheduler

    result = train(start(), tmp_path, warmup=2, schedule="cosine", epochs=4)
    steps = 3 * 4  # 20 rows in batches of 8
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1e-2)
    scheduler = get_scheduler("cosine", optimizer, num_warmup_steps=2, num_training_steps=steps)
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    found = [entry["learning_rate"] for entry in result.history if "learning_rate" in entry]
    assert found == pytest.approx(rates[2::3])


def test_a_constant_rate_stays_after_its_warmup(tmp_path: Path) -> None:
    result = train(start(), tmp_path, warmup=0.5, schedule="constant", epochs=4)
    found = [entry["learning_rate"] for entry in result.history if "learning_rate" in entry]
    assert found == pytest.approx([1e-2 * 2 / 6, 1e-2 * 5 / 6, 1e-2, 1e-2])


def test_weight_decay_makes_weights_smaller(tmp_path: Path) -> None:
    plain, decayed = start(), start()
    train(plain, tmp_path / "plain")
    train(decayed, tmp_path / "decayed", weight_decay=10.0)

    def size(model: PreTrainedModel) -> float:
        return sum(float(p.norm()) for n, p in trained(model).items() if n.endswith("weight"))

    assert size(decayed) < size(plain)


@pytest.mark.parametrize("method", ["seq_bn_inv", "par_bn", "lora"])
def test_checkpointed_activations_change_no_bit(method: str, tmp_path: Path) -> None:
    def model() -> PreTrainedModel:
        set_seed(0)
        made = tiny_classifier(pad_token_id=1)
        adapter = random_adapter(made, method)
        attach(made, adapter)
        train_only(made, adapter)
        return made

    plain, checkpointed = model(), model()
    expected = train(plain, tmp_path / "plain", epochs=1)
    result = train(checkpointed, tmp_path / "again", epochs=1, gradient_checkpointing=True)
    assert evaluations(result) == evaluations(expected)
    assert same(snapshot(checkpointed), snapshot(plain))


def test_bf16_trains_float32_weights_to_almost_the_same(tmp_path: Path) -> None:
    plain, mixed = start(**SURE), start(**SURE)
    expected = train(plain, tmp_path / "plain", epochs=1)
    result = train(mixed, tmp_path / "mixed", epochs=1, precision="bf16")
    assert {value.dtype for value in trained(mixed).values()} == {torch.float32}
    assert result.metrics["loss"] == pytest.approx(expected.metrics["loss"], abs=0.02)
    assert result.metrics["loss"] != expected.metrics["loss"]


OWN = {
    "text-classification": (
        AutoModelForSequenceClassification,
        {"text": ["the film was good", "the plot was dull"], "label": list(LABELS)},
    ),
    "multiple-choice": (
        AutoModelForMultipleChoice,
        {"prompt": ["the film", "the plot"], "choices": [["good", "bad", "dull"]] * 2}
        | {"label": [0, 1]},
    ),
    "ranking": (
        AutoModelForSequenceClassification,
        {"query": ["the film"], "candidates": [["good", "bad"]], "relevance": [[1.0, 0.0]]},
    ),
    "feature-extraction": (
        AutoModel,
        {"text": ["the film", "a plot"], "text_pair": ["good", "dull"], "score": [0.5, -0.5]},
    ),
}
"""Task types whose loss is their own, and one whose loss is the model's."""


@pytest.mark.parametrize("name", sorted(OWN))
def test_the_regulariser_of_a_fusion_is_in_the_loss(name: str, tmp_path: Path) -> None:
    task, (auto_class, columns) = TASK_TYPES[name], OWN[name]
    rows, info = Rows("r", columns), TextInfo(max_length=16)
    plan, processor = task.fit_plan(rows), tokenizer()
    model = tiny_model("bert", auto_class, pad_token_id=1, **SURE, **plan.config())
    task.prepare(processor, model, plan, info)
    fusion = Fusion.create(Fuse(random_adapter(model, seed=0), random_adapter(model, seed=1)), "f")
    attach(model, fusion)
    train_only(model, fusion)
    layers = [module for module in model.modules() if isinstance(module, FusionLayer)]
    for layer in layers:
        assert layer.value is not None
        randomize(layer.value, 0)  # it starts where the regulariser is 0
    encoded = task.encode(processor, rows, plan, info)
    batch = task.collator(processor, model)([encoded.feature(at) for at in range(len(encoded))])
    model.eval()
    with torch.no_grad():
        bare = task.run(model, batch, task.options())[0]
        values = [layer.value.weight for layer in layers if layer.value is not None]
        added = sum(0.01 * (torch.eye(len(one)) - one).pow(2).sum() for one in values)
    assert bare is not None
    assert added > 0.1
    how = settings(epochs=1)
    started_with = start_with(model, how, task, rows, processor)
    result = fit(started_with, Measured(rows, encoded), None, how, tmp_path)
    assert result.history[0]["loss"] == pytest.approx(float(bare + added), rel=1e-4)


def test_one_of_several_gpus_is_taken_and_the_batch_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = train(start(), tmp_path / "one")
    monkeypatch.setattr(module.TrainingArguments, "n_gpu", property(_gpus))  # type: ignore[attr-defined]
    result = train(start(), tmp_path / "several")
    assert evaluations(result) == evaluations(expected)
    told = "Training takes one of the 2 GPUs; a launcher starts a process for each."
    assert caplog.messages.count(told) == 1


def _gpus(arguments: Any) -> int:
    """Two, until the trainer is told to take one."""
    return 1 if arguments.__dict__.get("_n_gpu") == 1 else 2


def validated(
    task_type: str, model: PreTrainedModel, rows: Rows, folder: Path, **how: Any
) -> float:
    """The validation loss of rows after a step that changes nothing."""
    task, info, decided = TASK_TYPES[task_type], TextInfo(), settings(epochs=1, **how)
    plan, processor = task.fit_plan(rows), words()
    task.prepare(processor, model, plan, info)
    attach(model, adapter := random_adapter(model))
    train_only(model, adapter)
    encoded = Measured(rows, task.encode(processor, rows, plan, info))
    start = start_with(model, decided, task, rows, processor)
    return fit(start, encoded, encoded, decided, folder).metrics["loss"]


ONE_BY_ONE = {
    "token-classification": (
        AutoModelForTokenClassification,
        {"tokens": [["the"], ["a"] * 9, ["was", "not"]], "tags": [["X"], ["O"] * 9, ["O", "X"]]},
    ),
    "text2text-generation": (
        AutoModelForSeq2SeqLM,
        {"source": ["the", "a film", "a"], "target": ["good", "a very very very bad plot", "a"]},
    ),
    "text-classification": (
        AutoModelForSequenceClassification,
        {"text": ["the", "a film", "a"], "label": ["good", "bad", "bad"]},
    ),
}
"""Rows that do not weigh the same in the loss."""


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_the_validation_loss_is_that_of_one_batch_whatever_the_batches(
    name: str, tmp_path: Path
) -> None:
    auto_class, columns = ONE_BY_ONE[name]
    weights = {"good": 9.0} if name == "text-classification" else None
    architecture = "t5" if name == "text2text-generation" else "bert"
    plan = TASK_TYPES[name].fit_plan(Rows("r", columns))

    def loss(batch_size: int) -> float:
        ids = {"pad_token_id": 1, "decoder_start_token_id": 1}
        model = tiny_model(architecture, auto_class, **ids, **plan.config(), **SURE)
        how = {"batch_size": batch_size, "class_weights": weights, "learning_rate": 1e-12}
        return validated(name, model, Rows("r", columns), tmp_path / f"{batch_size}", **how)

    assert loss(1) == pytest.approx(loss(3), rel=1e-5)  # evaluated two and six at a time


def test_rows_without_anything_to_learn_count_for_nothing_in_the_loss(tmp_path: Path) -> None:
    tokens, tags = [["the", "film"], ["a"], ["\u0000"]], [["X", "O"], ["O"], ["O"]]
    plan = TASK_TYPES["token-classification"].fit_plan(Rows("r", {"tokens": tokens, "tags": tags}))

    def loss(rows: int) -> float:
        columns = {"tokens": tokens[:rows], "tags": tags[:rows]}
        auto_class = AutoModelForTokenClassification
        model = tiny_model("bert", auto_class, pad_token_id=1, **plan.config())
        how = {"batch_size": 1, "learning_rate": 1e-12}
        name, folder = "token-classification", tmp_path / f"{rows}"
        return validated(name, model, Rows("r", columns), folder, **how)

    assert loss(3) == pytest.approx(loss(2), rel=1e-5)


def test_classes_that_all_weigh_nothing_cost_nothing(tmp_path: Path) -> None:
    auto_class, columns = ONE_BY_ONE["text-classification"]
    rows = Rows("r", columns)
    plan = TASK_TYPES["text-classification"].fit_plan(rows)
    model = tiny_model("bert", auto_class, pad_token_id=1, **plan.config())
    weights = {"good": 0.0, "bad": 0.0}
    assert validated("text-classification", model, rows, tmp_path, class_weights=weights) == 0.0
