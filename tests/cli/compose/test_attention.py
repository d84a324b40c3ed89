import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import hubkit
from registry import AdapterRef, Catalog

Run = Callable[..., Result]
TEXTS = ("the film was good", "a dull plot")


@pytest.fixture
def fused(run: Run, trained: Catalog, data: Path) -> Catalog:
    """The registry with a fusion `both`, too."""
    run("fuse", "film", "book", "--data", data, "--name", "both", "--epochs", 1)
    return trained


def test_prints_what_the_library_gives(run: Run, fused: Catalog, tmp_path: Path) -> None:
    expected = hubkit.load("both").attention(TEXTS)
    found = json.loads(run("attention", "both", *TEXTS, "--json").stdout)
    assert found["ref"] == "both@1"
    assert {one["site"]: one["weights"] for one in found["sites"]} == expected
    for one in found["sites"]:
        assert f"encoder.layer.{one['layer']}.{one['place']}" == one["site"]
        assert sum(one["weights"].values()) == pytest.approx(1)
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(TEXTS))
    picture = tmp_path / "attention.png"
    rows = run("attention", "both", "--file", lines, "--heat-map", picture).stdout.splitlines()
    columns, first = rows[0].split("\t"), rows[1].split("\t")
    assert columns == ["layer", "place", *found["adapters"]]
    site = f"encoder.layer.{first[0]}.{first[1]}"
    assert [float(weight) for weight in first[2:]] == pytest.approx(
        [expected[site][name] for name in columns[2:]], abs=6e-4
    )
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_adapter_attends_to_nothing(run: Run, trained: Catalog) -> None:
    result = run("attention", "film", "good", status=1)
    assert "only a fusion pays attention" in result.stderr


def test_prune_publishes_a_fusion_of_the_most_attended(run: Run, fused: Catalog) -> None:
    attention = hubkit.load("both").attention(TEXTS)
    assert run("prune", "both", *TEXTS, "--keep", 1, "--name", "one").stdout == "one@1\n"
    version = fused.resolve(AdapterRef.parse("one"))
    assert version.kind == "fusion"
    assert [parent.ref for parent in fused.lineage(version).parents] == ["film@1", "book@1"]
    pruned = hubkit.load("one")
    assert pruned.attention(TEXTS) == {
        site: {max(weights, key=lambda name: weights[name]): 1.0}
        for site, weights in attention.items()
    }
    assert pruned.labels == hubkit.load("both").labels


def test_only_a_fusion_is_pruned(run: Run, trained: Catalog) -> None:
    result = run("prune", "film", "good", "--keep", 1, "--name", "one", status=1)
    assert "only a fusion can be pruned" in result.stderr
    assert run("prune", "film", "good", "--keep", 0, "--name", "one", status=2).stdout == ""
