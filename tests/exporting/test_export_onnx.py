"""What stands in an exported folder is run with onnxruntime and `tokenizers` alone."""

from __future__ import annotations

import builtins
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    ViTImageProcessorPil,
)

import hubkit
from hubkit.composing.combine import publish_mix, publish_stack
from hubkit.exporting.export_onnx import export_onnx
from hubkit.exporting.trial import TOLERANCE
from hubkit.sharing.publish_folder import publish_folder
from hubkit.tasks.rows import Rows
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog, open_catalog
from registry.errors import (
    CompositionError,
    ConflictError,
    EarlierExportError,
    ExportError,
    UnsupportedModelError,
)
from tests.support.data import TEXTS
from tests.support.language import language_base, pairs, texts
from tests.support.learned import publish_learned
from tests.support.models import base_folder, randomize, tiny_model
from tests.support.whole_way import job

pytest_plugins = ("tests.support.published",)

WORDS = [["the", "film", "was", "good"], ["a", "dull", "plot"]]
CASES: dict[str, dict[str, Any]] = {
    "text-classification": {
        "text": ["the film was good", "bad plot"] * 4,
        "label": ["yes", "no"] * 4,
    },
    "text-regression": {"text": ["the film was good", "bad plot"] * 4, "score": [0.0, 1.0] * 4},
    "token-classification": {"tokens": WORDS * 4, "tags": [["O", "B-X", "O", "O"], ["O"] * 3] * 4},
    "question-answering": {
        "question": ["was the film good", "a plot"] * 4,
        "context": ["the film was very good", "a dull plot was not good"] * 4,
        "answers": [
            {"text": ["good"], "answer_start": [18]},
            {"text": ["dull"], "answer_start": [2]},
        ]
        * 4,
    },
    "multiple-choice": {
        "prompt": ["the film", "a plot was"] * 4,
        "choices": [["good", "bad ball"], ["dull", "very great", "good"]] * 4,
        "label": [0, 1] * 4,
    },
    "ranking": {
        "query": ["film", "plot", "ball", "good"],
        "candidates": [["the film", "a plot was"]] * 4,
        "relevance": [[1.0, 0.0], [0.0, 1.0]] * 2,
    },
    "feature-extraction": {
        "text": ["the film", "a plot"] * 4,
        "text_pair": ["film was good", "bad"] * 4,
    },
    "fill-mask": {"text": list(texts()["text"])},
}
# A graph takes seconds to make, most of them for its layers.
ONE_LAYER = {"num_hidden_layers": 1}
# These stand for one number a token, and embeddings. The classifier whose folder has labels,
# below, stands for one number a row.
QUICK = ("question-answering", "feature-extraction")
OUTPUTS = {
    "question-answering": ("start_logits", "end_logits"),
    "feature-extraction": ("embeddings",),
}


def base_for(folder: Path, task_type: str) -> Path:
    if task_type == "fill-mask":
        return language_base(folder, "bert", AutoModelForMaskedLM, **ONE_LAYER)
    return base_folder(folder, **ONE_LAYER)


def served(folder: Path, rows: Sequence[Any]) -> dict[str, np.ndarray]:
    """The outputs for texts or pairs of texts, by name."""
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    about = json.loads((folder / "serving.json").read_text())
    encoded = words.encode_batch(list(rows))
    values = {
        "input_ids": np.array([one.ids for one in encoded]),
        "attention_mask": np.array([one.attention_mask for one in encoded]),
    }
    found = session.run(about["outputs"], {name: values[name] for name in about["inputs"]})
    return dict(zip(about["outputs"], found, strict=True))


@pytest.mark.parametrize(
    "task_type",
    [task if task in QUICK else pytest.param(task, marks=pytest.mark.torture) for task in CASES],
)
def test_every_task_type_of_one_pass_computes_the_same(
    tmp_path: Path, empty_catalog: Catalog, task_type: str
) -> None:
    rows = Rows("rows.csv", CASES[task_type])
    base = base_for(tmp_path / "base", task_type)
    version = train_adapter(
        empty_catalog, job(task_type, rows, epochs=1), base=str(base), bottleneck_size=4
    )
    folder = tmp_path / "out"
    done = export_onnx(version.ref, folder, catalog=empty_catalog)
    assert done.outputs == OUTPUTS.get(task_type, ("logits",))
    assert done.difference <= TOLERANCE
    model = hubkit.load(version.ref, catalog=empty_catalog)
    given = {
        "question-answering": [*zip(rows["question"], rows["context"], strict=True)]
        if "question" in rows
        else [],
        "multiple-choice": [("the film", "good"), ("the film", "bad ball")],
        "ranking": [("film", "the film"), ("film", "a plot was")],
    }.get(task_type, ["the film was good", "bad", "a very dull plot"])
    found = list(served(folder, given).values())
    encoded = model.processor(
        *(([*map(list, zip(*given, strict=True))]) if isinstance(given[0], tuple) else [given]),
        padding=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        if task_type == "multiple-choice":
            expected = [model.logits([{"prompt": "the film", "choices": ["good", "bad ball"]}]).T]
        elif task_type == "feature-extraction":
            expected = [torch.tensor([one.embedding for one in model.predict(given)])]
        else:
            output = model.model(**{name: encoded[name] for name in done.inputs})
            expected = [output[name] for name in done.outputs]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=1e-4)


def test_a_fusion_is_in_its_folded_form(trained_catalog: Catalog, tmp_path: Path) -> None:
    done = hubkit.export_onnx("both", tmp_path / "out", catalog=trained_catalog)
    logits = served(done.folder, TEXTS)["logits"]
    model = hubkit.load("both", catalog=trained_catalog)
    np.testing.assert_allclose(logits, model.logits(TEXTS).numpy(), rtol=0, atol=1e-4)
    names = [one.name for one in onnx.load(done.folder / "model.onnx").graph.initializer]
    assert any("bert" in name for name in names)
    assert not any(part in name for name in names for part in ("layer.query", "layer.key"))


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that was written of the adapter a."""
    folder = tmp_path_factory.mktemp("exported") / "new" / "a"
    return hubkit.export_onnx("a", folder, catalog=open_catalog(trained)).folder


@pytest.fixture
def graph_of_a(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this one's graph for that of any model: to trace one takes seconds."""
    monkeypatch.setattr(
        "hubkit.exporting.export_onnx.write_graph",
        lambda _graph, _inputs, path: shutil.copy(exported / path.name, path),
    )


def test_a_folder_has_labels_and_how_texts_are_cut(
    exported: Path, trained_catalog: Catalog
) -> None:
    config = json.loads((exported / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    about = json.loads((exported / "serving.json").read_text())
    assert about["labels"] == ["negative", "positive"]
    assert about["ref"] == "a@1"
    assert about["text"]["max_length"] == 16
    long = "good " * 100
    model = hubkit.load("a", catalog=trained_catalog)
    np.testing.assert_allclose(
        served(exported, [long])["logits"], model.logits([long]).numpy(), rtol=0, atol=1e-4
    )


@pytest.fixture
def random_adapters(tmp_path: Path, empty_catalog: Catalog, base: Path) -> Catalog:
    """A catalog with an adapter of each kind, all weights random: inv, low, double."""
    kinds = {"inv": "seq_bn_inv", "low": "lora", "double": "double_seq_bn"}
    for seed, (name, method) in enumerate(kinds.items()):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        hubkit.insert_adapter(model, name, method=method)
        trained = [one for one in model.parameters() if one.requires_grad]
        randomize(torch.nn.ParameterList(trained), seed)
        hubkit.save_adapter(model, name, tmp_path / name)
        publish_folder(empty_catalog, tmp_path / name, AdapterRef.parse(name), task="same")
    return empty_catalog


@pytest.mark.parametrize("name", ["stacked", pytest.param("mixed", marks=pytest.mark.torture)])
def test_stacks_with_an_invertible_part_and_mixes_compute_the_same(
    tmp_path: Path, random_adapters: Catalog, name: str
) -> None:
    learned = publish_learned(random_adapters, "learned", ("low", "double"), vectors=True)
    inv, double, low = (AdapterRef.parse(name) for name in ("inv", "double", "low"))
    publish_stack(random_adapters, AdapterRef.parse("stacked"), [inv, learned.ref])
    publish_mix(random_adapters, AdapterRef.parse("mixed"), [double, low], weights=[0.3, 0.7])
    done = export_onnx(name, tmp_path / "out", catalog=random_adapters)
    expected = hubkit.load(name, catalog=random_adapters).logits(TEXTS)
    found = served(done.folder, TEXTS)["logits"]
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
@pytest.mark.parametrize(
    "method", ["PREFIX_TUNING", pytest.param("IA3", marks=pytest.mark.torture)]
)
def test_methods_that_run_through_peft_compute_the_same(
    tmp_path: Path, empty_catalog: Catalog, base: Path, method: str
) -> None:
    peft = pytest.importorskip("peft")
    settings: dict[str, Any] = {"task_type": "SEQ_CLS", "base_model_name_or_path": str(base)}
    made = {
        "IA3": lambda: peft.IA3Config(
            target_modules=["key", "value", "output.dense"],
            feedforward_modules=["output.dense"],
            **settings,
        ),
        "PREFIX_TUNING": lambda: peft.PrefixTuningConfig(num_virtual_tokens=3, **settings),
    }[method]()
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    model = peft.get_peft_model(model, made)
    trained = [one for one in model.parameters() if one.requires_grad]
    randomize(torch.nn.ParameterList(trained), 1)
    model.save_pretrained(tmp_path / "peft")
    publish_folder(
        empty_catalog,
        tmp_path / "peft",
        AdapterRef.parse("other"),
        task="same",
        base=str(base),
        labels=["no", "yes"],
    )
    done = export_onnx("other", tmp_path / "out", catalog=empty_catalog)
    expected = hubkit.load("other", catalog=empty_catalog).logits(TEXTS)
    found = served(done.folder, TEXTS)["logits"]
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)


def test_images_are_served_too(tmp_path: Path, empty_catalog: Catalog) -> None:
    pillow = pytest.importorskip("PIL.Image")
    tiny_model("vit", **ONE_LAYER).save_pretrained(tmp_path / "base")
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "base")
    draw = np.random.default_rng(0)
    images = [pillow.fromarray(draw.integers(0, 256, (7, 9, 3), np.uint8)) for _ in range(6)]
    task = hubkit.tasks.table.TASK_TYPES["image-classification"]
    given = task.given(images)
    rows = Rows("images", {"image": given["image"], "label": ["cat", "dog"] * 3})
    version = train_adapter(
        empty_catalog,
        job("image-classification", rows, epochs=1),
        base=str(tmp_path / "base"),
        bottleneck_size=4,
    )
    done = export_onnx(version.ref, tmp_path / "out", catalog=empty_catalog)
    model = hubkit.load(version.ref, catalog=empty_catalog)
    pixels = model.processor(images=images, return_tensors="np")["pixel_values"]
    session = onnxruntime.InferenceSession(done.folder / "model.onnx")
    (logits,) = session.run(["logits"], {"pixel_values": pixels})
    np.testing.assert_allclose(logits, model.logits(images).numpy(), rtol=0, atol=1e-4)
    assert (done.folder / "preprocessor_config.json").exists()


def test_a_task_type_that_writes_texts_is_refused(tmp_path: Path, empty_catalog: Catalog) -> None:
    base = language_base(tmp_path / "base", "marian", AutoModelForSeq2SeqLM)
    made = job("translation", pairs(), epochs=1)
    version = train_adapter(empty_catalog, made, base=str(base), method="lora", rank=2)
    with pytest.raises(UnsupportedModelError, match="a token at a time"):
        export_onnx(version.ref, tmp_path / "out", catalog=empty_catalog)
    assert not (tmp_path / "out").exists()


def test_a_model_whose_rows_choose_is_refused(
    trained_catalog: Catalog, tmp_path: Path, base: Path
) -> None:
    adapted = hubkit.load("a", catalog=trained_catalog)
    parts = [hubkit.load_composition(name, catalog=trained_catalog) for name in ("a", "b")]
    adapted.model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    hubkit.attach(adapted.model, hubkit.Parallel(*parts))
    with pytest.raises(CompositionError, match="rows choose what computes them"):
        export_onnx(adapted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_half_precision_that_was_asked_for_is_refused(
    trained_catalog: Catalog, tmp_path: Path
) -> None:
    model = hubkit.load("a", catalog=trained_catalog, dtype="bfloat16")
    with pytest.raises(ExportError, match="loaded in bfloat16 on cpu"):
        export_onnx(model, tmp_path / "out")


@pytest.mark.usefixtures("graph_of_a")
def test_nothing_stays_of_a_graph_that_computes_something_else(
    trained_catalog: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="computes other outputs than the model"):
        export_onnx("b", tmp_path / "new" / "out", catalog=trained_catalog)
    assert [*(tmp_path / "new").iterdir()] == []


def test_an_export_leaves_nothing_beside_its_folder(exported: Path) -> None:
    assert [*exported.parent.iterdir()] == [exported]


@pytest.mark.usefixtures("graph_of_a")
def test_only_an_earlier_export_is_replaced(
    exported: Path, trained_catalog: Catalog, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    for replace in (False, True):
        with pytest.raises(ConflictError, match=r"holds 'thesis.txt', which no export wrote"):
            export_onnx("a", folder, replace=replace, catalog=trained_catalog)
    shutil.rmtree(folder)
    shutil.copytree(exported, folder)
    for file in folder.iterdir():
        file.write_text("earlier")
    with pytest.raises(EarlierExportError, match="holds an earlier export"):
        export_onnx("a", folder, catalog=trained_catalog)
    assert {file.read_text() for file in folder.iterdir()} == {"earlier"}
    export_onnx("a", folder, replace=True, catalog=trained_catalog)
    for file in folder.iterdir():
        assert file.read_bytes() == (exported / file.name).read_bytes(), file.name
    assert {file.name for file in folder.iterdir()} == {file.name for file in exported.iterdir()}
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".tmp", ".old")]


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_onnxscript(name: str, *more: Any, **named: Any) -> Any:
        if name == "onnxscript":
            raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")
        return imported(name, *more, **named)

    imported = builtins.__import__
    monkeypatch.setattr("hubkit.exporting.graph.import_module", no_onnxscript)
    with pytest.raises(ExportError, match=r"onnxscript is not installed.*hubkit\[onnx\]"):
        export_onnx("a", tmp_path / "out")
