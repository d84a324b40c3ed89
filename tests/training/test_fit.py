from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    set_seed,
)

from hubkit import attach
from hubkit.adapters.fusion import Fusion
from hubkit.composition import Fuse
from hubkit.models.freeze import train_only
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.hooks import SUBMODULE
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from hubkit.training import trainer as module
from hubkit.training.data import hold_out
from hubkit.training.fit import Fit, fit, last_checkpoint
from hubkit.training.settings import Decided
from hubkit.training.start import Measured, Start
from registry.errors import DivergedError, StorageError
from registry.manifest import TextInfo
from tests.support.data import LabelledText, labelled_text
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

LABELS = ("negative", "positive")
TASK = TASK_TYPES["text-classification"]
PLAN = TASK.fit_plan(labelled_text())


NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


class Broken(BaseException):
    """Ends a run the way a signal does: nothing in hubkit catches it."""


def settings(**changes: Any) -> Decided:
    values = {"epochs": 3, "learning_rate": 1e-2, "batch_size": 8, "max_length": 16, "patience": 5}
    return Decided(**{**values, **changes})


def start(**changes: Any) -> PreTrainedModel:
    """A classifier with an adapter to train."""
    set_seed(0)
    model = tiny_classifier(pad_token_id=1, **changes)
    adapter = random_adapter(model)
    attach(model, adapter)
    train_only(model, adapter)
    return model


def train(
    model: PreTrainedModel, folder: Path, validation: LabelledText | None = None, **changes: Any
) -> Fit:
    data, held_out = halves()
    held_out = validation or held_out
    how = settings(**changes)
    return fit(started(model, how), measured(data), measured(held_out), how, folder)


def started(model: PreTrainedModel, how: Decided) -> Start:
    return start_with(model, how, TASK, labelled_text(24), tokenizer())


def halves() -> tuple[Rows, Rows]:
    data = labelled_text(24)
    return hold_out(data, data.labels, 0)


def measured(rows: Rows) -> Measured:
    return Measured(rows, TASK.encode(tokenizer(), rows, PLAN, TextInfo(max_length=16)))


def misleading() -> LabelledText:
    """Validation rows with the wrong labels: the more is learned, the worse the loss."""
    right = labelled_text(12)
    return LabelledText(
        "wrong", right.texts, [LABELS[label == LABELS[0]] for label in right.labels]
    )


def break_after(checkpoints: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs end without a word after so many checkpoints."""
    saved = []

    class EarlyStoppingCallback(module.EarlyStoppingCallback):  # type: ignore[misc,name-defined]
        def on_save(self, *_: Any, **__: Any) -> None:
            saved.append(1)
            if len(saved) == checkpoints:
                raise Broken

    monkeypatch.setattr(module, "EarlyStoppingCallback", EarlyStoppingCallback)


def evaluations(result: Fit) -> list[tuple[float, float]]:
    return [
        (entry["epoch"], entry["eval_loss"]) for entry in result.history if "eval_loss" in entry
    ]


def test_the_model_ends_with_the_weights_of_its_best_epoch(tmp_path: Path) -> None:
    model = start()
    result = train(model, tmp_path)
    losses = [loss for _, loss in evaluations(result)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert result.metrics["loss"] == min(losses)
    assert set(result.metrics) == {"loss", "accuracy", "f1_macro", "matthews"}
    assert result.seconds > 0
    validation = halves()[1]
    encoded = tokenizer()(list(validation["text"]), padding=True, return_tensors="pt")
    ids = torch.tensor([LABELS.index(label) for label in validation["label"]])
    with torch.no_grad():
        loss = model.eval()(**encoded, labels=ids).loss
    assert loss.item() == pytest.approx(min(losses), abs=1e-5)


def test_a_terminal_shows_a_line_an_epoch_and_no_dict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    result = train(start(), tmp_path, epochs=2)
    shown = capsys.readouterr()
    assert (shown.out, "{" in shown.err) == ("", False)
    loss, accuracy = result.metrics["loss"], result.metrics["accuracy"]
    line = f"Epoch 2 of 2: loss {loss:.2f}, accuracy {accuracy:.3f}\n"
    assert line in shown.err
    assert shown.err.count("Epoch ") == 2


@pytest.mark.parametrize("checkpoints", [1, 2])
def test_steps_end_a_run_inside_of_an_epoch_and_it_goes_on_to_the_same(
    checkpoints: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"epochs": 9, "steps": 5}  # three an epoch
    straight = start()
    once = train(straight, tmp_path / "straight", **how)
    assert (once.steps, once.at_most) == (5, 5)
    assert [one["step"] for one in once.history if "eval_loss" in one] == [3, 5]
    resumed = start()
    with monkeypatch.context() as patch:
        break_after(checkpoints, patch)
        with pytest.raises(Broken):
            train(resumed, tmp_path / "broken", **how)
    again = start()
    assert train(again, tmp_path / "broken", **how).metrics == once.metrics
    assert same(snapshot(again), snapshot(straight))


def test_training_stops_when_the_validation_loss_has_only_grown_since(tmp_path: Path) -> None:
    result = train(start(), tmp_path, misleading(), epochs=9, patience=2, learning_rate=0.1)
    found = evaluations(result)
    best = min(range(len(found)), key=lambda index: found[index][1])
    assert [epoch for epoch, _ in found] == [float(1 + index) for index in range(best + 1 + 2)]
    assert len(found) < 9
    assert result.metrics["loss"] == found[best][1]


@pytest.mark.parametrize("checkpoints", [1, 2])
def test_a_run_that_broke_off_goes_on_as_if_it_had_not(
    checkpoints: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = start()
    expected = train(straight, tmp_path / "straight")
    with monkeypatch.context() as patch:
        break_after(checkpoints, patch)
        with pytest.raises(Broken):
            train(start(), tmp_path / "broken")
    resumed = start()
    result = train(resumed, tmp_path / "broken")
    assert evaluations(result) == evaluations(expected)
    assert result.metrics == expected.metrics
    assert same(snapshot(resumed), snapshot(straight))


@pytest.mark.parametrize("checkpoints", [2, 3])
def test_a_run_that_broke_off_keeps_count_of_the_epochs_that_were_no_better(
    checkpoints: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"epochs": 9, "patience": 2, "learning_rate": 0.1}
    arguments |= {"validation": misleading()}
    straight = start()
    expected = train(straight, tmp_path / "straight", **arguments)
    with monkeypatch.context() as patch:
        break_after(checkpoints, patch)
        with pytest.raises(Broken):
            train(start(), tmp_path / "broken", **arguments)
    resumed = start()
    result = train(resumed, tmp_path / "broken", **arguments)
    assert evaluations(result) == evaluations(expected)
    assert same(snapshot(resumed), snapshot(straight))


def test_a_checkpoint_holds_only_what_is_trained(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    train(start(), tmp_path)
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint is not None
    names = set(load_file(checkpoint / "model.safetensors"))
    assert {name for name in names if not name.startswith(SUBMODULE)} == {
        *("classifier.weight", "classifier.bias"),
        *("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
    }
    assert len(names) == 4 + 2 * 4


def test_a_checkpoint_that_was_not_finished_is_dropped(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for number, state in (("9", "{}"), ("10", "{}"), ("11", '{"epoch": 1'), ("12", None)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/1"),
    ],
)
def test_a_full_disk_is_a_storage_error_and_the_next_run_goes_on(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(start(), tmp_path / "straight")
    saves = []
    save = module.Trainer._save_checkpoint  # type: ignore[attr-defined]

    def fail_second(self: Any, *arguments: Any, **named: Any) -> None:
        saves.append(1)
        if len(saves) == 2:
            raise error
        save(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(module.Trainer, "_save_checkpoint", fail_second)  # type: ignore[attr-defined]
        with pytest.raises(StorageError) as caught:
            train(start(), tmp_path / "full")
    assert str(tmp_path / "full") in str(caught.value)
    assert "the same training resumes" in str(caught.value)
    assert train(start(), tmp_path / "full").metrics == expected.metrics


def test_other_runtime_errors_are_not_taken_for_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(module.Trainer, "training_step", fail)  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="multiplied"):
        train(start(), tmp_path)


def test_a_run_that_diverges_says_so(tmp_path: Path) -> None:
    model = start()
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"validation loss is nan.*learning rate of 0\.01"):
        train(model, tmp_path, epochs=1)


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


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    data, _ = halves()
    validated, alone = start(), start()
    train(validated, tmp_path / "validated", epochs=1)
    how = settings(epochs=1)
    result = fit(started(alone, how), measured(data), None, how, tmp_path / "alone")
    assert (result.metrics, result.pictures) == ({}, {})
    assert [entry["epoch"] for entry in result.history if "loss" in entry] == [1.0]
    assert same(snapshot(alone), snapshot(validated))


def test_a_run_without_validation_that_diverges_says_so(tmp_path: Path) -> None:
    model = start()
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match="weights are no longer numbers"):
        fit(started(model, settings()), measured(halves()[0]), None, settings(), tmp_path)


def test_a_classifier_shows_which_labels_are_taken_for_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hubkit.plots

    drawn: list[Any] = []
    monkeypatch.setattr(
        hubkit.plots, "confusion_matrix", lambda *given: drawn.append(given) or b"picture"
    )
    model = start()
    result = train(model, tmp_path)
    assert result.pictures == {"confusion.png": b"picture"}
    ((labels, expected, predicted),) = drawn
    validation = halves()[1]
    assert labels == LABELS
    assert [labels[index] for index in expected] == list(validation["label"])
    right = sum(a == b for a, b in zip(expected, predicted, strict=True))
    assert right / len(validation) == pytest.approx(result.metrics["accuracy"])


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
    model = tiny_model("bert", auto_class, pad_token_id=1, **NO_DROPOUT, **plan.config())
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


@pytest.mark.parametrize("checkpoints", [2])
def test_accumulation_and_a_schedule_go_on_where_they_broke_off(
    checkpoints: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {
        **{"batch_size": 3, "gradient_accumulation": 2, "warmup": 0.3, "schedule": "cosine"},
        **{"weight_decay": 0.1, "class_weights": "balanced", "gradient_checkpointing": True},
    }
    straight = start()
    expected = train(straight, tmp_path / "straight", **how)
    with monkeypatch.context() as patch:
        break_after(checkpoints, patch)
        with pytest.raises(Broken):
            train(start(), tmp_path / "broken", **how)
    resumed = start()
    result = train(resumed, tmp_path / "broken", **how)
    assert evaluations(result) == evaluations(expected)
    assert same(snapshot(resumed), snapshot(straight))


def test_tensorboard_reads_what_each_epoch_gave(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data, held_out = halves()
    how = settings(report_to=("tensorboard",))
    result = fit(
        *(started(start(), how), measured(data), measured(held_out), how, tmp_path / "checkpoints"),
        reports=tmp_path / "reports",
    )
    written = EventAccumulator(str(tmp_path / "reports"))
    written.Reload()
    losses = [event.value for event in written.Scalars("eval/loss")]
    assert losses == pytest.approx([loss for _, loss in evaluations(result)])
    assert len(written.Scalars("train/loss")) == 3
    assert "eval/accuracy" in written.Tags()["scalars"]


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
