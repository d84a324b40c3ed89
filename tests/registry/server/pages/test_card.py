"""Cards as HTML: what their authors write, and what somebody could do with it."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import lxml.html
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry.server.pages.card import MOST_CHARACTERS, show_card

pytestmark = pytest.mark.once


def shown(text: str) -> Any:
    """The elements of a card, below one of no meaning."""
    found = show_card(text, files="/ada/a/blob/main", content="/ada/a/resolve/main")
    return lxml.html.fragment_fromstring(found.html, create_parent="body")


def one(text: str, path: str) -> Any:
    (found,) = shown(text).xpath(path)
    return found


def test_headings_stand_below_those_of_the_page_and_can_be_linked_to() -> None:
    found = shown("# How to use *it*\n\n#### Deep\n\n[see](#how-to-use-it)\n")
    assert [(h.tag, h.text_content()) for h in found.xpath("//h3|//h6")] == [
        ("h3", "How to use it"),
        ("h6", "Deep"),
    ]
    assert found.xpath("//h3/@id") == ["card-how-to-use-it"]
    assert found.xpath("//a/@href") == ["#card-how-to-use-it"]


def test_an_id_is_there_once_and_is_none_of_the_page() -> None:
    found = shown('# files\n\n# files\n\n<p id="main">x</p><p id="main">y</p>\n')
    assert found.xpath("//@id") == ["card-files", "card-main"]


def test_a_table_scrolls_in_a_region_of_its_own_and_keeps_its_alignment() -> None:
    table = one("| a | b |\n|:-:|--:|\n| 1 | 2 |\n", "//table")
    assert dict(table.getparent().attrib) == {
        "role": "region",
        "aria-label": "Table 1 of the card",
        "tabindex": "0",
    }
    assert [cell.get("align") for cell in table.xpath(".//td")] == ["center", "right"]


def test_code_is_shown_as_it_is_and_scrolls_by_keyboard() -> None:
    block = one("```python\n<script>alert(1)</script>\n```\n", "//pre")
    assert block.text_content() == "<script>alert(1)</script>\n"
    assert block.get("tabindex") == "0"


@pytest.mark.parametrize(
    ("written", "leads_to"),
    [
        ("[x](docs/a b.md)", None),  # no link in Markdown
        ("[x](<docs/a b.md>)", "/ada/a/blob/main/docs/a%20b.md"),
        ("[x](docs/a%20b.md)", "/ada/a/blob/main/docs/a%20b.md"),
        ("[x](./docs/../b.md#part)", "/ada/a/blob/main/b.md#part"),
        ("[x](https://example.org/a?b=c)", "https://example.org/a?b=c"),
        ("[x](mailto:ada@example.org)", "mailto:ada@example.org"),
        ("[x](/bob/other)", "/bob/other"),
        ("<a href='a.md'>x</a>", "/ada/a/blob/main/a.md"),
        ("[x](../../bob/private)", None),
        ("[x](%2e%2e/%2e%2e/private)", None),
        ("<a href='javascript:alert(1)'>x</a>", None),
        ("<a href='java\nscript:alert(1)'>x</a>", None),
        ("<a href='&#106;avascript:alert(1)'>x</a>", None),
        ("<a href=' data:text/html,x'>x</a>", None),
        ("<a href='vbscript:x'>x</a>", None),
        ("<a href='//[x'>x</a>", None),
    ],
)
def test_a_link_leads_into_the_repository_or_to_the_web(written: str, leads_to: str | None) -> None:
    links = shown(written).xpath("//a[@href]")
    assert [link.get("href") for link in links] == ([leads_to] if leads_to else [])
    assert {link.get("rel") for link in links} <= {"nofollow noopener"}


@pytest.mark.parametrize(
    "written",
    ["![curve](img/a.png)", "<img src='img/a.png' alt='curve' onerror='x()' style='x'>"],
)
def test_an_image_of_the_repository_is_shown(written: str) -> None:
    image = one(written, "//img")
    assert dict(image.attrib) == {"src": "/ada/a/resolve/main/img/a.png", "alt": "curve"}


@pytest.mark.parametrize(
    "source",
    [
        *("https://example.org/a.png", "//example.org/a.png", "http:/a.png", "/bob/b/resolve/x"),
        *("data:image/png;base64,AAAA", "../../bob/private/resolve/main/a.png", "javascript:x"),
        *("..%2f..%2fbob/private/resolve/main/a.png", "", "?x", "#x"),
    ],
)
def test_an_image_from_elsewhere_is_a_link_or_words(source: str) -> None:
    found = shown(f'before <img src="{source}" alt="curve"> after')
    assert found.xpath("//img") == []
    assert found.text_content().split() == ["before", "curve", "after"]
    assert all(urlsplit(to).scheme in ("https", "http", "") for to in found.xpath("//a/@href"))


def test_a_badge_is_one_link_with_its_words() -> None:
    link = one("[![tests pass](https://ci.example/b.svg)](https://ci.example)", "//a")
    assert (link.get("href"), link.text_content()) == ("https://ci.example", "tests pass")


@pytest.mark.parametrize(
    "written",
    [
        "<script>alert(1)</script>",
        "<SCRIPT src=//evil></SCRIPT  x>",
        "<svg onload=alert(1)><script>alert(1)</script></svg>",
        "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
        "<style>body{display:none}</style>",
        "<iframe src='https://evil.example'></iframe>",
        "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
        "<object data='x.swf'></object>",
        "<template><img src=x onerror=alert(1)></template>",
        "<title>taken</title>",
        "<textarea><b></textarea>",
        "<select><option>x</select>",
        "<!-- <b>said</b> -->",
        "<noscript><img src=x></noscript>",
    ],
)
def test_what_runs_or_hides_is_gone_with_all_that_is_in_it(written: str) -> None:
    found = shown(f"before\n\n{written}\n\nafter")
    assert found.text_content().split() == ["before", "after"]
    assert {one.tag for one in found.iter()} <= {"body", "p"}


@pytest.mark.parametrize(
    "written",
    [
        "<meta http-equiv=refresh content='0;url=https://evil.example'>",
        "<base href='https://evil.example'>",
        "<link rel=stylesheet href='https://evil.example'>",
        "<form action='https://evil.example'><input name=password><button>x</button></form>",
        "<video src=x controls></video><audio src=x></audio><embed src=x>",
        "<main><nav><header>",
        "<h1 style='color:red' class='x' onclick='x()'>",
        "<b/onmouseover=alert(1)>x",
        "<p hidden aria-hidden=true role=alert tabindex=5 contenteditable accesskey=x>x</p>",
        "<img src='x.png' srcset='https://evil.example/a.png 2x' ismap usemap='#m'>",
        "<a href='x' target=_blank ping='https://evil.example' download>x</a>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<p title='<img src=x onerror=alert(1)>'>x",
        "</div></main><body onload=alert(1)>",
        "<![CDATA[<img src=x onerror=alert(1)>]]>",
        "<?php <img src=x onerror=alert(1)> ?>",
    ],
)
def test_nothing_but_plain_text_and_its_marks_comes_through(written: str) -> None:
    assert_harmless(written)


ALLOWED = {
    *("href", "rel", "src", "alt", "title", "id", "align", "dir", "tabindex", "role"),
    *("aria-label", "start", "colspan", "rowspan", "width", "open"),
}
TAGS = {
    *("body", "a", "abbr", "b", "blockquote", "br", "code", "del", "details", "div", "em", "h3"),
    *("h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s"),
    *("samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot"),
    *("th", "thead", "tr", "u", "ul", "var", "dl", "dt", "dd", "caption", "cite", "figure"),
    "figcaption",
}


def assert_harmless(text: str) -> None:
    """Whatever stands in a card, only words, links and the repository's images are shown."""
    found = shown(text)
    assert {one.tag for one in found.iter()} <= TAGS
    for element in found.iter():
        assert {*element.attrib} <= ALLOWED
        assert element.get("tabindex", "0") == "0"
        assert element.get("role", "region") == "region"
        assert element.get("id", "card-").startswith("card-")
        assert element.get("src", "/ada/a/resolve/main/x").startswith("/ada/a/resolve/main/")
        assert ".." not in element.get("src", "")
        target = element.get("href", "")
        assert urlsplit(target).scheme in ("", "http", "https", "mailto")
        assert not target or element.get("rel") == "nofollow noopener"


PIECES = st.lists(
    st.sampled_from(
        [
            *("<", ">", "</", "/>", '"', "'", "=", " ", "\n", "\n\n", "`", "```", "[", "](", ")"),
            *("!", "&lt;", "&#60;", "&quot;", "\\", "<!--", "-->", "<![CDATA[", "]]>", "\0", "|"),
            *("script", "svg", "style", "img", "a", "b", "p", "table", "td", "math", "title"),
            *(" onerror=", " src=", " href=", " id=", "javascript:", "data:", "x.png", "..", "//"),
            *("alert(1)", "- ", "> ", "# ", "---\n", "\u202e", "İ", "|-|\n"),
        ]
    ),
    max_size=40,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(PIECES)
@example('<p title="<!--"><img src=x onerror=alert(1)>-->')
@example("<svg><style><img title='</style><img src=x onerror=alert(1)>'>")
@example("<a href='x\" onclick='alert(1)'>y</a>")
@example("İ<script>alert(1)</script>")
def test_no_text_does_harm(text: str) -> None:
    assert_harmless(text)


@pytest.mark.parametrize(
    "text",
    [
        "![" * 500_000,
        ">" * 1_000_000,
        "<div>" * 200_000,
        "<!--" * 250_000,
        "<a b='" * 200_000,
        "".join(f"<b id={n}>" for n in range(38)) + "<div>x</div>" * 5000,
        "| a |\n|-|\n" + "| b\n" * 250_000,
    ],
    ids=["images", "quotes", "tags", "comments", "attributes", "reopened", "rows"],
)
def test_a_card_of_any_length_is_shown_soon_and_is_not_long(text: str) -> None:
    start = time.process_time()
    found = show_card(text, files="/f", content="/c")
    assert time.process_time() - start < 10  # about one; what grows with the square takes hours
    assert len(found.html) < 1_000_000
    assert found.is_cut == (len(text) > MOST_CHARACTERS)


def test_a_long_card_ends_with_a_whole_line_and_says_that_it_goes_on() -> None:
    line = "a line of the card\n"
    found = show_card(line * 10_000, files="/f", content="/c")
    assert found.is_cut
    assert str(found.html).rstrip().endswith("a line of the card</p>")


def test_an_empty_card_shows_nothing() -> None:
    assert str(show_card("", files="/f", content="/c").html) == ""
