"""hubkit move."""

from collections.abc import Callable

from click.testing import Result

from registry import AdapterRef, Version, open_catalog
from registry.history.committing import Committer

Run = Callable[..., Result]


def test_move_gives_an_adapter_an_owner(run: Run, film: Version) -> None:
    assert run("move", "film", "acme/film").output == "film is acme/film now.\n"
    moved = open_catalog().resolve(AdapterRef.parse("acme/film"))
    assert moved.manifest_digest == film.manifest_digest


def test_move_says_what_cannot_be_moved(run: Run, film: Version) -> None:
    assert "No adapter is called flim" in run("move", "flim", "acme/film", status=1).stderr
    assert "Only a whole adapter" in run("move", "film@1", "acme/film", status=2).stderr


def test_show_says_why_what_was_pushed_last_is_no_version(run: Run, film: Version) -> None:
    from io import BytesIO

    from registry.history.changes import Put
    from registry.history.trees import TreeFile

    catalog = open_catalog()
    assert "Pushed since" not in run("show", "film").output
    catalog.blobs.put(BytesIO(b"x"))
    repository = catalog.history.find("model", film.ref.repository)
    assert repository is not None
    change = Put(TreeFile.small("q?x.txt", b"x"))
    Committer(catalog.store).commit(repository, "main", [change], title="odd", actor="ada")
    shown = run("show", "film").output
    assert "Pushed since" in shown
    assert "q?x.txt" in shown
