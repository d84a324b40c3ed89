from __future__ import annotations

import pytest

from hubkit.hub.address import RemoteAddress, default_endpoint, is_remote
from registry import InvalidNameError

HF = "https://huggingface.co"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:", (HF, None, None)),
        ("hf:ada/film", (HF, "ada/film", None)),
        ("hf:ada/film@v3", (HF, "ada/film", "v3")),
        ("hf:ada/film@feature/x", (HF, "ada/film", "feature/x")),
        ("https://hub.example.org", ("https://hub.example.org", None, None)),
        ("http://127.0.0.1:8000/", ("http://127.0.0.1:8000", None, None)),
        ("https://hub.example.org/ada/film", ("https://hub.example.org", "ada/film", None)),
        (f"{HF}/ada/film/tree/v2", (HF, "ada/film", "v2")),
        (f"{HF}/ada/film/tree/feature%2Fx", (HF, "ada/film", "feature/x")),
    ],
)
def test_an_address_is_a_hub_and_maybe_a_repository_there(
    text: str, expected: tuple[str, str | None, str | None]
) -> None:
    found = RemoteAddress.parse(text)
    assert (found.endpoint, found.repository, found.revision) == expected
    assert is_remote(text)


@pytest.mark.parametrize(
    "text",
    [
        "hf:film",
        "hf:ada/film@",
        "hf:@v1",
        "hf:ada/film/more",
        "ftp://hub.example.org",
        "https://",
        "https://hub.example.org/ada",
        "https://hub.example.org/ada/film/blob/main",
        "https://hub.example.org?x=1",
        "https://hub.example.org/a..b/film",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError):
        RemoteAddress.parse(text)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidNameError, match="hubkit login") as caught:
        RemoteAddress.parse("https://ada:secret@hub.example.org")
    assert "secret" not in str(caught.value)


def test_the_default_hub_is_that_of_the_stock_client(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_endpoint() == HF
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example.org/")
    assert RemoteAddress.parse("hf:ada/film").url == "https://mirror.example.org/ada/film"


@pytest.mark.parametrize("text", ["junk", "hub.example.org", "ftp://hub.example.org", "https://"])
def test_a_default_hub_that_is_no_url_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", text)
    with pytest.raises(InvalidNameError, match=f"HF_ENDPOINT is '{text}', but expected the URL"):
        default_endpoint()


@pytest.mark.parametrize("text", ["film", "/shared/hubkit", "./hf", "C:\\hub"])
def test_folders_and_names_are_no_addresses(text: str) -> None:
    assert not is_remote(text)
