from pathlib import Path

import pytest

from registry import FolderError
from registry.folders.card import Card, read_card


def write(folder: Path, text: str) -> Path:
    (folder / "README.md").write_text(text)
    return folder


def test_the_fields_of_the_hub_are_read(tmp_path: Path) -> None:
    card = read_card(
        write(
            tmp_path,
            "---\nbase_model: a/b\nlicense: mit\nlanguage:\n- en\n"
            "tags: [x, 'base_model:adapter:/m', y, x]\n"
            "pipeline_tag: text-classification\nextra: 3\n---\n\n# Title\n",
        )
    )
    assert (card.base_models, card.license, card.language) == (("a/b",), "mit", "en")
    assert (card.tags, card.task_type) == (("x", "y"), "text-classification")
    assert card.data["extra"] == 3
    assert card.text == "# Title\n"


def test_several_languages_are_one_code_for_many(tmp_path: Path) -> None:
    assert read_card(write(tmp_path, "---\nlanguage: [en, de]\n---\n")).language == "mul"


@pytest.mark.parametrize("text", ["", "# Title\n", "text\n---\nlicense: mit\n---\n", "---\n"])
def test_a_card_without_fields_says_nothing(tmp_path: Path, text: str) -> None:
    assert read_card(write(tmp_path, text)) == Card(text=text)


def test_no_card_says_nothing(tmp_path: Path) -> None:
    assert read_card(tmp_path) == Card()


@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path, newline: str) -> None:
    text = "\ufeff---\nlicense: mit\n---\nText"
    (tmp_path / "README.md").write_bytes(text.replace("\n", newline).encode())
    assert read_card(tmp_path).license == "mit"


def test_values_of_another_kind_are_left_out(tmp_path: Path) -> None:
    card = read_card(
        write(tmp_path, "---\nlicense: 3\ntags: [a, 1, null, {b: c}]\nlanguage: ''\n---\n")
    )
    assert (card.license, card.tags, card.language) == (None, ("a",), None)


def test_what_is_not_utf8_is_named_with_the_byte(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\n---\ncaf\xe9")
    with pytest.raises(FolderError, match=r"README\.md is not UTF-8: byte 24 is 0xe9"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.system [ls]", "is not YAML"),
        ("- a\n- b", "is a list; expected fields"),
    ],
)
def test_fields_that_are_none_are_refused(tmp_path: Path, fields: str, message: str) -> None:
    with pytest.raises(FolderError, match=message):
        read_card(write(tmp_path, f"---\n{fields}\n---\n"))
