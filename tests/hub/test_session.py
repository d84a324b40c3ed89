from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from huggingface_hub import constants

from hubkit.hub.session import FILE_NAME, log_in, token_for
from registry.errors import RemoteAccessError, RemoteUnreachableError
from tests.support.hub import Hub


@pytest.fixture(autouse=True)
def no_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")


def test_hf_token_is_for_whichever_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", " given\n")
    assert token_for("https://huggingface.co") == "given"
    assert token_for("https://hub.example.org") == "given"


def test_a_token_is_kept_for_its_hub_alone(hub: Hub) -> None:
    assert token_for(hub.url) is None
    assert log_in(hub.url, "ada-writes\n") == "ada"
    assert token_for(hub.url) == "ada-writes"
    assert token_for("https://huggingface.co") is None
    assert token_for("https://hub.example.org") is None
    path = Path(constants.HF_HOME) / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {hub.url: "ada-writes"}


def test_a_token_that_the_hub_does_not_know_is_not_kept(hub: Hub) -> None:
    with pytest.raises(RemoteAccessError, match="does not know this token"):
        log_in(hub.url, "unknown")
    assert token_for(hub.url) is None


@pytest.mark.parametrize("token", ["", "two words", "tökén", "a\x00b", "a\nb"])
def test_what_cannot_be_a_token_is_refused_before_it_is_sent(hub: Hub, token: str) -> None:
    with pytest.raises(RemoteAccessError, match="one line of printable ASCII"):
        log_in(hub.url, token)
    assert hub.requests == []


def test_a_hub_that_does_not_answer_is_told(hub: Hub) -> None:
    with pytest.raises(RemoteUnreachableError):
        log_in("http://127.0.0.1:9", "ada-writes")


@pytest.mark.parametrize("token", ["secret\nsecond", "secret words", "tökén-secret", "secret\x07"])
@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_what_the_environment_holds_is_checked_and_never_told(
    monkeypatch: pytest.MonkeyPatch, token: str, variable: str
) -> None:
    monkeypatch.setenv(variable, token)
    with pytest.raises(RemoteAccessError, match=f"^{variable} is no token: expected") as caught:
        token_for("https://hub.example.org")
    assert "secret" not in str(caught.value)


def test_what_is_kept_is_checked_and_never_told(hub: Hub) -> None:
    path = Path(constants.HF_HOME) / FILE_NAME
    path.parent.mkdir()
    path.write_text(json.dumps({hub.url: "secret words", "https://other.example.org": 7}))
    with pytest.raises(RemoteAccessError, match=f"What {path} holds for {hub.url} is no") as caught:
        token_for(hub.url)
    assert "secret" not in str(caught.value)
    assert token_for("https://other.example.org") is None


def test_offline_nobody_can_log_in(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RemoteUnreachableError, match=r"HF_HUB_OFFLINE is set, so .* is not asked"):
        log_in(hub.url, "ada-writes")
