from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from datasets import Dataset, Features, Image, Value
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ImageClassificationPipeline,
    ViTImageProcessorPil,
)

import hubkit
from hubkit.bases.tokenization import image_processor_digest
from hubkit.cli import main
from hubkit.measuring.measure import evaluate
from hubkit.tasks.images.image_classification import IMAGE_CLASSIFICATION as TASK
from hubkit.tasks.images.picture import picture
from hubkit.tasks.task import HeadPlan
from hubkit.training.data import read_inputs, read_rows
from hubkit.training.train import train_adapter
from registry import Catalog
from registry.errors import BaseModelMismatchError, BaseModelNotFoundError, DataError
from tests.support.models import tiny_model
from tests.support.predicting import predict
from tests.support.whole_way import job, train_all

pillow = pytest.importorskip("PIL.Image")

ONE = HeadPlan(3, ("bird", "cat", "dog"), "single_label_classification")
SEVERAL = HeadPlan(3, ("bird", "cat", "dog"), "multi_label_classification")


def image(seed: int, *, bright: bool = False) -> Any:
    """An image of 9 x 7 pixels, in colours between black and grey, or grey and white."""
    draw = np.random.default_rng(seed)
    return pillow.fromarray(draw.integers(128 * bright, 128 + 128 * bright, (7, 9, 3), np.uint8))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tiny ViT, with its image processor."""
    folder = tmp_path / "base"
    tiny_model("vit").save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A table of twelve images: half of them are bright."""
    folder = tmp_path / "data"
    (folder / "pictures").mkdir(parents=True)
    lines = ["image,label"]
    for number in range(12):
        bright = number % 2 == 1
        image(number, bright=bright).save(folder / "pictures" / f"{number}.png")
        lines.append(f"pictures/{number}.png,{'day' if bright else 'night'}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


@pytest.mark.parametrize("plan", [ONE, SEVERAL])
def test_scores_are_those_of_the_pipeline_of_transformers(base: Path, plan: HeadPlan) -> None:
    model = tiny_model("vit", AutoModelForImageClassification, **plan.config())
    processor = AutoImageProcessor.from_pretrained(base)
    pipeline = ImageClassificationPipeline(model=model, image_processor=processor, device="cpu")
    images = [image(seed, bright=seed % 2 > 0) for seed in range(4)]
    for one, found in zip(images, predict(TASK, model, processor, plan, images), strict=True):
        answers = pipeline(one)
        expected = {answer["label"]: answer["score"] for answer in answers}
        assert found.scores == pytest.approx(expected, abs=1e-5)
        if plan is ONE:
            assert found.label == answers[0]["label"]


def test_paths_are_relative_to_the_table(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = read_rows(TASK, source)
    assert rows["image"][3].path == str(source.parent / "pictures" / "3.png")
    assert rows["image"][3].content is None
    (items,) = read_inputs(TASK, source)
    assert items[3]["image"] == rows["image"][3].path


def test_data_are_known_by_what_the_images_show_and_not_by_where_they_are(
    source: Path, tmp_path: Path
) -> None:
    rows = read_rows(TASK, source)
    shutil.copytree(source.parent, tmp_path / "copy")
    assert read_rows(TASK, tmp_path / "copy" / "table.csv").sha256 == rows.sha256
    image(99).save(source.parent / "pictures" / "3.png")
    assert read_rows(TASK, source).sha256 != rows.sha256


def test_an_image_column_of_datasets_is_read(source: Path) -> None:
    rows = read_rows(TASK, source)
    paths, labels = [one.path for one in rows["image"]], list(rows["label"])
    features = Features({"image": Image(), "label": Value("string")})
    embedded = [{"bytes": Path(path).read_bytes(), "path": None} for path in paths]
    for images in (paths, embedded):
        dataset = Dataset.from_dict({"image": images, "label": labels}, features=features)
        assert read_rows(TASK, dataset).sha256 == rows.sha256


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        (b"", "it is no image that Pillow knows"),
        (b"GIF89a, or what looks like it", "that can be read"),
        ("half", "that can be read"),
    ],
)
def test_an_image_that_cannot_be_read_is_told_with_its_line(
    source: Path, content: Any, problem: str
) -> None:
    path = source.parent / "pictures" / "3.png"
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(DataError, match=rf"table.csv, line 5: expected the path.*{problem}"):
        read_rows(TASK, source)


def test_an_image_of_pillow_lies_as_its_file_does(tmp_path: Path) -> None:
    path, lies = tmp_path / "turned.jpg", pillow.Exif()
    lies[0x0112] = 6  # turned by a quarter, as a phone writes it
    image(0).save(path, exif=lies)
    found = picture(pillow.open(path)).open()
    assert found.size == (7, 9)
    assert found.tobytes() == picture(str(path)).open().tobytes()


def test_a_file_that_changes_after_it_was_checked_is_refused(tmp_path: Path) -> None:
    image(1).save(tmp_path / "a.png")
    found = picture(str(tmp_path / "a.png"))
    assert found.open().tobytes() == image(1).tobytes()
    image(2).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="has changed since it was checked"):
        found.open()
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="cannot be read: No such file"):
        found.open()


def test_without_pillow_one_sentence_says_what_to_install(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DataError, match=r"pip install 'hubkit\[images\]'"):
        read_rows(TASK, source)


@pytest.mark.parametrize("value", [3, "", None, ["a.png"]])
def test_what_is_no_image_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="as its image; expected the path of an image"):
        TASK.given([value])


def test_the_whole_way(catalog: Catalog, base: Path, source: Path) -> None:
    rows = read_rows(TASK, source)
    images = [image(seed, bright=seed % 2 > 0) for seed in range(5)]
    digest = image_processor_digest(AutoImageProcessor.from_pretrained(base))
    for version in train_all(catalog, "image-classification", rows, base):
        manifest = catalog.manifest(version)
        assert (manifest.labels, manifest.outputs) == (("day", "night"), 2)
        assert manifest.base_model.tokenizer_digest == digest
        model = hubkit.load(version.ref, catalog=catalog)
        assert type(model.model).__name__ == "ViTForImageClassification"
        alone = [model.predict([one])[0] for one in images]
        for one, other in zip(model.predict(images, batch_size=2), alone, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=1e-5)
        if version.kind in ("adapter", "fusion"):
            known = {metric.name: metric.value for metric in manifest.metrics}
            known.pop("loss")
            assert evaluate(model, rows) == pytest.approx(known, abs=1e-6)


def test_another_image_processor_is_another_base_model(
    catalog: Catalog, base: Path, source: Path
) -> None:
    train_adapter(catalog, job("image-classification", read_rows(TASK, source)), base=str(base))
    ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[0.1] * 3).save_pretrained(base)
    with pytest.raises(BaseModelMismatchError, match="the image processor"):
        hubkit.load("a", catalog=catalog)


def test_a_base_without_an_image_processor_is_told(
    catalog: Catalog, base: Path, source: Path
) -> None:
    (base / "preprocessor_config.json").unlink()
    with pytest.raises(BaseModelNotFoundError, match="has no image processor"):
        train_adapter(catalog, job("image-classification", read_rows(TASK, source)), base=str(base))


def test_the_command_line_trains_and_predicts(base: Path, source: Path) -> None:
    arguments = ["train", source, "--base", base, "--task-type", "image-classification"]
    arguments += ["--epochs", 12, "--learning-rate", 0.03, "--task", "light", "--name", "light"]
    arguments += ["--validation", source]
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["predict", "light", "--file", str(source), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [row["label"] for row in found] == ["night", "day"] * 6
    assert found[3]["image"].endswith("3.png")
