from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, PreTrainedModel, Trainer

import hubkit
from hubkit.adapters.tree import Tree
from hubkit.composing.combine import publish_stack
from hubkit.measuring.measure import evaluate
from hubkit.models.attach import attached_to
from hubkit.training import plan as module
from hubkit.training.choosing.hold_out import hold_out
from hubkit.training.job import Job
from hubkit.training.train import train_adapter, train_fusion, train_mix
from registry import AdapterRef, Catalog, open_catalog
from registry.errors import (
    BaseModelMismatchError,
    CompositionError,
    LabelError,
    NoValidationError,
    RefNotFoundError,
    StorageError,
    TrainingError,
)
from registry.search.search import search
from tests.support.data import TEXTS, LabelledText, job, labelled_text
from tests.support.models import base_folder, same, snapshot
from tests.support.started import Started

pytest_plugins = ("tests.support.published",)


@pytest.fixture
def catalog(trained_catalog: Catalog) -> Catalog:
    """Holds the adapters a and b, and their fusion."""
    return trained_catalog


# Ends itself by a signal right after the second checkpoint.
KILLED = """
import os, signal, sys
from pathlib import Path
from hubkit.training import trainer
from hubkit.training.train import train_adapter
from registry import open_catalog
from tests.support.data import job

saved = []

class EarlyStoppingCallback(trainer.EarlyStoppingCallback):
    def on_save(self, *arguments, **named):
        saved.append(1)
        if len(saved) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

trainer.EarlyStoppingCallback = EarlyStoppingCallback
train_adapter(open_catalog(Path(sys.argv[1])), job("a", epochs=4), base=sys.argv[2])
"""


def refs(*names: str) -> list[AdapterRef]:
    return [AdapterRef.parse(name) for name in names]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def weights(catalog: Catalog, ref: str) -> dict[str, str]:
    manifest = catalog.manifest(catalog.resolve(AdapterRef.parse(ref)))
    return {
        name: info.sha256 for name, info in manifest.files.items() if name.endswith(".safetensors")
    }


def published(catalog: Catalog) -> list[str]:
    return [str(version.ref) for version in search(catalog).items]


def trained_models(monkeypatch: pytest.MonkeyPatch) -> list[PreTrainedModel]:
    """The models whose heads are read at the end of training."""
    models: list[PreTrainedModel] = []
    head_of = module.head_of  # type: ignore[attr-defined]

    def noted(model: PreTrainedModel, *outlet: Any) -> Any:
        if not models or models[-1] is not model:  # asked before and after training
            models.append(model)
        return head_of(model, *outlet)

    monkeypatch.setattr(module, "head_of", noted)
    return models


def test_a_trained_adapter_is_published_with_all_that_describes_it(
    catalog: Catalog, base: Path
) -> None:
    version = catalog.resolve(AdapterRef.parse("a"))
    manifest = catalog.manifest(version)
    assert (version.number, manifest.kind, manifest.method.type) == (1, "adapter", "seq_bn")
    assert manifest.method.parameters["bottleneck_size"] == 4
    assert manifest.labels == ("negative", "positive")
    assert (manifest.task, manifest.task_type) == ("sentiment", "text-classification")
    assert manifest.parents == ()
    assert manifest.base_model.id == str(base)
    assert manifest.base_model.architecture == "BertModel"
    assert (manifest.base_model.hidden_size, manifest.base_model.num_layers) == (16, 2)
    metrics = {metric.name: metric for metric in manifest.metrics}
    assert set(metrics) == {"loss", "accuracy", "f1_macro", "matthews"}
    assert [metrics[name].higher_is_better for name in ("loss", "accuracy")] == [False, True]
    data = labelled_text()
    _, held_out = hold_out(data, data.labels, 42)
    assert {(m.dataset, m.split) for m in manifest.metrics} == {(held_out.dataset, "validation")}
    assert held_out.dataset == f"films.csv#{held_out.sha256[:12]}"
    training = manifest.training
    assert training is not None
    assert training.arguments == {
        "epochs": 2,
        "learning_rate": 1e-2,
        "batch_size": 8,
        "max_length": 16,
        "patience": 17,  # at least so many epochs as make 50 steps
        "chosen_on": {"rows": 4, "steps": 6},
        "seed": 42,
        "gradient_accumulation": 1,
        "gradient_checkpointing": False,
        "report_to": [],
        "schedule": "linear",
        "warmup": 0.0,
        "weight_decay": 0.0,
    }
    assert (training.examples, training.data_sha256) == (24, data.sha256)
    assert set(manifest.files) == {
        "adapter.safetensors",
        "adapter_config.json",
        "head_config.json",
        "model_head.safetensors",
        "confusion.png",
        "report.html",
        "report.md",
        "train.yaml",
        "training.png",
    }


def test_the_metrics_are_those_of_the_published_weights(catalog: Catalog) -> None:
    data = labelled_text()
    _, validation = hold_out(data, data.labels, 42)
    for name in ("a", "both"):
        model = hubkit.load(name, catalog=catalog)
        recorded = {m.name: m.value for m in model.manifest.metrics if m.name != "loss"}
        assert evaluate(model, validation) == pytest.approx(recorded)


def test_evaluating_on_a_label_that_the_adapter_does_not_know_is_refused(catalog: Catalog) -> None:
    data = LabelledText("other.csv", ["the film"], ["neutral"])
    with pytest.raises(LabelError, match=r"other\.csv has the label 'neutral'"):
        evaluate(hubkit.load("a", catalog=catalog), data)


def test_a_fusion_pins_the_versions_it_was_trained_on(catalog: Catalog, base: Path) -> None:
    train_adapter(catalog, job("a", epochs=1), base=str(base))  # a second version
    manifest = catalog.manifest(catalog.resolve(AdapterRef.parse("both")))
    first = [catalog.resolve(AdapterRef.parse(name)) for name in ("a@1", "b@1")]
    assert manifest.kind == "fusion"
    assert [(parent.ref, parent.digest) for parent in manifest.parents] == [
        (str(version.ref), version.manifest_digest) for version in first
    ]
    loaded = hubkit.load("both", catalog=catalog)
    donor = hubkit.load("a@1", catalog=catalog).composition
    part = Tree.of(loaded.composition).adapters[0]
    for site, delta in Tree.of(donor).adapters[0].deltas.items():
        assert same(snapshot(part.deltas[site]), snapshot(delta))


@pytest.mark.parametrize("kind", ["adapter", "fusion", "shared", "mix", "mix-shared"])
def test_what_is_loaded_gives_the_bits_that_were_trained(
    kind: str, catalog: Catalog, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = trained_models(monkeypatch)
    if kind == "adapter":
        version = train_adapter(catalog, job("new"), base=str(base), method="par_bn")
    elif kind.startswith("mix"):
        options = {"vectors": True, "shared": kind.endswith("shared"), "dropout": 0.3}
        version = train_mix(catalog, job("new"), refs=refs("a", "b"), **options)
        manifest = catalog.manifest(version)
        assert [parent.ref for parent in manifest.parents] == ["a@1", "b@1"]
        assert manifest.method.parameters["learned"] == "vectors"
        mix = hubkit.load_composition(version.ref, catalog=catalog)
        assert any((one.values != 0.5).any() for one in mix.weights.values())  # type: ignore[union-attr]
    else:
        options = {"shared": True, "temperature": 2.0} if kind == "shared" else {}
        version = train_fusion(catalog, job("new"), refs=refs("a", "b"), **options)
        manifest = catalog.manifest(version)
        assert manifest.method.parameters.get("shared", False) is (kind == "shared")
        assert manifest.training is not None
        assert options.items() <= manifest.training.arguments.items()
    once, twice = (hubkit.load(version.ref, catalog=catalog) for _ in range(2))
    logits = once.logits(TEXTS)
    assert torch.equal(logits, twice.logits(TEXTS))
    # Frozen, as what is loaded is: a fusion that can still be trained is not folded.
    trained = models[0].eval().requires_grad_(False)
    encoded = once.processor(TEXTS[1:2], return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(trained(**encoded).logits, once.logits(TEXTS[1:2]))


def test_training_a_fusion_changes_neither_the_base_nor_the_donors(
    catalog: Catalog, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = trained_models(monkeypatch)
    stored, of_base = digests(catalog.home / "blobs"), digests(base)
    assert stored
    train_fusion(catalog, job("again", learning_rate=0.1), refs=refs("a", "b"))
    after = digests(catalog.home / "blobs")
    assert {name: after[name] for name in stored} == stored
    assert digests(base) == of_base
    (model,) = models
    for adapter, name in zip(Tree.of(attached_to(model)).adapters, ("a", "b"), strict=True):
        (donor,) = Tree.of(hubkit.load(name, catalog=catalog).composition).adapters
        for site, delta in donor.deltas.items():
            assert same(snapshot(adapter.deltas[site]), snapshot(delta))
    plain = AutoModel.from_pretrained(base)
    others = {
        name
        for name, parameter in model.base_model.named_parameters()
        if "hubkit_adapters" not in name and not torch.equal(parameter, plain.get_parameter(name))
    }
    # What lies before the head is trained with it, and published with it.
    assert others == {"pooler.dense.weight", "pooler.dense.bias"}


def test_few_rows_are_all_trained_on_to_the_end_whatever_a_fifth_of_them_says(
    empty_catalog: Catalog, base: Path
) -> None:
    # At such a rate, the validation loss is at its lowest long before the end.
    few = job("a", epochs=20, learning_rate=0.1, patience=1)
    version = train_adapter(empty_catalog, few, base=str(base))
    manifest = empty_catalog.manifest(version)
    training = manifest.training
    assert training is not None
    data = labelled_text()
    _, held_out = hold_out(data, data.labels, 42)
    assert (training.examples, training.data_sha256) == (24, data.sha256)
    assert {metric.dataset for metric in manifest.metrics} == {held_out.dataset}
    chosen = training.arguments["chosen_on"]
    assert chosen["rows"] == 4
    assert chosen["steps"] < 60, "the best epoch there was an earlier one"
    train_adapter(empty_catalog, replace(few, validation=0), base=str(base))
    assert weights(empty_catalog, "a@1") == weights(empty_catalog, "a@2")


def test_of_many_rows_the_best_of_several_learning_rates_is_kept(
    empty_catalog: Catalog, base: Path
) -> None:
    rates = (1e-5, 1e-2, 1e-4)
    several = replace(job("a", learning_rate=rates), validation=0.25)
    found = empty_catalog.manifest(train_adapter(empty_catalog, several, base=str(base)))
    assert found.training is not None
    tried = found.training.arguments["tried"]
    assert tried.keys() == {"1e-05", "0.01", "0.0001"}
    assert min(tried, key=tried.get) == "0.01"
    assert found.training.arguments["learning_rate"] == 0.01
    one = replace(job("a"), validation=0.25)
    other = empty_catalog.manifest(train_adapter(empty_catalog, one, base=str(base)))
    assert weights(empty_catalog, "a@1") == weights(empty_catalog, "a@2")
    assert found.metrics == other.metrics
    with pytest.raises(NoValidationError, match="one of 3 learning rates is chosen by rows"):
        train_adapter(empty_catalog, replace(several, validation=0), base=str(base))


def test_each_head_has_its_own_pooler_and_a_fusion_one_of_its_own(
    catalog: Catalog, base: Path
) -> None:
    poolers = [AutoModel.from_pretrained(base).pooler.dense.weight]
    for ref in refs("a", "b", "both"):
        manifest = catalog.manifest(catalog.resolve(ref))
        assert manifest.head is not None
        assert manifest.head.modules == ("classifier", "pooler")
        assert not manifest.base_model.parts
        model = hubkit.load(ref, catalog=catalog).model
        poolers.append(model.base_model.pooler.dense.weight)
    distances = torch.pdist(torch.stack([one.detach().flatten() for one in poolers]))
    assert distances.min() > 1e-3


def test_an_adapter_is_trained_over_another_and_gives_the_same_stacked_over_it(
    catalog: Catalog, base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    models = trained_models(monkeypatch)
    before = weights(catalog, "a")
    version = train_adapter(catalog, job("top"), base=str(base), over=AdapterRef.parse("a"))
    stacked = publish_stack(catalog, AdapterRef.parse("a-top"), [*refs("a"), version.ref])
    assert weights(catalog, "a") == before
    manifest = catalog.manifest(version)
    below = catalog.resolve(AdapterRef.parse("a"))
    assert manifest.training is not None
    assert manifest.training.arguments["over"] == {
        "ref": "a@1",
        "digest": below.manifest_digest,
    }
    trained = models[0].eval().requires_grad_(False)
    loaded = hubkit.load(stacked.ref, catalog=catalog)
    assert not caplog.records
    encoded = loaded.processor(TEXTS[1:2], return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(trained(**encoded).logits, loaded.logits(TEXTS[1:2]))
    alone = hubkit.load(version.ref, catalog=catalog)
    assert "top@1 was trained over a@1" in caplog.text
    assert not torch.allclose(alone.logits(TEXTS), loaded.logits(TEXTS), atol=1e-4)


def test_a_base_model_whose_token_for_padding_is_not_its_tokenizers_is_one_base_model(
    empty_catalog: Catalog, tmp_path: Path
) -> None:
    base = base_folder(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "pad_token_id": 0}))
    for name in ("a", "b"):
        train_adapter(empty_catalog, job(name, epochs=1), base=str(base))
    manifest = empty_catalog.manifest(empty_catalog.resolve(AdapterRef.parse("a")))
    assert manifest.base_model.config is not None
    assert manifest.base_model.config["pad_token_id"] == 0
    fusion = train_fusion(empty_catalog, job("both", epochs=1), refs=refs("a", "b"))
    for ref in ("a", fusion.ref):
        assert len(hubkit.load(ref, catalog=empty_catalog).predict(TEXTS)) == len(TEXTS)


def test_an_adapter_is_not_trained_over_one_of_another_base_model(
    catalog: Catalog, tmp_path: Path
) -> None:
    other = base_folder(tmp_path / "other", seed=1)
    with pytest.raises(BaseModelMismatchError, match="a@1"):
        train_adapter(catalog, job("top"), base=str(other), over=AdapterRef.parse("a"))
    assert "top@1" not in published(catalog)


def test_the_same_job_gives_the_same_weights(trained: Path, tmp_path: Path, base: Path) -> None:
    again = open_catalog(tmp_path / "again")
    train_adapter(again, job("a"), base=str(base), bottleneck_size=4)
    assert weights(again, "a") == weights(open_catalog(trained), "a")
    train_adapter(again, job("a", seed=1), base=str(base), bottleneck_size=4)
    assert weights(again, "a@2") != weights(again, "a@1")


def test_a_killed_run_goes_on_to_the_weights_of_an_unbroken_one(
    tmp_path: Path, base: Path, empty_catalog: Catalog, started: Started
) -> None:
    train_adapter(empty_catalog, job("a", epochs=4), base=str(base))

    broken = open_catalog(tmp_path / "broken")
    done = subprocess.run(
        [str(started.program), "-c", KILLED, str(broken.home), str(base)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert published(broken) == []
    (run,) = (path for path in (broken.home / "runs").iterdir() if path.is_dir())
    assert len(list(run.rglob("checkpoint-*"))) == 2
    # What a checkpoint looks like that the kill hit half-way.
    (run / "checkpoints" / "checkpoint-9999").mkdir()
    (run / "checkpoints" / "checkpoint-9999" / "model.safetensors").write_bytes(b"half")

    version = train_adapter(broken, job("a", epochs=4), base=str(base))
    assert published(broken) == ["a@1"]
    assert weights(broken, "a") == weights(empty_catalog, "a")
    expected = empty_catalog.resolve(AdapterRef.parse("a"))
    assert version.metrics == expected.metrics
    assert [path for path in (broken.home / "runs").iterdir() if path.is_dir()] == []


def test_nothing_is_published_when_the_disk_is_full(
    tmp_path: Path, base: Path, empty_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_checkpoint", fail)
        with pytest.raises(StorageError, match="No space left on device"):
            train_adapter(empty_catalog, job("a"), base=str(base))
    assert published(empty_catalog) == []
    train_adapter(empty_catalog, job("a"), base=str(base))
    assert published(empty_catalog) == ["a@1"]


def test_the_folder_of_a_run_is_removed_at_its_end(catalog: Catalog) -> None:
    assert [path for path in (catalog.home / "runs").iterdir() if path.is_dir()] == []


def test_more_processes_than_rows_of_a_batch_are_refused_before_anything_is_loaded(
    empty_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "9")
    with pytest.raises(TrainingError, match="batch of 8 rows is shared by 9 processes"):
        train_adapter(empty_catalog, job("a"), base="nowhere")
    assert published(empty_catalog) == []


def test_one_label_is_refused_before_anything_is_loaded(empty_catalog: Catalog) -> None:
    data = LabelledText("one.csv", ["a", "b"], ["x", "x"])
    with pytest.raises(LabelError, match="only the label 'x'"):
        train_adapter(empty_catalog, with_data(job("a"), data), base="does/not-exist")


def with_data(made: Job, data: LabelledText, validation: LabelledText | None = None) -> Job:
    return replace(made, data=data, validation=validation)


def test_validation_rows_can_be_given(empty_catalog: Catalog, base: Path) -> None:
    validation = labelled_text(8, "held-out.csv")
    version = train_adapter(
        empty_catalog, with_data(job("a"), labelled_text(), validation), base=str(base)
    )
    manifest = empty_catalog.manifest(version)
    assert {metric.dataset for metric in manifest.metrics} == {validation.dataset}
    assert manifest.training is not None
    assert manifest.training.examples == 24
    unknown = LabelledText("held-out.csv", ["a"], ["neutral"])
    with pytest.raises(LabelError, match=r"held-out\.csv has the label 'neutral'"):
        train_adapter(empty_catalog, with_data(job("b"), labelled_text(), unknown), base=str(base))
    assert published(empty_catalog) == ["a@1"]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["a"], CompositionError, "Fuse needs at least two adapters, found 1"),
        (["a", "a"], CompositionError, "a@1 is given twice"),
        (["a", "b", "a@1"], CompositionError, "a@1 is given twice"),
        (["a", "nobody"], RefNotFoundError, "nobody"),
    ],
)
def test_what_cannot_be_fused_is_refused(
    names: list[str], error: type[Exception], message: str, catalog: Catalog
) -> None:
    before = published(catalog)
    with pytest.raises(error, match=message):
        train_fusion(catalog, job("new"), refs=refs(*names))
    assert published(catalog) == before


def test_adapters_of_different_bases_are_not_fused(catalog: Catalog, tmp_path: Path) -> None:
    other = base_folder(tmp_path / "other", seed=1)
    train_adapter(catalog, job("other", epochs=1), base=str(other))
    with pytest.raises(BaseModelMismatchError) as caught:
        train_fusion(catalog, job("new"), refs=refs("a", "other"))
    message = str(caught.value)
    assert "a@1 and other@1 belong to different base models" in message
    assert str(other) in message


def test_a_base_that_has_changed_since_is_noticed_before_training(
    tmp_path: Path, base: Path, empty_catalog: Catalog
) -> None:
    moved = Path(shutil.copytree(base, tmp_path / "moved"))
    for name in ("a", "b"):
        train_adapter(empty_catalog, job(name, epochs=1), base=str(moved))
    base_folder(moved, seed=5)
    with pytest.raises(
        BaseModelMismatchError, match=r"a@1 was trained on .*differs in the weights"
    ):
        train_fusion(empty_catalog, job("new"), refs=refs("a", "b"))
