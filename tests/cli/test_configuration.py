from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from registry import AdapterRef, Version, open_catalog

Run = Callable[..., Result]


def published(ref: str, home: Path | None = None) -> tuple[Version, dict[str, str], str]:
    """A version, the digests of its weights, and the file that repeats it."""
    catalog = open_catalog(home)
    version = catalog.resolve(AdapterRef.parse(ref))
    manifest = catalog.manifest(version)
    weights = {
        name: info.sha256 for name, info in manifest.files.items() if name.endswith("safetensors")
    }
    return version, weights, (catalog.folder(version) / "train.yaml").read_text()


def test_a_version_holds_the_file_that_repeats_it(
    run: Run, base: Path, data: Path, tmp_path: Path
) -> None:
    run(
        *("train", data, "--base", base, "--task", "sentiment", "--name", "film", "--epochs", 1),
        *("--class-weights", "positive=2", "--warmup", 0.1, "--learning-rate", 3e-3),
        *("--bottleneck-size", 4, "--column", "text=text", "--tag", "small", "--seed", 0),
        *("--validation", "0.25", "--gradient-checkpointing"),
    )
    first, weights, text = published("film@1")
    assert yaml.safe_load(text)["class_weights"] == {"positive": 2.0}
    (tmp_path / "train.yaml").write_text(text)
    elsewhere = tmp_path / "elsewhere"
    run("train", "--config", tmp_path / "train.yaml", HUBKIT_HOME=str(elsewhere))
    second, again, same = published("film@1", elsewhere)
    assert (again, second.metrics, same) == (weights, first.metrics, text)
    run("train", "--config", tmp_path / "train.yaml", "--name", "other", "--seed", 1)
    _, different, changed = published("other@1")
    assert different != weights
    assert yaml.safe_load(changed) == {**yaml.safe_load(text), "name": "other", "seed": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "epochs: 2\nlerning_rate: 0.1",
            "line 2: there is no setting 'lerning_rate'. Did you mean",
        ),
        ("epochs: 2.5", "line 1: epochs: '2.5' is not a valid integer range"),
        ("epochs: 2\nepochs: 3", "line 2: 'epochs' is there twice"),
        ("epochs: 2\nschedule: steep", "line 2: schedule: 'steep' is not one of"),
        ("epochs:\n  a: {b: c}", "line 2: expected a value"),
        ("epochs: [", "line 1: this is not YAML"),
        ("- epochs", "expected settings, each as NAME: VALUE"),
    ],
)
def test_what_a_file_cannot_say_is_told_with_its_line(
    text: str, message: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "train.yaml").write_text(text)
    refused = run("train", "--config", tmp_path / "train.yaml", status=2).stderr
    assert message in refused


def test_a_file_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    refused = run("train", "--config", tmp_path / "none.yaml", status=2).stderr
    assert "cannot be read: No such file" in refused


def test_a_fusion_is_repeated_over_the_same_versions(
    run: Run, base: Path, data: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        how = ("--base", base, "--task", "sentiment", "--epochs", 1)
        run("train", data, "--name", name, *how, "--seed", len(name) + ord(name[0]))
    run("fuse", "one", "two", "--data", data, "--name", "both", "--epochs", 1)
    first, _, text = published("both@1")
    assert yaml.safe_load(text)["refs"] == ["one@1", "two@1"]
    (tmp_path / "train.yaml").write_text(text)
    run("fuse", "--config", tmp_path / "train.yaml", "--name", "again")
    again, _, same = published("again@1")
    assert (again.metrics, same) == (first.metrics, text.replace("name: both", "name: again"))
