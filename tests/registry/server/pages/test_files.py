"""The files of a repository as pages."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from registry.server.pages import files as module
from tests.registry.server.pages.conftest import Push
from tests.support.asgi import Ask
from tests.support.html import Element, read
from tests.support.people import People

pytestmark = pytest.mark.once

HOSTILE = ('<img src=x onerror="alert(1)">.md', "a'b#c?d%41&amp;", "שלום.txt", "..;x", " space ")


def rows(page: Element) -> list[list[str]]:
    return [[cell.text for cell in row if cell.tag in ("th", "td")] for row in page.all("tr")][1:]


def test_a_folder_shows_files_with_sizes_and_digests_and_folders_with_what_is_in_them(
    asks: Ask, push: Push
) -> None:
    commit = push("alice/a", {"b.txt": b"12345", "d/x": b"1", "d/e/y": b"22"}, title="Add files")
    page = read(asks("GET", "/alice/a/tree/main"))
    assert rows(page)[1:] == [
        ["b.txt", "5 B", "5994471abb01"],
        ["d/", "3 B", "a folder, 2 files"],
    ]
    assert page.links["d/"] == "/alice/a/tree/main/d"
    assert page.links[commit.oid[:12]] == f"/alice/a/commit/{commit.oid}"
    inner = read(asks("GET", "/alice/a/tree/main/d"))
    assert [row[:2] for row in rows(inner)] == [["e/", "2 B"], ["x", "1 B"]]
    trail = inner.one("ol", class_="links trail")
    assert (trail.text, trail.links) == ("main / d", {"main": "/alice/a/tree/main"})
    assert rows(read(asks("GET", "/alice/a/tree/main/d/"))) == rows(inner)


def test_the_files_of_a_branch_a_tag_and_a_commit_are_shown(asks: Ask, push: Push) -> None:
    first = push("alice/a", {"a.txt": b"1"})
    push("alice/a", {"b.txt": b"2"})
    page = read(asks("GET", f"/alice/a/tree/{first.oid}"))
    assert [row[0] for row in rows(page)] == [".gitattributes", "a.txt"]
    assert page.links["a.txt"] == f"/alice/a/blob/{first.oid}/a.txt"
    assert asks("GET", "/alice/a/tree/absent").status == 404
    assert asks("GET", "/alice/a/tree/main/absent").status == 404


def test_many_files_come_in_pages(asks: Ask, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    push("alice/a", {f"d/{name}": b"x" for name in "abcde"})
    page = read(asks("GET", "/alice/a/tree/main/d"))
    assert [row[0] for row in rows(page)] == ["a", "b"]
    assert page.links["Next page"] == "/alice/a/tree/main/d?after=b"
    page = read(asks("GET", "/alice/a/tree/main/d?after=d"))
    assert [row[0] for row in rows(page)] == ["e"]
    assert "Next page" not in page.links
    assert page.links["First page"] == "/alice/a/tree/main/d"


def test_a_small_text_is_shown_as_it_is(asks: Ask, push: Push) -> None:
    text = "<script>alert(1)</script>\n\tü </code></pre>\n"
    push("alice/a", {"d/a.html": text.encode()})
    page = read(asks("GET", "/alice/a/blob/main/d/a.html"))
    assert page.one("pre", class_="content").one("code").raw == text
    assert page.links["Download this file"] == "/alice/a/resolve/main/d/a.html"
    known = {one.one("dt").text: one.one("dd").text for one in page.one("dl").all("div")}
    assert known["Size"] == f"{len(text.encode())} B ({len(text.encode())} bytes)"
    assert len(known["SHA-256"]) == 64
    assert asks("GET", page.links["Download this file"]).body == text.encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff\xfe", "It is not text."),
        (b"a\0b", "It is not text."),
        (b"x" * (module.MOST_TEXT + 1), "It is too large to be shown here."),
        (b"", "It is empty."),
    ],
)
def test_what_is_no_small_text_can_be_downloaded(
    asks: Ask, push: Push, content: bytes, why: str
) -> None:
    push("alice/a", {"a.txt": content})
    page = read(asks("GET", "/alice/a/blob/main/a.txt"))
    assert why in page.one("main").text
    assert page.all("pre") == []
    assert "Download this file" in page.links


def test_a_large_file_is_said_to_be_a_pointer_in_git(asks: Ask, push: Push) -> None:
    push("alice/a", {"w.safetensors": b"12345678"})
    page = read(asks("GET", "/alice/a/blob/main/w.safetensors"))
    assert "as a pointer of Git LFS" in page.one("main").text


def test_a_picture_is_shown_unless_it_is_one_that_could_run(asks: Ask, push: Push) -> None:
    push("alice/a", {"a.PNG": b"\x89PNG", "a.svg": b"<svg onload='alert(1)'/>"})
    page = read(asks("GET", "/alice/a/blob/main/a.PNG"))
    (image,) = page.one("main").all("img")
    assert asks("GET", image["src"]).headers["content-type"] == "image/png"
    page = read(asks("GET", "/alice/a/blob/main/a.svg"))
    assert page.one("main").all("img") == []
    answer = asks("GET", "/alice/a/resolve/main/a.svg")
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_as_it_is_and_leads_to_its_file(
    asks: Ask, push: Push, name: str
) -> None:
    push("alice/a", {f"{name}/{name}": b"found"})
    page = read(asks("GET", "/alice/a/tree/main"))
    (folder,) = [one for one in page.one("table").all("a") if "/tree/" in one["href"]]
    assert folder.raw == f"{name}/"
    inner = read(asks("GET", folder["href"]))
    (file,) = inner.one("table").all("a")
    assert file.raw == name
    shown = read(asks("GET", file["href"]))
    if not name.endswith(".png"):
        assert shown.one("pre", class_="content").raw == "found"
    assert file["href"].endswith(f"/{quote(name, safe='')}")


def test_the_card_leads_to_where_it_is_read(asks: Ask, push: Push) -> None:
    push("alice/a", {"README.md": b"# Hi"})
    page = read(asks("GET", "/alice/a/blob/main/README.md"))
    assert page.links["read it as the card"] == "/alice/a"


def test_markdown_is_shown_as_it_reads_with_links_and_pictures_of_its_folder(
    asks: Ask, push: Push
) -> None:
    text = b"# Hi\n\n[next](b.md) ![curve](c.png) <script>alert(1)</script>\n"
    commit = push("alice/a", {"docs/a.md": text})
    page = read(asks("GET", "/alice/a/blob/main/docs/a.md"))
    card = page.one("div", class_="card")
    assert card.one("h3").text == "Hi"
    assert card.links == {"next": "/alice/a/blob/main/docs/b.md"}
    assert card.one("img")["src"] == f"/alice/a/resolve/{commit.oid}/docs/c.png"
    assert page.one("pre", class_="content").raw == text.decode()


def test_damaged_bytes_are_said_to_be_damaged(asks: Ask, push: Push, people: People) -> None:
    push("alice/a", {"a.txt": b"right"})
    (blob,) = [
        one
        for one in (people.catalog.home / "blobs").rglob("*")
        if one.is_file() and one.read_bytes() == b"right"
    ]
    blob.chmod(0o644)
    blob.write_bytes(b"wrong")
    page = read(asks("GET", "/alice/a/blob/main/a.txt"))
    assert "Its bytes are damaged." in page.one("main").text


def test_an_empty_path_is_no_file(asks: Ask, push: Push) -> None:
    push("alice/a", {"a.txt": b"1"})
    assert asks("GET", "/alice/a/blob/main").status == 404
    assert asks("GET", "/alice/a/blob/main/").headers["location"] == "/alice/a/blob/main"


def test_a_name_that_turns_itself_around_is_shown_as_it_is(asks: Ask, push: Push) -> None:
    push("alice/a", {"\u202egnp.exe": b"a"})
    page = read(asks("GET", "/alice/a/tree/main")).one("main")
    assert "\u202e" not in page.text
    assert page.links["[U+202E]gnp.exe"] == "/alice/a/blob/main/%E2%80%AEgnp.exe"
    shown = asks("GET", "/alice/a/blob/main/%E2%80%AEgnp.exe")
    assert (shown.status, "\u202e" in shown.body.decode()) == (200, False)


@pytest.mark.parametrize("name", ["resolve", "revision", "tree", "blob", "commit", "lineage"])
def test_a_repository_may_be_called_like_a_word_of_an_address(
    asks: Ask, push: Push, name: str
) -> None:
    push(f"alice/{name}", {"resolve/main/a.txt": b"a"})
    assert asks("GET", f"/alice/{name}/resolve/main/resolve/main/a.txt").body == b"a"
    for page in ("", "/tree/main", "/tree/main/resolve", "/blob/main/resolve/main/a.txt"):
        assert asks("GET", f"/alice/{name}{page}").status == 200
    assert asks("GET", f"/api/models/alice/{name}/refs").status == 200
    assert asks("GET", f"/api/models/alice/{name}/tree/main/resolve").status == 200
