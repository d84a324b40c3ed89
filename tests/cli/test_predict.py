import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import hubkit
from registry import AdapterRef, Catalog

Run = Callable[..., Result]


def test_prints_label_score_and_text(run: Run, trained: Catalog) -> None:
    texts = ["the film was good", "a dull plot"]
    expected = hubkit.load("film").predict(texts)
    lines = run("predict", "film", *texts).stdout.splitlines()
    assert [line.split("\t") for line in lines] == [
        [found.label, f"{found.score:.4f}", text]
        for text, found in zip(texts, expected, strict=True)
    ]


def test_is_quiet_on_stderr_in_a_pipe(run: Run, trained: Catalog) -> None:
    assert run("predict", "film", "good").stderr == ""


def test_json_has_all_scores(run: Run, trained: Catalog) -> None:
    (found,) = json.loads(run("predict", "film", "good", "--json").stdout)
    assert list(found) == ["text", "label", "score", "scores"]
    assert set(found["scores"]) == {"negative", "positive"}
    assert sum(found["scores"].values()) == pytest.approx(1)
    assert found["score"] == found["scores"][found["label"]] == max(found["scores"].values())


@pytest.mark.parametrize("arguments", [("-",), ("--file", "-")])
def test_reads_standard_input(run: Run, trained: Catalog, arguments: tuple[str, ...]) -> None:
    result = run("predict", "film", *arguments, text="good\n\n  bad  \n")
    assert [line.split("\t")[2] for line in result.stdout.splitlines()] == ["good", "bad"]


def test_reads_a_file(run: Run, trained: Catalog, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("good\nbäd\n")
    result = run("predict", "film", "--file", tmp_path / "lines.txt", "--batch-size", 1)
    assert [line.split("\t")[2] for line in result.stdout.splitlines()] == ["good", "bäd"]


def test_a_text_with_line_breaks_stays_on_its_line(run: Run, trained: Catalog) -> None:
    result = run("predict", "film", "good\tand\nbad \x1b[31m")
    assert result.stdout.count("\n") == 1
    assert result.stdout.endswith("\tgood and bad  [31m\n")


def test_base_model_that_moved(run: Run, trained: Catalog, base: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.symlink_to(base)
    assert run("predict", "film", "good", "--base", moved).stdout.count("\n") == 1


def test_wrong_base_model(run: Run, trained: Catalog, other_base: Path) -> None:
    result = run("predict", "film", "good", "--base", other_base, status=1)
    assert result.stderr.startswith("Error: film@1 was trained on ")
    assert str(other_base) in result.stderr


def test_missing_base_model(run: Run, trained: Catalog, tmp_path: Path) -> None:
    result = run("predict", "film", "good", "--base", tmp_path / "absent", status=1)
    assert f"The base model {str(tmp_path / 'absent')!r} cannot be loaded" in result.stderr


def test_unknown_adapter_has_near_matches(run: Run, trained: Catalog) -> None:
    result = run("predict", "flim", "good", status=1)
    assert result.stderr == "Error: No adapter is called flim. Did you mean film?\n"


def test_corrupted_blob(run: Run, trained: Catalog) -> None:
    version = trained.resolve(AdapterRef.parse("film"))
    weights = trained.manifest(version).files["model_head.safetensors"]
    (blob,) = (path for path in trained.home.glob("blobs/**/*") if weights.sha256 in path.name)
    blob.chmod(0o600)
    blob.write_bytes(bytes(weights.size))
    result = run("predict", "film", "good", status=1)
    assert result.stderr.startswith("Error: film@1: model_head.safetensors")


@pytest.mark.parametrize("arguments", [(), ("good", "--file", "-")])
def test_texts_come_from_one_place(run: Run, arguments: tuple[str, ...]) -> None:
    result = run("predict", "film", *arguments, text="bad", status=2)
    assert "Give the texts as arguments, or with --file" in result.stderr


def test_file_without_text(run: Run) -> None:
    result = run("predict", "film", "-", text=" \n", status=1)
    assert result.stderr == "Error: <stdin> holds no text: expected one on each line.\n"


def test_file_that_is_not_utf8(run: Run, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("bäd\n".encode("latin-1"))
    result = run("predict", "film", "--file", tmp_path / "latin.txt", status=1)
    assert f"Error: {tmp_path / 'latin.txt'} is not UTF-8 text" in result.stderr
