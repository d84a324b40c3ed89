from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from registry import Catalog


@pytest.mark.usefixtures("trained")
def test_a_graph_is_written_and_only_replaced_when_that_is_asked(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    shown = run("export-onnx", "film", folder).stdout
    assert shown.startswith(f"{folder}: input_ids, attention_mask -> logits\n")
    refused = run("export-onnx", "book", folder, status=1).stderr
    assert refused == f"Error: {folder} holds an earlier export. Take its place with --replace.\n"
    graph = (folder / "model.onnx").read_bytes()
    (folder / "serving.json").write_text("{}")
    monkeypatch.setattr(  # to trace the model again takes seconds
        "hubkit.exporting.export_onnx.write_graph",
        lambda _graph, _inputs, path: path.write_bytes(graph),
    )
    document = json.loads(run("export-onnx", "film", folder, "--replace", "--json").stdout)
    assert document["folder"] == str(folder)
    assert (document["inputs"], document["outputs"]) == (
        ["input_ids", "attention_mask"],
        ["logits"],
    )
    assert 0 <= document["difference"] <= 1e-4
    assert json.loads((folder / "serving.json").read_text())["ref"] == "film@1"


def test_what_is_not_there_leaves_no_folder(
    trained: Catalog, run: Callable[..., Result], tmp_path: Path
) -> None:
    refused = run("export-onnx", "flim", tmp_path / "out", status=1).stderr
    assert "flim" in refused
    assert not (tmp_path / "out").exists()
