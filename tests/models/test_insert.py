from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForNextSentencePrediction,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

import hubkit
from hubkit import attach
from hubkit.models.insert import insert_adapter, save_adapter
from hubkit.nn.hooks import SUBMODULE
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog, open_catalog, read_folder
from registry.errors import (
    AdapterError,
    CompositionError,
    FolderError,
    UnsupportedModelError,
)
from tests.support.data import TEXTS, labelled_text
from tests.support.models import (
    ARCHITECTURES,
    base_folder,
    run,
    same,
    snapshot,
    tiny_classifier,
    tiny_model,
    tokenizer,
)

LABELS = {0: "negative", 1: "positive"}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "home")


def classifier(folder: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        folder, id2label=LABELS, label2id={name: index for index, name in LABELS.items()}
    )
    return model


def train(model: PreTrainedModel, folder: Path, **arguments: Any) -> Trainer:
    """With nothing of hubkit: the stock trainer, as in anyone's script."""
    data = labelled_text(16)
    rows = tokenizer()(list(data["text"]))
    names = list(LABELS.values())
    dataset = Dataset.from_dict({**rows, "labels": [names.index(one) for one in data["label"]]})
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=2,
            learning_rate=1e-2,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            logging_strategy="no",
            dataloader_pin_memory=False,
            **arguments,
        ),
        train_dataset=dataset,
        data_collator=DataCollatorWithPadding(tokenizer()),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_adapter_trained_with_the_stock_trainer_is_saved_published_and_loaded_to_the_bit(
    architecture: str, tmp_path: Path, catalog: Catalog
) -> None:
    base = base_folder(tmp_path / "base", architecture)
    model = classifier(base)
    before = snapshot(model.base_model)
    attached = insert_adapter(model, "adapter", bottleneck_size=64)
    train(model, tmp_path / "out")
    save_adapter(model, "adapter", tmp_path / "saved")

    manifest = read_folder(tmp_path / "saved").manifest
    assert manifest.method.parameters["bottleneck_size"] == 64
    assert manifest.labels == ("negative", "positive")
    assert manifest.task_type == "text-classification"
    version = publish_folder(catalog, tmp_path / "saved", AdapterRef.parse("team/films"), task="t")
    loaded = hubkit.load(version.ref, catalog=catalog)
    model.eval()
    for text in TEXTS:
        with torch.no_grad():
            logits = model(**tokenizer()([text], return_tensors="pt")).logits
        assert torch.equal(loaded.logits([text]), logits)

    attached.detach()
    assert same(snapshot(model.base_model), before)


def test_the_stock_trainer_can_checkpoint_its_activations(tmp_path: Path) -> None:
    folder = base_folder(tmp_path / "base")
    weights = []
    for checkpointing in (False, True):
        model = classifier(folder)
        torch.manual_seed(3)
        insert_adapter(model, "mine")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        train(model, tmp_path / "out", activation_checkpointing=checkpointing)
        weights.append(snapshot(getattr(model, SUBMODULE)))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("method", "size"), [("seq_bn", 1), ("double_seq_bn", 1), ("par_bn", 8)])
def test_the_size_of_the_bottleneck_is_by_default_that_of_the_method(
    method: str, size: int
) -> None:
    attached = insert_adapter(tiny_model(), "mine", method=method)
    assert attached.composition.method.bottleneck_size == size
    attached.detach()


def test_detaching_takes_the_adapter_out() -> None:
    model = tiny_classifier()
    outputs, state = run(model), snapshot(model)
    attached = insert_adapter(model, "mine")
    assert not torch.equal(run(model), outputs)
    attached.detach()
    assert torch.equal(run(model), outputs)
    assert same(snapshot(model), state)


def test_a_second_adapter_is_refused_and_the_first_stays_trainable() -> None:
    model = tiny_classifier()
    insert_adapter(model, "mine")
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    with pytest.raises(CompositionError):
        insert_adapter(model, "other")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trained


def test_an_unsupported_architecture_is_left_as_it_was() -> None:
    model = tiny_model("albert")
    with pytest.raises(UnsupportedModelError, match="'albert'"):
        insert_adapter(model, "mine")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_saving_needs_the_adapter_of_that_name(tmp_path: Path) -> None:
    model = tiny_classifier()
    with pytest.raises(AdapterError, match="carries no adapter 'mine': it carries none"):
        save_adapter(model, "mine", tmp_path / "saved")
    insert_adapter(model, "mine")
    with pytest.raises(AdapterError, match="carries no adapter 'other': it carries mine"):
        save_adapter(model, "other", tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_folder_that_holds_something_else_is_refused_and_untouched(tmp_path: Path) -> None:
    model = tiny_classifier()
    insert_adapter(model, "mine")
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    with pytest.raises(FolderError, match="holds no adapter"):
        save_adapter(model, "mine", foreign)
    with pytest.raises(FolderError, match="holds no adapter"):
        save_adapter(model, "mine", foreign / "chapter.txt")
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis", "chapter.txt"]
    assert (foreign / "chapter.txt").read_text() == "years of work"


def test_saving_again_replaces_the_adapter(tmp_path: Path) -> None:
    model = tiny_classifier()
    insert_adapter(model, "mine")
    (tmp_path / "saved").mkdir()
    save_adapter(model, "mine", tmp_path / "saved")
    first = read_folder(tmp_path / "saved").manifest.digest
    save_adapter(model, "mine", tmp_path / "saved")
    assert read_folder(tmp_path / "saved").manifest.digest == first
    with torch.no_grad():
        model.classifier.bias.add_(1)
    save_adapter(model, "mine", tmp_path / "saved")
    assert read_folder(tmp_path / "saved").manifest.digest != first
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize(
    ("auto_class", "task_type"),
    [
        (AutoModelForTokenClassification, "token-classification"),
        (AutoModelForNextSentencePrediction, None),
    ],
)
def test_a_head_is_saved_with_its_task_type_if_it_is_of_a_known_one(
    auto_class: Any, task_type: str | None, tmp_path: Path
) -> None:
    model = tiny_model("bert", auto_class)
    insert_adapter(model, "mine")
    save_adapter(model, "mine", tmp_path / "saved")
    assert read_folder(tmp_path / "saved").manifest.task_type == task_type
    found = hubkit.Adapter.load(tmp_path / "saved")
    assert found.head is not None
    assert found.head.model_class == type(model).__name__


def test_what_is_saved_can_be_attached_to_the_same_base_and_to_no_other(tmp_path: Path) -> None:
    model = tiny_classifier()
    insert_adapter(model, "mine", method="double_seq_bn")
    expected = run(model)
    save_adapter(model, "mine", tmp_path / "saved")
    base = read_folder(tmp_path / "saved").manifest.base_model
    adapter = hubkit.Adapter.load(tmp_path / "saved", base=base)
    with attach(tiny_classifier(), adapter) as attached:
        assert torch.equal(run(attached.model), expected)
    with pytest.raises(hubkit.HubkitError, match="was trained on"):
        attach(tiny_classifier(seed=1), adapter)


@pytest.mark.parametrize("method", ["seq_bn", "lora"])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"num_labels": 1}, ("regression", 1, (), "text-regression")),
        (
            {"num_labels": 2, "problem_type": "multi_label_classification"},
            ("multi_label_classification", 2, ("LABEL_0", "LABEL_1"), "text-classification"),
        ),
        (
            {"num_labels": 2},
            ("single_label_classification", 2, ("LABEL_0", "LABEL_1"), "text-classification"),
        ),
    ],
    ids=["regression", "several labels", "one label"],
)
def test_what_the_outputs_mean_is_saved(
    settings: dict[str, Any], expected: tuple[object, ...], method: str, tmp_path: Path
) -> None:
    model = tiny_model("bert", AutoModelForSequenceClassification, **settings)
    insert_adapter(model, "mine", method=method)
    save_adapter(model, "mine", tmp_path / "saved")
    found = read_folder(tmp_path / "saved").manifest
    assert (found.problem_type, found.outputs, found.labels, found.task_type) == expected
    head = hubkit.Adapter.load(tmp_path / "saved").head
    assert head is not None
    assert (head.problem_type, head.outputs, head.labels) == expected[:3]
