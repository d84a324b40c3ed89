"""A model card as HTML that is safe on a page of the hub.

Markdown becomes HTML with markdown-it-py. The HTML, and what its author wrote as HTML, is read tag
by tag: links and images are pointed into the repository, headings are moved below those of the
page, and every tag is closed, so that no parser takes long. What keeps a page safe is the last step
alone: nh3 lets nothing through but the tags and attributes listed here.
"""

import html
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from markupsafe import Markup

MOST_CHARACTERS = 64 * 1024
"""Most characters of a card that are shown; the worst cards of that length take about a second."""

_MOST_HTML = 512 * 1024
"""Most characters of HTML. Real cards have fewer. Unclosed tags, which are opened again in every
block, can make far more."""

_MOST_REMEMBERED = 64
_DEEPEST = 40
"""The deepest nesting of tags. markdown-it makes 20 levels of blocks, and 20 in a line."""

_LOWERED = {f"h{level}": f"h{min(level + 2, 6)}" for level in range(1, 7)}
_SCHEMES = {"http", "https", "mailto"}
_EMPTY = {"br", "hr", "img"}
_PREFIX = "card-"
_REGION = {"role": "region", "tabindex": "0"}
"""The attributes of the element around a table: it scrolls by itself, also by keyboard."""

_ATTRIBUTES: Mapping[str, set[str]] = {
    "a": {"href", "title"},
    "abbr": {"title"},
    "details": {"open"},
    "img": {"src", "alt", "title", "width"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
    "*": {"id", "align", "dir"},
}
_VALUES: Mapping[str, re.Pattern[str]] = {
    "align": re.compile("left|center|right"),
    "colspan": re.compile("[0-9]{1,2}"),
    "dir": re.compile("ltr|rtl|auto"),
    "rowspan": re.compile("[0-9]{1,2}"),
    "start": re.compile("[0-9]{1,9}"),
    "width": re.compile("[0-9]{1,4}"),
}
_TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "dd", "del", "details"),
    *("div", "dl", "dt", "em", "figcaption", "figure", "h3", "h4", "h5", "h6", "hr", "i", "img"),
    *("ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp", "small", "span", "strong"),
    *("sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul"),
    "var",
}
_DROPPED = {
    *("iframe", "math", "noembed", "noframes", "noscript", "object", "script", "select", "style"),
    *("svg", "template", "textarea", "title", "xmp"),
}
"""Tags that are removed with their content."""

# A tag of CommonMark, with values of bounded length: otherwise, each open quotation mark would mean
# a search to the end.
_NAME = r"[A-Za-z_:][A-Za-z0-9_.:-]{0,99}"
_VALUE = r"\"[^\"]{0,4096}\"|'[^']{0,4096}'|[^\s\"'=<>`]{1,4096}"
_TAG = re.compile(rf"<(/?)([A-Za-z][A-Za-z0-9]*)((?:\s+{_NAME}(?:\s*=\s*(?:{_VALUE}))?)*)\s*/?>")
_ATTRIBUTE = re.compile(rf"({_NAME})(?:\s*=\s*({_VALUE}))?")
_ENDS = {"--": re.compile("-->")} | {
    name: re.compile(f"</{name}[^>]{{0,100}}>", re.ASCII | re.IGNORECASE) for name in _DROPPED
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A card on a page.

    Attributes:
        html: The card as HTML.
        is_cut: Whether the card is longer.
    """

    html: Markup
    is_cut: bool


def show_card(text: str, *, files: str, content: str) -> Shown:
    """Return a card as HTML.

    Args:
        text: Markdown, without the fields before it.
        files: The path on the hub that relative links continue, such as ``/ada/a/blob/main``.
        content: The path that relative images continue, such as ``/ada/a/resolve/main``.
    """
    shown, is_cut = text, len(text) > MOST_CHARACTERS
    if is_cut:
        shown = text[:MOST_CHARACTERS]
        shown = shown[: shown.rfind("\n") + 1] or shown
    return Shown(Markup(_clean(shown, files, content)), is_cut)


@lru_cache(_MOST_REMEMBERED)
def _clean(text: str, files: str, content: str) -> str:
    import nh3  # like markdown-it-py, only pages need it

    clean = nh3.clean(
        _Arranged(files, content).take(_markdown()(text)),
        tags=_TAGS,
        clean_content_tags=_DROPPED,
        attributes={**{tag: {*names} for tag, names in _ATTRIBUTES.items()}, "div": {"aria-label"}},
        tag_attribute_values={"div": {name: {value} for name, value in _REGION.items()}},
        set_tag_attribute_values={"pre": {"tabindex": "0"}},
        link_rel="nofollow noopener",
        url_schemes=_SCHEMES,
        id_prefix=_PREFIX,
    )
    return clean if len(clean) <= _MOST_HTML else f'<pre tabindex="0">{html.escape(text)}</pre>'


@cache
def _markdown() -> Callable[[str], str]:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

    def render(text: str) -> str:
        environment: dict[str, Any] = {}
        tokens = parser.parse(text, environment)
        for place, token in enumerate(tokens):
            if token.type in ("th_open", "td_open"):
                style = str(token.attrs.pop("style", ""))
                token.attrs["align"] = style.rpartition(":")[2]
            elif token.type == "heading_open":
                token.attrs["id"] = _anchor(tokens[place + 1].content)
        return str(parser.renderer.render(tokens, parser.options, environment))

    return render


def _anchor(title: str) -> str:
    """Return the name of a heading in links within a card, as on GitHub."""
    kept = re.sub(r"[^\w\- ]", "", title.lower())
    return kept.strip().replace(" ", "-")


@dataclass
class _Arranged:
    """HTML whose tags are all closed, and whose links lead where they should.

    Args:
        files: As for `show_card`.
        content: The same.
    """

    files: str
    content: str
    _open: list[tuple[str, str]] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)
    _tables: int = 0

    def take(self, written: str) -> str:
        """Return `written` with all tags closed, and links changed."""
        return "".join(self._pieces(written))

    def _pieces(self, written: str) -> Iterator[str]:
        for text, tag in _split(written):
            # This looks like a tag, is not one in CommonMark, and could be one for a browser.
            yield text.replace("<", "&lt;")
            if tag is None:
                continue
            is_end, name = bool(tag[1]), tag[2].lower()
            if is_end:
                yield from self._close(name)
            elif name == "img":
                yield self._image(_attributes(tag[3]))
            elif _LOWERED.get(name, name) in _TAGS and len(self._open) < _DEEPEST:
                yield self._start(name, _attributes(tag[3]))
        while self._open:
            yield self._open.pop()[1]

    def _start(self, name: str, given: Mapping[str, str]) -> str:
        tag = _LOWERED.get(name, name)
        allowed = _ATTRIBUTES.get(tag, set()) | _ATTRIBUTES["*"]
        kept = {key: value for key, value in given.items() if key in allowed}
        if "href" in kept:
            kept["href"] = self._link(kept["href"])
        if kept.get("id") in self._ids:
            kept["id"] = ""
        self._ids.add(kept.get("id", ""))
        before, end = "", f"</{tag}>"
        if tag == "table":
            self._tables += 1
            before = _tag("div", {**_REGION, "aria-label": f"Table {self._tables} of the card"})
            end = "</table></div>"
        if name not in _EMPTY:
            self._open.append((name, end))
        return before + _tag(tag, kept)

    def _close(self, name: str) -> Iterator[str]:
        if not any(name == one for one, _ in self._open):
            return
        while self._open:
            one, end = self._open.pop()
            yield end
            if one == name:
                return

    def _image(self, given: Mapping[str, str]) -> str:
        source, alt = given.get("src", "").strip(), given.get("alt", "")
        own = self._inside(self.content, source)
        if own is not None:
            kept = {key: given[key] for key in ("title", "width") if key in given}
            return _tag("img", {"src": own, "alt": alt, **kept})
        # To load it from elsewhere would tell that site who reads the card, and when.
        text = html.escape(alt or source)
        if any(name == "a" for name, _ in self._open) or not self._link(source):
            return text
        return f"{_tag('a', {'href': source})}{text}</a>"

    def _link(self, target: str) -> str:
        """Return the target of a link; an empty text if it is not allowed."""
        target = target.strip()
        if target.startswith("#"):
            return f"#{_PREFIX}{target[1:]}"
        try:
            scheme, host = urlsplit(target)[:2]
        except ValueError:
            return ""
        if scheme or host or target.startswith("/"):
            return target if scheme in _SCHEMES | {""} else ""
        return self._inside(self.files, target) or ""

    def _inside(self, start: str, target: str) -> str | None:
        """Return a path below `start`; None if it is not relative, or leads out."""
        try:
            scheme, host, path, _, fragment = urlsplit(target)
        except ValueError:
            return None
        path = posixpath.normpath(unquote(path)) if path else ""
        if scheme or host or not path or path.startswith(("/", "..")):
            return None
        return f"{start}/{quote(path)}{f'#{quote(fragment)}' if fragment else ''}"


def _split(written: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield each text and the tag after it, None at the end; without comments and scripts."""
    absent: set[str] = set()  # end tags that do not occur
    start, place = 0, written.find("<")
    while place >= 0:
        after = place + 1
        tag = _TAG.match(written, place)
        dropped = _end_of(written, place, tag, absent)
        if dropped is not None:
            yield written[start:place], None
            start = after = dropped
        elif tag is not None:
            yield written[start:place], tag
            start = after = tag.end()
        place = written.find("<", after)
    yield written[start:], None


def _end_of(written: str, place: int, tag: re.Match[str] | None, absent: set[str]) -> int | None:
    """Return the end of a comment or removed tag that starts here, if one does."""
    if written.startswith("<!--", place):
        what = "--"
    elif tag is not None and not tag[1] and tag[2].lower() in _DROPPED:
        what = tag[2].lower()
    else:
        return None
    found = None if what in absent else _ENDS[what].search(written, place)
    if found is None:
        absent.add(what)
        return None
    return found.end()


def _attributes(written: str) -> dict[str, str]:
    """Return the attributes of a tag; of several with one name, the first, as browsers do."""
    found: dict[str, str] = {}
    for name, value in _ATTRIBUTE.findall(written):
        name = name.lower()
        text = html.unescape(value[1:-1] if value[:1] in ("'", '"') else value)
        allowed = _VALUES.get(name)
        if allowed is None or allowed.fullmatch(text):
            found.setdefault(name, text)
    return found


def _tag(name: str, attributes: Mapping[str, str]) -> str:
    written = (
        f' {key}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value or key in ("alt", "open")
    )
    return f"<{name}{''.join(written)}>"
