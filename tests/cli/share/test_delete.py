"""hubkit delete."""

import json
from collections.abc import Callable

from click.testing import Result

from registry import Version, open_catalog

Run = Callable[..., Result]
Publish = Callable[..., Version]


def test_delete_asks_first(run: Run, film: Version) -> None:
    result = run("delete", "film", text="n\n", status=1)
    assert "The name cannot be used again" in result.output
    nobody = run("delete", "film", status=1)
    assert nobody.stderr.endswith("\nError: Not deleted: add --yes if no user can answer.\n")
    assert open_catalog().resolve(film.ref) == film
    assert run("delete", "film", text="y\n").output.endswith("film is deleted (1 version).\n")


def test_delete_says_what_is_made_of_it_and_leaves_that_as_it_is(
    run: Run, film: Version, publish: Publish
) -> None:
    publish("book")
    both = "both is made of it. What that needs stays, without a name.\n"
    run("stack", "film", "book", "--name", "both")
    assert run("delete", "film", text="n\n", status=1).stderr.startswith(both)
    assert run("delete", "film", "--yes").output == "film is deleted (1 version).\n"
    digest = film.manifest_digest
    shown = run("show", "both").output
    assert f"deleted  {digest}\n" in shown
    assert "film" not in shown
    parents = json.loads(run("show", "both", "--json").output)["parents"]
    assert [parent["ref"] for parent in parents] == [None, "book@1"]
    tree = run("lineage", "both").output
    assert f"{digest[:12]} (deleted, " in tree
    assert "film" not in tree
    listed = json.loads(run("list", "--json").output)["adapters"]
    assert {one["ref"] for one in listed} == {"both@1", "book@1"}


def test_a_version_alone_cannot_be_deleted(run: Run, film: Version) -> None:
    assert "hubkit yank film@1" in run("delete", "film@1", "--yes", status=2).stderr
