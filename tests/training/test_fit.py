from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hubkit.nn.hooks import SUBMODULE
from hubkit.training import trainer as module
from hubkit.training.fit import fit, last_checkpoint
from registry.errors import DivergedError, StorageError
from tests.support.data import LabelledText, labelled_text
from tests.support.models import same, snapshot, tokenizer
from tests.training.conftest import (
    LABELS,
    evaluations,
    halves,
    measured,
    settings,
    start,
    started,
    train,
)


class Broken(BaseException):
    """Ends a run the way a signal does: nothing in hubkit catches it."""


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


"""Task types whose loss is their own, and one whose loss is the model's."""


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
