"""Read a page as a browser does, and strictly: each element is closed where it belongs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

from tests.support.asgi import Answer

_EMPTY = frozenset({"meta", "link", "img", "input", "br", "hr", "col", "wbr"})


@dataclass
class Element:
    """An element of a page.

    Attributes:
        tag: Its name.
        attributes: What it has.
        inside: Elements and texts.
    """

    tag: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    inside: list[Element | str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Element]:
        """Yield it, and all elements in it."""
        yield self
        for one in self.inside:
            if isinstance(one, Element):
                yield from one

    def __getitem__(self, name: str) -> str:
        """Return an attribute."""
        return self.attributes[name]

    @property
    def text(self) -> str:
        """All text in it, with single spaces."""
        pieces = (one if isinstance(one, str) else one.raw for one in self.inside)
        return " ".join("".join(pieces).split())

    @property
    def raw(self) -> str:
        """All text in it, as it stands there."""
        return "".join(one if isinstance(one, str) else one.raw for one in self.inside)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return the elements of a name in it that have these attributes."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            one
            for one in self
            if one.tag == tag and all(one.attributes.get(k) == v for k, v in wanted.items())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        """Return the only such element."""
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def links(self) -> dict[str, str]:
        """Where each link in it leads, by its text."""
        return {one.text: one["href"] for one in self.all("a")}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("")
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len({*names}), f"<{tag}> has an attribute twice: {names}"
        made = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(made)
        if tag not in _EMPTY:
            self.open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read(answer: Answer) -> Element:
    """Return a page, which is whole, safe, and made as all pages are."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
    reader = _Reader()
    reader.feed(answer.body.decode())
    reader.close()
    assert reader.open == [reader.root], "an element is not closed"
    page = reader.root
    assert page.one("html")["lang"] == "en"
    assert page.one("head").one("title").text
    for tag in ("h1", "main", "footer"):
        assert page.one(tag).text or tag == "main", tag
    ids = [one["id"] for one in page if "id" in one.attributes]
    assert len(ids) == len({*ids}), "two elements have one id"
    for one in page:
        assert not {name for name in one.attributes if name.startswith("on")}, one.attributes
        assert "style" not in one.attributes
        assert one.tag not in ("style", "base", "iframe", "object", "embed")
        for name in ("href", "src", "action"):
            target = one.attributes.get(name, "/")
            assert target.startswith(("/", "#", "http://", "https://")), target
            assert not target.startswith("//"), target
    for script in page.all("script"):
        assert script["src"].startswith("/static/")
        assert not script.inside
    labelled = {one["for"] for one in page.all("label")}
    for tag in ("input", "select", "textarea"):
        for one in page.all(tag):
            assert one.attributes.get("type") == "hidden" or one["id"] in labelled
    return page
