from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from huggingface_hub import constants

from hubkit.hub.address import Hub as Address
from hubkit.hub.session import log_in
from hubkit.hub.tokens import FILE_NAME, token_for
from registry.errors import RemoteAccessError, RemoteUnreachableError
from tests.support.hub import Hub

DEFAULT = Address("https://huggingface.co")
OTHER = Address("https://hub.example.org")


@pytest.fixture
def here(hub: Hub) -> Address:
    """The hub, to which nobody is logged in."""
    (Path(constants.HF_HOME) / FILE_NAME).unlink()
    return Address(hub.url)


def test_hf_token_is_for_the_default_hub_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", " given\n")
    assert token_for(DEFAULT) == "given"
    assert token_for(Address.parse("https://HUGGINGFACE.co:443")) == "given"
    assert token_for(OTHER) is None
    assert token_for(Address("http://huggingface.co")) is None
    monkeypatch.setenv("HF_ENDPOINT", OTHER.url)
    assert token_for(OTHER) == "given"
    assert token_for(DEFAULT) is None


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("http://10.0.0.1:8000", False),
    ],
)
def test_hf_token_is_for_a_hub_on_this_machine_too(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, url: str, here: bool
) -> None:
    monkeypatch.setenv("HF_TOKEN", "given")
    assert token_for(Address.parse(url)) == ("given" if here else None)


def test_a_token_kept_for_a_hub_on_this_machine_comes_before_hf_token(
    hub: Hub, here: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(here, hub.tokens["ada"])
    monkeypatch.setenv("HF_TOKEN", "given")
    assert token_for(here) == hub.tokens["ada"]


def test_what_the_stock_client_keeps_is_for_the_default_hub_alone(here: Address) -> None:
    Path(constants.HF_TOKEN_PATH).parent.mkdir(exist_ok=True)
    Path(constants.HF_TOKEN_PATH).write_text("stored")
    assert token_for(DEFAULT) == "stored"
    assert token_for(here) is None


def test_a_token_is_kept_for_its_hub_alone(hub: Hub, here: Address) -> None:
    token = hub.tokens["ada"]
    assert token_for(here) is None
    assert log_in(here, f"{token}\n") == "ada"
    assert token_for(here) == token
    assert token_for(DEFAULT) is None
    assert token_for(OTHER) is None
    path = Path(constants.HF_HOME) / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {here.url: token}


def test_a_token_that_the_hub_does_not_know_is_not_kept(here: Address) -> None:
    with pytest.raises(RemoteAccessError, match="does not know this token"):
        log_in(here, "unknown")
    assert token_for(here) is None


@pytest.mark.parametrize("token", ["", "two words", "tökén", "a\x00b", "a\nb"])
def test_what_cannot_be_a_token_is_refused_before_it_is_sent(
    hub: Hub, here: Address, token: str
) -> None:
    with pytest.raises(RemoteAccessError, match="one line of printable ASCII"):
        log_in(here, token)
    assert hub.requests == []


def test_a_hub_that_does_not_answer_is_told(hub: Hub) -> None:
    with pytest.raises(RemoteUnreachableError):
        log_in(Address("http://127.0.0.1:9"), "given")


@pytest.mark.parametrize("token", ["secret\nsecond", "secret words", "tökén-secret", "secret\x07"])
@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_what_the_environment_holds_is_checked_and_never_told(
    monkeypatch: pytest.MonkeyPatch, token: str, variable: str
) -> None:
    monkeypatch.setenv(variable, token)
    with pytest.raises(RemoteAccessError, match=f"^{variable} is not a token for ") as caught:
        token_for(DEFAULT)
    assert "secret" not in str(caught.value)


def test_what_is_kept_is_checked_and_never_told(here: Address) -> None:
    path = Path(constants.HF_HOME) / FILE_NAME
    path.write_text(json.dumps({here.url: "secret words", "https://other.example.org": 7}))
    with pytest.raises(
        RemoteAccessError, match=f"What {path} holds is not a token for {here.url}"
    ) as caught:
        token_for(here)
    assert "secret" not in str(caught.value)
    assert token_for(Address("https://other.example.org")) is None


def test_offline_nobody_can_log_in(here: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RemoteUnreachableError, match=r"HF_HUB_OFFLINE is set, so .* is not asked"):
        log_in(here, "given")
