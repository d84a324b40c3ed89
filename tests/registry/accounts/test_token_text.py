import hashlib
import re

import pytest

from registry.accounts.token_text import hash_token, hint, is_well_formed, make_token


def test_a_token_has_a_prefix_letters_by_chance_and_a_checksum() -> None:
    made = {make_token() for _ in range(200)}
    assert len(made) == 200
    for text in made:
        assert re.fullmatch("hubkit_[A-Za-z0-9]{32}[0-9a-f]{6}", text)
        assert hashlib.sha256(text[:-6].encode()).hexdigest().startswith(text[-6:])
        assert is_well_formed(text)


def test_what_is_kept_is_the_sha256_of_the_whole_text() -> None:
    text = make_token()
    assert hash_token(text) == hashlib.sha256(text.encode()).hexdigest()


def test_a_hint_tells_four_of_the_letters() -> None:
    text = make_token()
    assert hint(text) == text[:11]


@pytest.mark.parametrize("at", [0, 6, 7, 20, 38, 39, 44])
def test_a_token_with_one_wrong_character_is_malformed(at: int) -> None:
    text = make_token()
    wrong = "b" if text[at] == "a" else "a"
    assert not is_well_formed(text[:at] + wrong + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hubkit_",
        "hf_abcdefghijklmnopqrstuvwxyzabcdefgh",
        "hubkit_" + "a" * 38,
        "\ud800",
        "0" * 45,
    ],
)
def test_what_is_no_token_is_malformed(text: str) -> None:
    assert not is_well_formed(text)


@pytest.mark.parametrize("around", ["{} ", " {}", "{}\n", "{}\0", "{}0"])
def test_what_stands_around_a_token_makes_it_malformed(around: str) -> None:
    assert not is_well_formed(around.format(make_token()))
