"""hubkit delete."""

from collections.abc import Callable

from click.testing import Result

from registry import Version, open_catalog

Run = Callable[..., Result]
Publish = Callable[..., Version]


def test_delete_asks_first(run: Run, film: Version) -> None:
    result = run("delete", "film", text="n\n", status=1)
    assert "Nothing else ever gets the name" in result.output
    nobody = run("delete", "film", status=1)
    assert nobody.stderr.endswith("\nError: Not deleted: add --yes where nobody can answer.\n")
    assert open_catalog().resolve(film.ref) == film
    assert run("delete", "film", text="y\n").output.endswith("film is deleted (1 version).\n")


def test_delete_says_what_cannot_be_deleted(run: Run, film: Version, publish: Publish) -> None:
    publish("book")
    run("stack", "film", "book", "--name", "both")
    result = run("delete", "film", "--yes", status=1)
    assert "both@1 would lose what it is made of" in result.stderr
    assert "hubkit yank film@1" in run("delete", "film@1", "--yes", status=2).stderr
