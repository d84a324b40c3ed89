from __future__ import annotations

import pytest

from hubkit.hub.address import Hub, Repository, default_hub, is_remote, parse_address
from registry.errors import InvalidNameError

HF = "https://huggingface.co"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("hf:", HF),
        ("https://hub.example.org", "https://hub.example.org"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("HTTPS://HuggingFace.CO:443/", HF),
        ("http://hub.example.org:0080", "http://hub.example.org"),
        ("https://hub.example.org:8443", "https://hub.example.org:8443"),
    ],
)
def test_a_hub_has_one_spelling(text: str, url: str) -> None:
    assert Hub.parse(text) == Hub(url)
    assert parse_address(text) == Hub(url)
    assert is_remote(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:ada/film", (HF, "ada/film", None)),
        ("hf:ada/film@v3", (HF, "ada/film", "v3")),
        ("hf:ada/film@feature/x", (HF, "ada/film", "feature/x")),
        ("https://hub.example.org/ada/film", ("https://hub.example.org", "ada/film", None)),
        (f"{HF}/ada/film/tree/v2", (HF, "ada/film", "v2")),
        (f"{HF}/ada/film/tree/feature%2Fx", (HF, "ada/film", "feature/x")),
    ],
)
def test_a_repository_is_on_a_hub(text: str, expected: tuple[str, str, str | None]) -> None:
    found = parse_address(text)
    assert isinstance(found, Repository)
    assert (found.hub.url, found.name, found.revision) == expected
    assert Repository.parse(text) == found
    assert is_remote(text)


@pytest.mark.parametrize(
    "text",
    [
        "hf:film",
        "hf:ada/film@",
        "hf:@v1",
        "hf:ada/film/more",
        "hf:ada/a--b",
        "ftp://hub.example.org",
        "https://",
        "https://hub.example.org/ada",
        "https://hub.example.org/ada/film/blob/main",
        "https://hub.example.org?x=1",
        "https://hub.example.org\\.evil.example",
        "https://hub.example.org:99999",
        "https://hub .example.org",
        "https://hub.example.org\n.evil.example",
        "https://hüb.example.org",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidNameError,
        match=r"not an address on|no repository of that name|at most one|An adapter's name is",
    ):
        parse_address(text)


def test_a_hub_alone_is_meant_where_one_is_wanted() -> None:
    with pytest.raises(InvalidNameError, match="has a path after the hub's host"):
        Hub.parse("https://hub.example.org/ada/film")


@pytest.mark.parametrize(
    "text",
    ["https://ada:secret@hub.example.org", "https://huggingface.co@evil.example", "http://@x"],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidNameError, match="with a user or a password") as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)


def test_the_default_hub_is_that_of_the_stock_client(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_hub() == Hub(HF)
    assert Hub.parse("https://HUGGINGFACE.co:443").is_default
    assert not Hub.parse("http://huggingface.co").is_default
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example.org/")
    assert Repository.parse("hf:ada/film").url == "https://mirror.example.org/ada/film"
    assert not Hub.parse(HF).is_default
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example.org/api/hub")
    assert default_hub() == Hub("https://mirror.example.org/api/hub")


@pytest.mark.parametrize("text", ["junk", "hub.example.org", "ftp://hub.example.org", "https://"])
def test_a_default_hub_that_is_no_url_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", text)
    with pytest.raises(InvalidNameError, match=f"HF_ENDPOINT is '{text}', but expected the URL"):
        default_hub()


@pytest.mark.parametrize("text", ["film", "/shared/hubkit", "./hf", "C:\\hub"])
def test_folders_and_names_are_no_addresses(text: str) -> None:
    assert not is_remote(text)
