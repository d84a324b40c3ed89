from collections.abc import Callable
from typing import Any

import pytest
import torch
from click.testing import Result

import hubkit
from registry import AdapterRef, Catalog, open_catalog

Run = Callable[..., Result]
TEXTS = ["the film was good", "a dull plot"]


@pytest.fixture
def films(run: Run, trained: Catalog) -> Catalog:
    """`film` and `plot`, two versions of one adapter's shape."""
    run("average", "film", "--weight", "-1", "--name", "plot")
    return trained


def test_it_is_an_adapter_that_names_what_it_came_from(run: Run, films: Catalog) -> None:
    run("average", "film", "plot", "--weight", 1, "--weight", 0, "--align", "--name", "one")
    version = films.resolve(AdapterRef.parse("one"))
    manifest = films.manifest(version)
    assert (version.kind, version.method, version.task) == ("adapter", "seq_bn", "sentiment")
    assert [parent.ref for parent in films.lineage(version).parents] == ["film@1", "plot@1"]
    assert manifest.description == "The average of 1 film@1, 0 plot@1, aligned."
    torch.testing.assert_close(hubkit.load("one").logits(TEXTS), hubkit.load("film").logits(TEXTS))


def test_it_is_loaded_without_what_it_came_from(
    run: Run, films: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("average", "film", "plot", "--name", "one")

    def fail(*_: Any) -> None:
        raise AssertionError("an average needs no parents")

    monkeypatch.setattr(Catalog, "parents", fail)
    hubkit.load_composition("one")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("film", "book"), "film and book do not average to one adapter: the method is seq_bn"),
        (("film", "both"), "both@1 is of the kind 'mix'; only adapters are averaged."),
        (("film", "film@1"), "film@1 is given twice"),
        (("film", "foreign"), "belong to different base models"),
        (("film", "plot", "--weight", 1), "Each part has a weight: expected 2, found 1"),
    ],
)
def test_what_does_not_average_publishes_nothing(
    run: Run, films: Catalog, arguments: tuple[object, ...], message: str
) -> None:
    run("mix", "film", "book", "--name", "both")
    result = run("average", *arguments, "--name", "one", status=1)
    assert message in result.stderr
    with pytest.raises(hubkit.HubkitError):
        open_catalog().resolve(AdapterRef.parse("one"))
