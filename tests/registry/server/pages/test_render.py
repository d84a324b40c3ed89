"""What all pages share: the frame, the headers, links and how values are shown."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.server.pages.render import POLICY, link, number, short, size, when
from tests.support.asgi import Ask
from tests.support.html import read
from tests.support.people import People

pytestmark = pytest.mark.once


def test_a_page_has_landmarks_and_a_way_past_the_navigation(asks: Ask) -> None:
    page = read(asks("GET", "/"))
    skip = page.all("a")[0]
    assert (skip.text, skip["href"]) == ("Skip to the content", f"#{page.one('main')['id']}")
    navigation = page.all("nav")[0]
    assert navigation["aria-label"] == "Hub"
    assert navigation.links == {
        "Models": "/",
        "Datasets": "/datasets",
        "Spaces": "/spaces",
        "Base models": "/bases",
        "Leaderboards": "/leaderboards",
    }
    current = [one.text for one in navigation.all("a") if "aria-current" in one.attributes]
    assert current == ["Models"]


def test_a_page_runs_and_loads_nothing_but_what_is_the_hubs_own(asks: Ask) -> None:
    answer = asks("GET", "/")
    read(answer)
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_who_is_signed_in_stands_in_the_header_and_their_pages_are_not_kept(
    asks: Ask, people: People
) -> None:
    stranger, alice = asks("GET", "/?q=x%20y"), asks("GET", "/", by="alice")
    assert read(stranger).one("p", class_="who").links == {
        "Sign in": "/login?next=%2F%3Fq%3Dx%2520y"
    }
    assert stranger.headers["cache-control"] == "private, no-cache"
    who = read(alice).one("p", class_="who")
    assert (who.text, who.links) == ("Signed in as alice", {"alice": "/alice"})
    assert alice.headers["cache-control"] == "no-store"


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.text(min_size=1))
def test_a_link_leads_to_the_names_that_it_is_made_of(segments: list[str], value: str) -> None:
    made = urlsplit(link(*segments, query=value, absent=None))
    assert (made.scheme, made.netloc, made.fragment) == ("", "", "")
    assert [unquote(one) for one in made.path[1:].split("/")] == segments
    assert parse_qsl(made.query, keep_blank_values=True) == [("query", value)]


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (999_960, "1.0 MB"),
        (2_000_000_000, "2.0 GB"),
        (3 * 10**15, "3000.0 TB"),
    ],
)
def test_a_size_is_shown_in_a_unit_that_fits(count: int, shown: str) -> None:
    assert size(count) == shown


def test_a_moment_is_shown_as_its_day_in_utc() -> None:
    at = datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    assert when(at) == (
        '<time datetime="2025-12-31T22:30:00Z" title="2025-12-31 22:30 UTC">2025-12-31</time>'
    )


def test_numbers_and_digests_are_shown_short() -> None:
    assert [number(1234567), number(0.912345), number(3.0)] == ["1,234,567", "0.9123", "3"]
    assert short("0123456789abcdef") == "0123456789ab"
