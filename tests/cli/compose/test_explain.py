import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import hubkit
from hubkit.composing.combine import publish_stack
from registry import AdapterRef, Catalog

Run = Callable[..., Result]
TEXT = "the film was good"


@pytest.fixture
def fused(run: Run, trained: Catalog, data: Path) -> Catalog:
    """The registry with a fusion `both`, too."""
    run("fuse", "film", "book", "--data", data, "--name", "both", "--epochs", 1)
    return trained


def test_prints_what_the_library_gives_and_draws_it(
    run: Run, fused: Catalog, tmp_path: Path
) -> None:
    found = hubkit.load("both").explain(TEXT)
    printed = run("explain", "both", TEXT).stdout.splitlines()
    assert printed[0] == "word\tfilm\tbook"
    cells = [row.split("\t") for row in printed[1:]]
    assert [row[0] for row in cells] == ["[CLS]", "the", "film", "was", "good", "[SEP]"]
    for row, weights in zip(cells, found.mean().tolist(), strict=True):
        assert [float(cell) for cell in row[1:]] == pytest.approx(weights, abs=6e-4)
    by_layer = run("explain", "both", TEXT, "--by-layer", "--pieces").stdout.splitlines()
    assert by_layer[0] == "layer\ttoken\tfilm\tbook"
    one = run("explain", "both", TEXT, "--layer", 1, "--html", tmp_path / "a.html").stdout
    assert [f"1\t{line}" for line in one.splitlines()[1:]] == by_layer[7:]
    assert "Layer 1" in (tmp_path / "a.html").read_text()
    drawn = run("explain", "both", TEXT, "--json", "--png", tmp_path / "a.png")
    document = json.loads(drawn.stdout)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert document["adapters"] == ["film", "book"]
    assert [[*row.values()] for row in document["mean"]] == found.mean().tolist()
    assert [one["layer"] for one in document["layers"]] == [0, 1]
    assert "nothing in layer 7; it does in 0, 1" in (
        run("explain", "both", TEXT, "--layer", 7, status=1).stderr
    )
    run("explain", "both", TEXT, "--layer", 0, "--by-layer", status=2)
    publish_stack(
        fused, AdapterRef.parse("tower"), [AdapterRef.parse(name) for name in ("film", "both")]
    )
    assert run("explain", "tower", TEXT).stdout.splitlines()[0] == printed[0]


def test_what_is_no_fusion_is_told_what_is(run: Run, trained: Catalog) -> None:
    refused = run("explain", "film", TEXT, status=1).stderr
    assert "film@1 is of the kind 'adapter'; what can be explained is a fusion" in refused
